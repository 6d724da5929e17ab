"""Zeek's three numberings of its types, and how to tell from a log's columns which one the sender uses."""

from __future__ import annotations

import enum
from collections.abc import Iterable

from appliance.errors import LocalProtocolError, RemoteProtocolError
from appliance.zeek.schema import ZeekType

__all__ = ["Numbering", "detect_numbering"]

# The order of the types up to 4.0. Each later numbering left some of them out and counted on.
# None stands for a type that Zeek does not have any more and that never was in a log.
_ORIGINAL: tuple[tuple[str, ZeekType | None], ...] = (
    ("void", ZeekType.VOID),
    ("bool", ZeekType.BOOL),
    ("int", ZeekType.INT),
    ("count", ZeekType.COUNT),
    ("counter", None),
    ("double", ZeekType.DOUBLE),
    ("time", ZeekType.TIME),
    ("interval", ZeekType.INTERVAL),
    ("string", ZeekType.STRING),
    ("pattern", ZeekType.PATTERN),
    ("enum", ZeekType.ENUM),
    ("timer", None),
    ("port", ZeekType.PORT),
    ("addr", ZeekType.ADDR),
    ("subnet", ZeekType.SUBNET),
    ("any", ZeekType.ANY),
    ("table", ZeekType.TABLE),
    ("union", None),
    ("record", ZeekType.RECORD),
    ("list", ZeekType.LIST),
    ("func", ZeekType.FUNC),
    ("file", ZeekType.FILE),
    ("vector", ZeekType.VECTOR),
    ("opaque", ZeekType.OPAQUE),
    ("type", ZeekType.TYPE),
    ("error", ZeekType.ERROR),
)


def _without(*dropped: str) -> tuple[ZeekType | None, ...]:
    return tuple(kind for name, kind in _ORIGINAL if name not in dropped)


class Numbering(enum.Enum):
    """Which numbers a sender gives to Zeek's types."""

    UP_TO_4_0 = "<=4.0"
    """Bro 2.6 to Zeek 4.0."""
    FROM_4_1 = "4.1-4.2"
    """Zeek 4.1 and 4.2, which have no ``counter`` any more."""
    FROM_5_0 = ">=5.0"
    """Zeek 5.0 and later; everything but Broker uses only this one."""

    def to_tag(self, kind: ZeekType) -> int:
        """Number of a type in this numbering; every type of today has one in each."""
        return _TAGS[self][kind]

    def from_tag(self, tag: int) -> ZeekType:
        """Type of a number.

        Raises:
            RemoteProtocolError: no type, or one that Zeek has given up.
        """
        kinds = _KINDS[self]
        kind = kinds[tag] if 0 <= tag < len(kinds) else None
        if kind is None:
            raise RemoteProtocolError(f"there is no type {tag} in Zeek {self.value}")
        return kind

    @classmethod
    def of_version(cls, version: str) -> Numbering:
        """Numbering of a Zeek version as people write it, e.g. ``4.2`` or ``8.0.10``.

        Raises:
            LocalProtocolError: not a version.
        """
        major, _, rest = version.partition(".")
        minor = rest.partition(".")[0] or "0"
        if not (version.isascii() and major.isdecimal() and minor.isdecimal() and len(version) < 32):
            raise LocalProtocolError(f"{version!r} is not a Zeek version")
        if int(major) >= 5:
            return cls.FROM_5_0
        return cls.FROM_4_1 if int(major) == 4 and int(minor) >= 1 else cls.UP_TO_4_0


_KINDS: dict[Numbering, tuple[ZeekType | None, ...]] = {
    Numbering.UP_TO_4_0: _without(),
    Numbering.FROM_4_1: _without("counter"),
    Numbering.FROM_5_0: _without("counter", "timer", "union"),
}
_TAGS = {
    numbering: {kind: tag for tag, kind in enumerate(kinds) if kind is not None} for numbering, kinds in _KINDS.items()
}

# Columns that have the same type in every log of Zeek that has them.
_KNOWN_COLUMNS = {
    "ts": ZeekType.TIME,
    "id.orig_h": ZeekType.ADDR,
    "id.orig_p": ZeekType.PORT,
    "id.resp_h": ZeekType.ADDR,
    "id.resp_p": ZeekType.PORT,
}


def detect_numbering(columns: Iterable[tuple[str, int]]) -> frozenset[Numbering]:
    """Tell which numberings fit the columns of one log.

    Nothing on the wire names the numbering. But ``ts`` is a time in each of Zeek's own logs, which tells 4.0 and
    earlier (6) from the later ones (5), and ``id.orig_h`` and its like are addresses, which tells all three apart.

    Args:
        columns: name and type number of each column.

    Returns:
        Those that fit, all three if no column says anything; empty if columns contradict each other or every numbering.
    """
    fitting = set(Numbering)
    for name, tag in columns:
        kind = _KNOWN_COLUMNS.get(name)
        if kind is not None:
            fitting = {numbering for numbering in fitting if numbering.to_tag(kind) == tag}
    return frozenset(fitting)
