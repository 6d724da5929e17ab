r"""Reader of Zeek's ASCII logs ("TSV"): bytes as they come, records of typed values out.

The last line is held back until its newline comes. A line that makes no sense is counted and left out; what comes
after it is read. Two things that Zeek writes cannot be told apart, and are read as Zeek's own reader does: a string
``(empty)`` is an empty string, and a set of one empty string is an empty set.

Source: Zeek, src/threading/formatters/Ascii.cc (both directions) and src/logging/writers/ascii/Ascii.cc (the header).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from .address import Address, Port, Subnet
from .records import Record
from .schema import CONTAINER_TYPES, Field, ZeekType
from .tsv_header import TsvHeader, apply_directive, unescape

__all__ = ["RecordReader", "TsvReader", "TsvRecords"]

_Parse = Callable[[bytes], Any]

_WHOLE = re.compile(rb"-?[0-9]+")
_REAL = re.compile(rb"-?(?:[0-9]+(?:\.[0-9]*)?(?:e[-+]?[0-9]+)?|nan|inf)")
_REAL_BYTES = 63
_RANGES = {ZeekType.INT: (-(1 << 63), (1 << 63) - 1), ZeekType.COUNT: (0, (1 << 64) - 1), ZeekType.PORT: (0, 65535)}


class TsvRecords(NamedTuple):
    """Records that share a header."""

    header: TsvHeader
    records: tuple[Record, ...]


class TsvReader:
    """Reads one log.

    Args:
        max_line: a longer line, in bytes, is refused; not more than this is held back.
    """

    def __init__(self, *, max_line: int = 1 << 20) -> None:
        self.header = TsvHeader()
        """What the directives said so far."""
        self.refused: Counter[str] = Counter()
        """Lines by reason: ``bad_line``, ``too_large``."""
        self.complaint = ""
        """What was wrong with the last refused line or directive."""
        self._max_line = max_line
        self._rest = b""
        self._is_skipping = False
        self._reader: RecordReader | None = None

    @property
    def is_closed(self) -> bool:
        """Whether the log was ended by ``#close``."""
        return self.header.closed is not None

    @property
    def held_bytes(self) -> int:
        """Bytes of a line whose end has not come; at the end of a file, they are of a torn line."""
        return len(self._rest)

    def feed(self, data: bytes) -> list[TsvRecords]:
        """The records of every line that is complete now."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        batches: list[tuple[TsvHeader, list[Record]]] = []
        for line in lines:
            if self._is_skipping:
                self._is_skipping = False
                continue
            record = self._read(line.removesuffix(b"\r"))
            if record is None:
                continue
            if not batches or batches[-1][0] != self.header:
                batches.append((self.header, []))
            batches[-1][1].append(record)
        if self._is_skipping or len(self._rest) > self._max_line + 1:
            if not self._is_skipping:
                self._refuse("too_large", f"a line of more than {self._max_line} bytes")
            self._is_skipping, self._rest = True, b""
        return [TsvRecords(header, tuple(records)) for header, records in batches]

    def _read(self, line: bytes) -> Record | None:
        if line.startswith(b"#"):
            try:
                if len(line) > self._max_line:
                    raise ValueError("a directive that is too long")
                self.header = apply_directive(self.header, line)
            except ValueError as exc:
                self.complaint = f"in the header: {exc}"
            return None
        if len(line) > self._max_line:
            self._refuse("too_large", f"a line of more than {self._max_line} bytes")
            return None
        if self._reader is None or self._reader.header != self.header:
            self._reader = RecordReader(self.header)
        try:
            return self._reader.read(line)
        except ValueError as exc:
            self._refuse("bad_line", str(exc))
            return None

    def _refuse(self, reason: str, complaint: str) -> None:
        self.refused[reason] += 1
        self.complaint = complaint


class RecordReader:
    """Reads lines of one header."""

    def __init__(self, header: TsvHeader) -> None:
        self.header = header
        self._columns = (
            [(field.name, self._make_field(field)) for field in header.columns] if header.is_complete else []
        )

    def read(self, line: bytes) -> Record:
        """The record in `line`, which has no newline.

        Raises:
            ValueError: there is no header, or the line does not fit it.
        """
        if not self._columns:
            raise ValueError("no header before the first record")
        cells = line.split(self.header.separator)
        if len(cells) != len(self._columns):
            raise ValueError(f"{len(cells)} cells, not {len(self._columns)}")
        values = []
        for cell, (name, parse) in zip(cells, self._columns, strict=True):
            try:
                values.append(None if cell == self.header.unset_field else parse(cell))
            except ValueError as exc:
                raise ValueError(f"{name}: {exc}") from exc
        return tuple(values)

    def _make_field(self, field: Field) -> _Parse:
        if field.type not in CONTAINER_TYPES:
            return self._make_scalar(field.type)
        parse, header = self._make_scalar(field.subtype), self.header

        def parse_elements(cell: bytes) -> tuple[Any, ...]:
            if not cell or cell == header.empty_field:
                return ()
            elements = cell.split(header.set_separator)
            return tuple([None if element == header.unset_field else parse(element) for element in elements])

        return parse_elements

    def _make_scalar(self, kind: ZeekType) -> _Parse:
        if kind is ZeekType.BOOL:
            return _parse_bool
        if kind in _RANGES:
            return _make_whole(kind)
        if kind in (ZeekType.DOUBLE, ZeekType.TIME, ZeekType.INTERVAL):
            return _parse_real
        if kind is ZeekType.ADDR:
            return lambda cell: Address.parse(cell.decode("ascii"))
        if kind is ZeekType.SUBNET:
            return lambda cell: Subnet.parse(cell.decode("ascii"))
        empty = self.header.empty_field
        return lambda cell: b"" if cell == empty else unescape(cell)


def _parse_bool(cell: bytes) -> bool:
    if cell not in (b"T", b"F"):
        raise ValueError(f"no bool: {cell[:60]!r}")
    return cell == b"T"


def _make_whole(kind: ZeekType) -> _Parse:
    low, high = _RANGES[kind]

    def parse(cell: bytes) -> int | Port:
        value = int(cell) if _WHOLE.fullmatch(cell) and len(cell) < 4000 else high + 1
        if not low <= value <= high or (low == 0 and cell.startswith(b"-")):
            raise ValueError(f"no {kind.name.lower()}: {cell[:60]!r}")
        return Port(value, 0) if kind is ZeekType.PORT else value

    return parse


def _parse_real(cell: bytes) -> float:
    if len(cell) > _REAL_BYTES or not _REAL.fullmatch(cell):
        raise ValueError(f"no number: {cell[:60]!r}")
    return float(cell)
