"""Members that rows get at their begin: ``_path``, ``_node`` and ``_write_ts``, as json-streaming-logs names them.

Works on whole blocks of rows. A row of its own is looked at only if it may have such a member already, or is written in
a way that no Zeek writes.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

import msgspec

from appliance.model import LogBatch
from appliance.zeek.json_lines import ADDED_FIELDS
from appliance.zeek.json_string import quote
from appliance.zeek.schema import as_bytes

from .times import renderer_for

__all__ = ["AddedMembers", "write_ts"]

_OPENING = re.compile(rb"([ \t\r]*\{)[ \t\r]*(\}?)")
_ESCAPED = b"\\u00"
"""Without this, a name of ASCII characters is written as it is."""
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_PATHS_KEPT = 4096


def write_ts(now_ns: int) -> float:
    """The time of writing as Zeek has times: seconds, to the microsecond."""
    return now_ns // 1000 / 1_000_000


@functools.lru_cache(maxsize=_PATHS_KEPT)
def _quote(text: str) -> bytes:
    try:
        return quote(as_bytes(text))
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        return quote(text.encode("utf-8", "replace"))


class AddedMembers:
    """See the module.

    Args:
        names: any of ``_path``, ``_node`` and ``_write_ts``; they are written in this order.
        time_format: of ``_write_ts``.
    """

    def __init__(self, names: Sequence[str], time_format: str) -> None:
        self._names = tuple(name for name in ADDED_FIELDS if name in names)
        self._quoted = tuple(f'"{name}"'.encode() for name in self._names)
        self._render_time = renderer_for(time_format)

    def add(self, batch: LogBatch, data: bytes, now_ns: int) -> bytes:
        """The rows of `data`, each with the members that it does not have.

        Args:
            batch: whose path and node they get.
            data: its rows, perhaps changed already.
            now_ns: wall clock.
        """
        members = {name: f'"{name}":'.encode() + self._value(name, batch, now_ns) for name in self._names}
        start = b",".join(members.values())
        if b'"_' not in data and _ESCAPED not in data:
            # No name begins like ours. Where every row begins as Zeek's do, all of it is one replacement; nothing else
            # than a row's begin looks like one, for strings hold no line breaks.
            pieces = (b"\n" + data).split(b'\n{"')
            if len(pieces) == batch.count + 1:
                return (b"\n{" + start + b',"').join(pieces)[1:]
        rows = data.split(b"\n")
        rows.pop()
        return b"".join([self._add_to_row(row, members, start) for row in rows])

    def _value(self, name: str, batch: LogBatch, now_ns: int) -> bytes:
        if name == "_path":
            return _quote(batch.path)
        return _quote(batch.node) if name == "_node" else self._render_time(write_ts(now_ns))

    def _add_to_row(self, row: bytes, members: dict[str, bytes], start: bytes) -> bytes:
        if _ESCAPED in row or any(name in row for name in self._quoted):
            there = self._names_in(row)
            start = b",".join([member for name, member in members.items() if name not in there])
        opening = _OPENING.match(row)
        if not start or opening is None:
            return row + b"\n"
        comma = b"" if opening[2] else b","
        return opening[1] + start + comma + row[opening.end(1) :] + b"\n"

    def _names_in(self, row: bytes) -> set[str]:
        """Those of our names that members of the row have; not members of its members."""
        try:
            return set(_MEMBERS.decode(row)) & set(self._names)
        except ValueError:  # legal and yet refused, such as half a surrogate pair: rather too few members than two
            return {name for name, quoted in zip(self._names, self._quoted, strict=True) if quoted in row}
