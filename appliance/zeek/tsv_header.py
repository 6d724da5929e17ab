"""The header of Zeek's ASCII logs: the directives at the start of a file, and what its bytes stand for.

Source: Zeek, src/logging/writers/ascii/Ascii.cc and src/threading/formatters/Ascii.cc.
"""

from __future__ import annotations

import re

import msgspec

from .schema import Field, LogSchema, ZeekType

__all__ = ["MAX_COLUMNS", "TsvHeader", "apply_directive", "escape", "unescape"]

MAX_COLUMNS = 4096
"""Bound on the columns of a log; Zeek's widest has fewer than a hundred."""
MAX_MARK_BYTES = 64
"""Bound on a separator or placeholder."""
SCALARS = {
    "bool": ZeekType.BOOL,
    "int": ZeekType.INT,
    "count": ZeekType.COUNT,
    "counter": ZeekType.COUNT,
    "double": ZeekType.DOUBLE,
    "time": ZeekType.TIME,
    "interval": ZeekType.INTERVAL,
    "string": ZeekType.STRING,
    "pattern": ZeekType.STRING,
    "enum": ZeekType.ENUM,
    "port": ZeekType.PORT,
    "addr": ZeekType.ADDR,
    "subnet": ZeekType.SUBNET,
    "file": ZeekType.FILE,
    "func": ZeekType.FUNC,
}
"""Words of ``#types``; ``counter`` is that of old Bros."""
CONTAINERS = {"set": ZeekType.TABLE, "table": ZeekType.TABLE, "vector": ZeekType.VECTOR}
_TYPE = re.compile(r"(?:(set|vector|table)\[)?(\w+)(?(1)\])")
_ESCAPE = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|\\)")
_UNPRINTABLE = re.compile(rb"[^\x21-\x5b\x5d-\x7e]")
_MARKS = {b"set_separator": "set_separator", b"empty_field": "empty_field", b"unset_field": "unset_field"}


class TsvHeader(msgspec.Struct, frozen=True, kw_only=True):
    """What the directives up to some line say."""

    separator: bytes = b"\t"
    set_separator: bytes = b","
    empty_field: bytes = b"(empty)"
    unset_field: bytes = b"-"
    path: str = ""
    """Zeek's log path; empty if no directive named it."""
    opened: str = ""
    """The text of ``#open``."""
    closed: str | None = None
    """The text of ``#close``; None before it."""
    names: tuple[str, ...] = ()
    types: tuple[str, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether lines can be read with it."""
        return bool(self.names) and len(self.names) == len(self.types)

    @property
    def columns(self) -> tuple[Field, ...]:
        """The columns, if the header is complete.

        Raises:
            ValueError: a type that no version of Zeek logs.
        """
        return tuple(parse_field(name, kind) for name, kind in zip(self.names, self.types, strict=True))

    @property
    def schema(self) -> LogSchema:
        """The columns as a schema; the stream is not told.

        Raises:
            ValueError: a type that no version of Zeek logs.
        """
        return LogSchema(stream="", writer="Log::WRITER_ASCII", filter="", path=self.path, fields=self.columns)


def parse_field(name: str, kind: str) -> Field:
    """A column from its name and its text in ``#types``.

    Raises:
        ValueError: there is no such type.
    """
    match = _TYPE.fullmatch(kind)
    if match is None or match[2] not in SCALARS:
        raise ValueError(f"no type of a log: {kind[:60]!r}")
    scalar = SCALARS[match[2]]
    return Field(name, None, CONTAINERS[match[1]], scalar) if match[1] else Field(name, None, scalar)


def unescape(text: bytes) -> bytes:
    r"""``\xNN`` and ``\\`` as the bytes they stand for; any other backslash stands for itself."""
    if b"\\" not in text:
        return text
    return _ESCAPE.sub(lambda match: bytes.fromhex(match[1].decode()) if match[1] else b"\\", text)


def escape(text: bytes) -> bytes:
    r"""Spaces, backslashes and what cannot be printed as ``\xNN``, as Zeek writes the marks of its header."""
    return _UNPRINTABLE.sub(lambda match: rb"\x%02x" % match[0][0], text)


def apply_directive(header: TsvHeader, line: bytes) -> TsvHeader:
    """The header as it is after `line`, which begins with ``#`` and has no newline.

    ``#separator`` is the first directive of every header and makes a new one. Unknown directives are comments.

    Raises:
        ValueError: the directive makes no sense; the header before it stays in force.
    """
    if line.startswith(b"#separator"):
        separator = unescape(line[len(b"#separator") :].strip(b" "))
        if not 0 < len(separator) <= MAX_MARK_BYTES:
            raise ValueError("an empty separator, or a very long one")
        return TsvHeader(separator=separator)
    key, _, rest = line[1:].partition(header.separator)
    if key in _MARKS:
        return msgspec.structs.replace(header, **{_MARKS[key]: _mark(key, rest)})
    if key == b"path":
        return msgspec.structs.replace(header, path=_text(unescape(rest)))
    if key == b"open":
        return msgspec.structs.replace(header, opened=_text(rest), closed=None)
    if key == b"close":
        return msgspec.structs.replace(header, closed=_text(rest))
    if key == b"fields":
        return msgspec.structs.replace(header, names=_list(header, rest), types=())
    if key == b"types":
        types = _list(header, rest)
        for kind in types:
            parse_field("", kind)
        return msgspec.structs.replace(header, types=types)
    return header


def _mark(key: bytes, rest: bytes) -> bytes:
    mark = unescape(rest)
    if len(mark) > MAX_MARK_BYTES or (key == b"set_separator" and not mark):
        raise ValueError(f"an empty {key.decode()}, or a very long one")
    return mark


def _list(header: TsvHeader, rest: bytes) -> tuple[str, ...]:
    cells = rest.split(header.separator)
    if len(cells) > MAX_COLUMNS:
        raise ValueError(f"{len(cells)} columns, more than {MAX_COLUMNS}")
    return tuple(_text(cell) for cell in cells)


def _text(text: bytes) -> str:
    return text.decode(errors="replace")
