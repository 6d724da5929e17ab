"""What a log looks like: its columns, their types, and where its records come from."""

from __future__ import annotations

import enum

import msgspec

__all__ = ["ATOMIC_TYPES", "CONTAINER_TYPES", "MAX_FIELDS", "Field", "LogSchema", "ZeekType", "as_bytes", "as_text"]


class ZeekType(enum.IntEnum):
    """Zeek's types, numbered as Zeek 5.0 and later number them (`numbering` knows the older ones).

    Source: Zeek, ``src/Type.h``, ``TypeTag``.
    """

    VOID = 0
    BOOL = 1
    INT = 2
    COUNT = 3
    DOUBLE = 4
    TIME = 5
    INTERVAL = 6
    STRING = 7
    PATTERN = 8
    ENUM = 9
    PORT = 10
    ADDR = 11
    SUBNET = 12
    ANY = 13
    TABLE = 14
    """In logs always a set."""
    RECORD = 15
    LIST = 16
    FUNC = 17
    FILE = 18
    VECTOR = 19
    OPAQUE = 20
    TYPE = 21
    ERROR = 22


ATOMIC_TYPES = frozenset(
    {
        ZeekType.BOOL,
        ZeekType.INT,
        ZeekType.COUNT,
        ZeekType.DOUBLE,
        ZeekType.TIME,
        ZeekType.INTERVAL,
        ZeekType.STRING,
        ZeekType.ENUM,
        ZeekType.PORT,
        ZeekType.ADDR,
        ZeekType.SUBNET,
        ZeekType.FUNC,
        ZeekType.FILE,
    }
)
"""Types of a log column that hold one thing, and the only ones that a set or vector may hold."""

CONTAINER_TYPES = frozenset({ZeekType.TABLE, ZeekType.VECTOR})

MAX_FIELDS = 4096
"""A log with more columns than this is refused; Zeek's widest have about a hundred."""


class Field(msgspec.Struct, frozen=True):
    """One column of a log."""

    name: str
    """The final, flattened name, e.g. ``id.orig_h``."""
    secondary: str | None
    """Second name; only Zeek's input framework uses it."""
    type: ZeekType
    subtype: ZeekType = ZeekType.VOID
    """Type of the elements of a set or vector; without a meaning for other types."""
    optional: bool = False
    """Zeek declares the column ``&optional`` or ``&default``. Any column may be unset all the same."""

    @property
    def is_loggable(self) -> bool:
        """Whether a log can have such a column: atomic, or a set or vector of something atomic."""
        return self.type in ATOMIC_TYPES or (self.type in CONTAINER_TYPES and self.subtype in ATOMIC_TYPES)


class LogSchema(msgspec.Struct, frozen=True):
    """Columns of a log and where its records come from. Equal schemas have equal hashes: a change is an inequality."""

    stream: str
    """Zeek's stream, e.g. ``Conn::LOG``."""
    writer: str
    """Zeek's writer, e.g. ``Log::WRITER_ASCII``."""
    filter: str
    """Zeek's log filter, e.g. ``default``; empty where it is not transmitted (Broker)."""
    path: str
    """Zeek's log path, e.g. ``conn``."""
    fields: tuple[Field, ...]


def as_text(data: bytes) -> str:
    """Turn a name on the wire into text; bytes that are not UTF-8 become surrogates, so nothing is lost."""
    return data.decode("utf-8", "surrogateescape")


def as_bytes(text: str) -> bytes:
    """Turn a name back into what `as_text` got.

    Raises:
        UnicodeEncodeError: a surrogate that `as_text` never makes; a `ValueError`.
    """
    return text.encode("utf-8", "surrogateescape")
