r"""Writer of Zeek's ASCII logs ("TSV"): records in, out the bytes that Zeek writes, header and ``#close`` included.

As in Zeek, times, intervals and doubles have six decimals at most, and a string ``(empty)`` looks like an empty one.

Source: Zeek, src/logging/writers/ascii/Ascii.cc, src/threading/formatters/Ascii.cc, src/Desc.cc.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from .address import Address, Port, Subnet
from .records import Record
from .schema import CONTAINER_TYPES, Field, LogSchema, ZeekType
from .tsv_header import TsvHeader, escape

__all__ = ["TsvWriter", "header_for", "parse_json_record"]

_Render = Callable[[Any, tuple[bytes, ...]], bytes]

_TYPE_WORDS = {ZeekType.TABLE: "set", ZeekType.VECTOR: "vector"}
_UTF8 = (
    rb"[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xed[\x80-\x9f][\x80-\xbf]|"
    rb"\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2}"
)
_HEXED = re.compile(r"\\x([0189a-f][0-9a-f])")
"""What Zeek's JSON writer leaves of a byte that is neither text nor UTF-8."""
_LARGEST_PLAIN = float(1 << 63)


class TsvWriter:
    """Writes one log.

    Args:
        header: marks, path, columns, and the time of ``#open``.
    """

    def __init__(self, header: TsvHeader) -> None:
        self.header = header
        self._columns = [self._make_field(field) for field in header.columns]
        self._special: dict[tuple[bytes, ...], re.Pattern[bytes]] = {}

    def begin(self) -> bytes:
        """The header."""
        header, separator = self.header, self.header.separator
        lines = [b"#separator " + escape(separator)]
        for key, value in (
            (b"set_separator", escape(header.set_separator)),
            (b"empty_field", escape(header.empty_field)),
            (b"unset_field", escape(header.unset_field)),
            (b"path", escape(header.path.encode())),
            (b"open", header.opened.encode()),
            (b"fields", separator.join(name.encode() for name in header.names)),
            (b"types", separator.join(kind.encode() for kind in header.types)),
        ):
            lines.append(b"#" + key + separator + value)
        return b"\n".join(lines) + b"\n"

    def line(self, record: Record) -> bytes:
        """One line, with its newline."""
        cells = [
            self.header.unset_field if value is None else render(value, (self.header.separator,))
            for value, render in zip(record, self._columns, strict=True)
        ]
        line = self.header.separator.join(cells)
        if line.startswith(b"#"):  # or it would be a directive
            line = rb"\x23" + line[1:]
        return line + b"\n"

    def lines(self, records: Iterable[Record]) -> bytes:
        return b"".join([self.line(record) for record in records])

    def end(self, closed: str) -> bytes:
        """The last line.

        Args:
            closed: the time of ``#close``, as in ``2026-11-21-02-24-13``.
        """
        return b"#close" + self.header.separator + closed.encode() + b"\n"

    def _make_field(self, field: Field) -> _Render:
        if field.type not in CONTAINER_TYPES:
            return self._make_scalar(field.type)
        render, header = self._make_scalar(field.subtype), self.header

        def render_elements(value: tuple[Any, ...], marks: tuple[bytes, ...]) -> bytes:
            if not value:
                return header.empty_field
            inside = (*marks, header.set_separator)
            return header.set_separator.join(
                [header.unset_field if element is None else render(element, inside) for element in value]
            )

        return render_elements

    def _make_scalar(self, kind: ZeekType) -> _Render:
        if kind is ZeekType.BOOL:
            return lambda value, _: b"T" if value else b"F"
        if kind in (ZeekType.TIME, ZeekType.INTERVAL):
            return lambda value, _: _render_real(value)
        if kind is ZeekType.DOUBLE:
            return lambda value, _: _trim(_render_real(value))
        if kind is ZeekType.PORT:
            return lambda value, _: b"%d" % value.number
        if kind in (ZeekType.INT, ZeekType.COUNT):
            return lambda value, _: b"%d" % value
        if kind in (ZeekType.ADDR, ZeekType.SUBNET):
            return lambda value, _: str(value).encode()
        return self._render_string

    def _render_string(self, value: bytes, marks: tuple[bytes, ...]) -> bytes:
        if not value:
            return self.header.empty_field
        if value == self.header.unset_field:
            return rb"\x%02x" % value[0] + value[1:]
        special = self._special.get(marks)
        if special is None:
            within = b"|".join(re.escape(mark) for mark in marks)
            special = re.compile(rb"(" + within + rb")|(\\)|((?:" + _UTF8 + rb")++)|([^\x20-\x7e])")
            self._special[marks] = special
        return special.sub(_escape_match, value)


def _escape_match(match: re.Match[bytes]) -> bytes:
    if match[2]:
        return rb"\\"
    return match[3] or b"".join([rb"\x%02x" % byte for byte in match[0]])


def _render_real(value: float) -> bytes:
    """Six decimals, rounded as modp_dtoa() does: to the nearest, a half to the even."""
    if math.isnan(value):
        return b"nan"
    if abs(value) >= _LARGEST_PLAIN:
        return b"%e" % value
    whole = int(abs(value))
    millionths = (abs(value) - whole) * 1_000_000
    fraction = int(millionths)
    rest = millionths - fraction
    if rest > 0.5 or (rest == 0.5 and (fraction == 0 or fraction % 2)):
        fraction += 1
    whole, fraction = (whole + 1, 0) if fraction >= 1_000_000 else (whole, fraction)
    return b"%s%d.%06d" % (b"-" if value < 0 else b"", whole, fraction)


def _trim(text: bytes) -> bytes:
    """Without zeros at the end, but for one behind the point."""
    if b"." not in text or b"e" in text:
        return text
    text = text.rstrip(b"0")
    return text + b"0" if text.endswith(b".") else text


def header_for(schema: LogSchema, *, opened: str) -> TsvHeader:
    """The header that Zeek writes by default for a log of that schema.

    Args:
        schema: path and columns.
        opened: the time of ``#open``, as in ``2026-11-21-02-24-11``.
    """
    types = []
    for field in schema.fields:
        inner = (field.subtype if field.type in CONTAINER_TYPES else field.type).name.lower()
        types.append(f"{_TYPE_WORDS[field.type]}[{inner}]" if field.type in CONTAINER_TYPES else inner)
    names = tuple(field.name for field in schema.fields)
    return TsvHeader(path=schema.path, opened=opened, names=names, types=tuple(types))


def parse_json_record(schema: LogSchema, line: bytes) -> Record:
    r"""The record in a line of Zeek's JSON, for instance to write it as TSV; what the schema does not name is left out.

    JSON has no room for bytes that are no text: Zeek writes ``\xNN`` for them, as it writes the same four characters
    of a real text. They are read as the byte if that is no printable ASCII.

    Raises:
        ValueError: no JSON object, or a value that is not of its column's type.
    """
    members = msgspec.json.decode(line, type=dict[str, Any])
    values = []
    for field in schema.fields:
        value = members.get(field.name)
        try:
            if value is not None and field.type in CONTAINER_TYPES:
                value = tuple([None if element is None else _from_json(field.subtype, element) for element in value])
            elif value is not None:
                value = _from_json(field.type, value)
        except (TypeError, AttributeError) as exc:
            raise ValueError(f"{field.name}: no {field.type.name.lower()}: {value!r}") from exc
        values.append(value)
    return tuple(values)


def _from_json(kind: ZeekType, value: Any) -> Any:
    if kind in (ZeekType.DOUBLE, ZeekType.TIME, ZeekType.INTERVAL):
        return float(value)
    if kind is ZeekType.PORT:
        return Port(value, 0)
    if kind is ZeekType.ADDR:
        return Address.parse(value)
    if kind is ZeekType.SUBNET:
        return Subnet.parse(value)
    if kind in (ZeekType.BOOL, ZeekType.INT, ZeekType.COUNT):
        return value
    if "\\x" not in value:
        return value.encode()
    return b"".join(part.encode() if i % 2 == 0 else bytes.fromhex(part) for i, part in enumerate(_HEXED.split(value)))
