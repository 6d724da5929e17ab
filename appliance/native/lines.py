"""The line converter of the C module: blocks of a log file's lines to JSON rows."""

from __future__ import annotations

import enum
import errno
from collections.abc import Sequence
from typing import Any, NamedTuple

from appliance._native import ffi, lib
from appliance.native.handles import Owner, allocate, opened

__all__ = [
    "ColumnKind",
    "ConvertedLines",
    "LineBuffer",
    "LineColumn",
    "LineConverter",
    "LineFault",
    "LineMarks",
    "LineStop",
]

_SLACK = 1 << 16
_REFUSED_BYTES = 512


class ColumnKind(enum.IntEnum):
    """How the text of a value is read and written."""

    STRING = lib.TSV_STRING
    BOOL = lib.TSV_BOOL
    INT = lib.TSV_INT
    COUNT = lib.TSV_COUNT
    PORT = lib.TSV_PORT
    REAL = lib.TSV_REAL
    ADDRESS = lib.TSV_ADDRESS


class LineStop(enum.IntEnum):
    """Why `LineConverter.convert` came back."""

    END = lib.TSV_STOP_END
    """There is no further whole line."""
    DIRECTIVE = lib.TSV_STOP_DIRECTIVE
    """The next line begins with ``#``; it is not consumed."""
    FULL = lib.TSV_STOP_FULL
    """Enough for one call: convert the rest."""


class LineFault(enum.IntEnum):
    """Why the last refused line was refused."""

    NONE = lib.TSV_FAULT_NONE
    COLUMNS = lib.TSV_FAULT_COLUMNS
    VALUE = lib.TSV_FAULT_VALUE
    JSON = lib.TSV_FAULT_JSON
    LARGE = lib.TSV_FAULT_LARGE


class LineColumn(NamedTuple):
    """A column of an ASCII log."""

    key: bytes
    """The member's key as it is to be written, with quotes and colon."""
    kind: ColumnKind
    is_list: bool


class LineMarks(NamedTuple):
    """What stands between and for values; at most 64 bytes each."""

    separator: bytes = b"\t"
    set_separator: bytes = b","
    empty_field: bytes = b"(empty)"
    unset_field: bytes = b"-"


class ConvertedLines(NamedTuple):
    """What one call made of a block."""

    consumed: int
    """Bytes of whole lines, from the start that was given."""
    data: bytes
    """`rows` JSON objects, each followed by one newline."""
    rows: int
    bad: int
    """Refused lines of a sensible length."""
    large: int
    """Refused lines that are longer than `max_line`."""
    stop: LineStop
    fault: LineFault
    """Of the last refused line."""
    refused: bytes
    """The beginning (512 bytes) of the last refused line."""
    column: int
    """For `LineFault.VALUE` the first bad column, from 0; for `LineFault.COLUMNS` the cells that were found."""


class LineBuffer:
    """Where rows are written before they are copied out; one serves all converters of a thread."""

    def __init__(self) -> None:
        self.size = 0
        self.memory: Any = None

    def reserve(self, size: int) -> None:
        """Have room for at least `size` bytes; what was in it is lost."""
        if size > self.size:
            self.memory, self.size = allocate("uint8_t[]", size), size


class LineConverter(Owner):
    """Makes JSON rows of lines: of an ASCII log with `columns`, or of a JSON log, whose lines only are checked.

    Args:
        columns: of an ASCII log, at most 4096; none for a JSON log.
        marks: of an ASCII log.
        max_line: longest line in bytes without its end, 2 to 64 MiB.

    Raises:
        ValueError: a mark or limit is out of range.
        MemoryError: there is not enough memory for it.
    """

    def __init__(self, columns: Sequence[LineColumn] = (), marks: LineMarks | None = None, *, max_line: int) -> None:
        out = ffi.new("struct tsv_lines **")
        error = lib.tsv_open(len(columns), max_line, out)
        super().__init__(opened("LineConverter", error, out, lib.tsv_close))
        spread = [part for mark in marks or LineMarks() for part in (mark, len(mark))]
        self._check(lib.tsv_set_marks(self.open_handle, *spread))
        for i, column in enumerate(columns):
            key, kind = column.key, int(column.kind)
            self._check(lib.tsv_set_column(self.open_handle, i, key, len(key), kind, column.is_list))

    @staticmethod
    def _check(error: int) -> None:
        if error == errno.ENOMEM:
            raise MemoryError("no memory for LineConverter")
        if error:
            raise ValueError("a mark or column of LineConverter is out of range")

    def convert(self, block: bytes, start: int, buffer: LineBuffer) -> ConvertedLines:
        """Convert whole lines of `block` from `start` on, until there is none, a ``#`` begins one, or it is enough.

        The GIL is released meanwhile. One thread at a time.
        """
        data, length = ffi.from_buffer(block) + start, len(block) - start
        step = ffi.new("struct tsv_step *")
        buffer.reserve(2 * length + _SLACK)
        while True:
            lib.tsv_convert(self.open_handle, data, length, buffer.memory, buffer.size, step)
            if step.stop != lib.TSV_STOP_FULL or step.consumed:
                break
            buffer.reserve(step.room)
        refused_at = start + step.refused_at
        return ConvertedLines(
            consumed=step.consumed,
            data=bytes(ffi.buffer(buffer.memory, step.written)),
            rows=step.rows,
            bad=step.bad,
            large=step.large,
            stop=LineStop(step.stop),
            fault=LineFault(step.fault),
            refused=block[refused_at : refused_at + min(step.refused_len, _REFUSED_BYTES)],
            column=step.column,
        )
