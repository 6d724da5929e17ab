"""From blocks of a log file to JSON rows: which format it is, what its header says, which lines are refused and why.

Knows nothing of files and time. It holds no bytes back: what is behind the last newline is simply not consumed.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from appliance.native.lines import (
    ColumnKind,
    ConvertedLines,
    LineBuffer,
    LineColumn,
    LineConverter,
    LineFault,
    LineMarks,
    LineStop,
)
from appliance.zeek.json_string import quote_name
from appliance.zeek.schema import CONTAINER_TYPES, Field, ZeekType
from appliance.zeek.tsv_header import TsvHeader, apply_directive

from .naming import is_log_path

__all__ = ["Group", "LineReader", "Piece"]

KINDS = {
    ZeekType.BOOL: ColumnKind.BOOL,
    ZeekType.INT: ColumnKind.INT,
    ZeekType.COUNT: ColumnKind.COUNT,
    ZeekType.PORT: ColumnKind.PORT,
    ZeekType.DOUBLE: ColumnKind.REAL,
    ZeekType.TIME: ColumnKind.REAL,
    ZeekType.INTERVAL: ColumnKind.REAL,
    ZeekType.ADDR: ColumnKind.ADDRESS,
    ZeekType.SUBNET: ColumnKind.ADDRESS,
}
"""Zeek's types whose values are no JSON strings."""
_HASH = ord("#")


class Group(NamedTuple):
    """Rows of one log path."""

    path: str
    data: bytes
    """`count` JSON objects, each followed by one newline."""
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody wants here
    columns: tuple[tuple[str, str], ...] = ()
    """Names and types as the header says; empty for JSON."""


class Piece(NamedTuple):
    """What became of a block."""

    consumed: int
    """Bytes of the block that need not be seen again."""
    groups: tuple[Group, ...]
    refused: dict[str, int]
    """Lines by reason: ``bad_line``, ``too_large``."""
    complaint: str
    """What was wrong with the last refused line; empty if there was none."""


class LineReader:
    """Reads one file, block by block.

    Args:
        path: log path of records whose header names none.
        max_line: a longer line is refused; its bytes are consumed as they come.
        buffer: for the rows, shared by all readers of a thread.
        header: what the header said up to where reading begins.
        is_skipping: reading begins in a line that is too long.
    """

    def __init__(
        self,
        path: str,
        *,
        max_line: int,
        buffer: LineBuffer,
        header: TsvHeader | None = None,
        is_skipping: bool = False,
    ) -> None:
        self.path = path
        self.header = header or TsvHeader()
        self._columns: tuple[tuple[str, str], ...] = ()
        self.is_skipping = is_skipping
        self._max_line = max_line
        self._buffer = buffer
        self._converter: LineConverter | None = None

    @property
    def is_closed(self) -> bool:
        """Whether the last directive was ``#close``."""
        return self.header.closed is not None

    def restart(self, first: bytes) -> None:
        """The file begins again with `first`. Its header stays in force unless another format begins: a file that was
        copied and cut goes on without one.
        """
        self.is_skipping = False
        self._set_header(TsvHeader() if first == b"{" else msgspec.structs.replace(self.header, closed=None))

    def convert(self, block: bytes) -> Piece:
        """Read the whole lines of `block`."""
        at, groups, refused, complaint = 0, list[Group](), dict[str, int](), ""
        if self.is_skipping:
            at = block.find(b"\n") + 1
            if not at:
                return Piece(len(block), (), {}, "")
            self.is_skipping = False
        end = block.rfind(b"\n") + 1
        while at < end:
            if block[at] == _HASH:
                behind = block.index(b"\n", at) + 1
                complaint = self._direct(block[at:behind]) or complaint
                at = behind
                continue
            done = self._ready_converter().convert(block, at, self._buffer)
            at += done.consumed
            if done.rows:
                _append(groups, Group(self._log_path(), done.data, done.rows, self._columns))
            for reason, count in (("bad_line", done.bad), ("too_large", done.large)):
                if count:
                    refused[reason] = refused.get(reason, 0) + count
                    complaint = self._describe(done)
            if done.stop is LineStop.END:
                at = end
        if len(block) - at > self._max_line + 2:
            self.is_skipping = True
            refused["too_large"] = refused.get("too_large", 0) + 1
            complaint = f"a line of more than {self._max_line} bytes"
            at = len(block)
        return Piece(at, tuple(groups), refused, complaint)

    # ── header ──

    def _direct(self, line: bytes) -> str:
        """Follow a directive; returns what is wrong with it."""
        try:
            line = line.removesuffix(b"\n").removesuffix(b"\r")
            if len(line) > self._max_line:
                raise ValueError("a directive that is too long")
            header = apply_directive(self.header, line)
        except ValueError as exc:
            return f"in the header: {exc}"
        self._set_header(header)
        return ""

    def _set_header(self, header: TsvHeader) -> None:
        if (header.names, header.types, _marks(header)) != (self.header.names, self.header.types, _marks(self.header)):
            self._converter = None
        self.header = header

    def _log_path(self) -> str:
        return self.header.path if is_log_path(self.header.path) else self.path

    def _ready_converter(self) -> LineConverter:
        """For the header in force; a file without one holds JSON."""
        if self._converter is None:
            header = self.header
            columns = [_line_column(field) for field in header.columns] if header.is_complete else []
            self._columns = tuple(zip(header.names, header.types, strict=True)) if header.is_complete else ()
            self._converter = LineConverter(columns, _marks(header), max_line=self._max_line)
        return self._converter

    def _describe(self, done: ConvertedLines) -> str:
        beginning = repr(done.refused[:120])
        if done.fault is LineFault.VALUE:
            name, kind = self.header.names[done.column], self.header.types[done.column]
            return f"no {kind} in {name!r}: {beginning}"
        if done.fault is LineFault.COLUMNS:
            return f"not {len(self.header.names)} cells: {beginning}"
        if done.fault is LineFault.LARGE:
            return f"a line of more than {self._max_line} bytes: {beginning}"
        return f"no header and no JSON object: {beginning}"


def _marks(header: TsvHeader) -> LineMarks:
    return LineMarks(header.separator, header.set_separator, header.empty_field, header.unset_field)


def _line_column(field: Field) -> LineColumn:
    is_list = field.type in CONTAINER_TYPES
    kind = KINDS.get(field.subtype if is_list else field.type, ColumnKind.STRING)
    return LineColumn(quote_name(field.name.encode()) + b":", kind, is_list)


def _append(groups: list[Group], group: Group) -> None:
    if groups and (groups[-1].path, groups[-1].columns) == (group.path, group.columns):
        last = groups[-1]
        groups[-1] = last._replace(data=last.data + group.data, count=last.count + group.count)
    else:
        groups.append(group)
