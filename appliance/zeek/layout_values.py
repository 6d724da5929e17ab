"""What the expressions of a layout say, where that can be known without Zeek."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal

from .address import Address
from .layout_syntax import Call, Expression, Listing, Member, Raw, Record, Word

__all__ = ["Scope", "quote", "unquote"]

_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{1,2})|([0-7]{1,3})|(.))", re.DOTALL)
_CONTROL = {"n": "\n", "t": "\t", "r": "\r", "v": "\v", "b": "\b", "f": "\f", "a": "\a"}
_UNITS_NS = {"day": 86400 * 10**9, "hr": 3600 * 10**9, "min": 60 * 10**9, "sec": 10**9, "msec": 10**6, "usec": 1000}
_INTERVAL = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?(?:[eE][-+]?[0-9]{1,2})?)\s*(day|hr|min|sec|msec|usec)s?")
_MAX_STEPS = 32
"""Names that may stand for each other before one is given up."""


def unquote(text: str) -> str:
    r"""The characters that a string stands for; bytes beyond ASCII given by ``\x`` are read as UTF-8."""

    def replace(found: re.Match[str]) -> str:
        if found[3] is not None:
            return _CONTROL.get(found[3], found[3])
        return chr(int(found[1], 16) if found[1] else int(found[2], 8) & 0xFF)

    if "\\" not in text:
        return text[1:-1]
    pieces = [
        replace(found).encode("latin-1") if found[3] is None else replace(found).encode("utf-8", "surrogateescape")
        for found in _ESCAPE.finditer(text[1:-1])
    ]
    plain = _ESCAPE.split(text[1:-1])[::4]
    data = b"".join(
        part.encode("utf-8", "surrogateescape") + piece for part, piece in zip(plain, [*pieces, b""], strict=True)
    )
    return data.decode("utf-8", "surrogateescape")


def quote(text: str) -> str:
    """A string as Zeek reads it.

    Raises:
        ValueError: a control character in it.
    """
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise ValueError(f"{text!r} has control characters")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Scope:
    """Names that a script has defined, and the values of expressions.

    Each ``read_*`` returns None if only Zeek can tell.

    Args:
        environ: for ``getenv``.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._names: dict[str, Expression] = {}
        self._tables: dict[str, dict[str, Expression]] = {}
        self.module = "GLOBAL"

    def qualify(self, name: str) -> str:
        """The full name of what is defined here."""
        return name if "::" in name or self.module == "GLOBAL" else f"{self.module}::{name}"

    def define(self, name: str, value: Expression) -> None:
        """A constant."""
        self._names[self.qualify(name)] = value

    def add_entry(self, table: str, key: str, value: Expression) -> None:
        """An entry of a table by strings."""
        self._tables.setdefault(self.qualify(table), {})[key] = value

    def resolve(self, value: Expression) -> Expression:
        """What names, entries and members stand for, as far as it is known."""
        for _ in range(_MAX_STEPS):
            found = self._step(value)
            if found is None:
                return value
            value = found
        return value

    def _step(self, value: Expression) -> Expression | None:
        match value:
            case Listing((inner,)):
                return inner
            case Word(token) if token.kind == "name":
                return self._names.get(self.qualify(token.text)) or self._names.get(token.text)
            case Member(Word(token), "", index) if index is not None:
                key = self.read_string(index)
                table = self._tables.get(self.qualify(token.text)) or self._tables.get(token.text) or {}
                return None if key is None else table.get(key)
            case Member(of, field, None):
                record = self.resolve(of)
                if isinstance(record, Record):
                    return next((each.value for each in record.fields if each.name == field), None)
        return None

    def read_string(self, value: Expression) -> str | None:
        """A string."""
        value = self.resolve(value)
        match value:
            case Word(token) if token.kind == "string":
                return unquote(token.text)
            case Call("getenv", (name,)):
                key = self.read_string(name)
                return None if key is None else self._environ.get(key, "")
            case Call("cat", args):
                parts = [self._read_text(each) for each in args]
                return None if None in parts else "".join(part or "" for part in parts)
            case Call("fmt", (form, *args)):
                return self._format(form, args)
        return None

    def _format(self, form: Expression, args: list[Expression]) -> str | None:
        text, parts = self.read_string(form), [self._read_text(each) for each in args]
        if text is None or None in parts:
            return None
        pieces = re.split(r"%[sd]", text)
        if len(pieces) != len(parts) + 1 or any("%" in piece.replace("%%", "") for piece in pieces):
            return None
        filled = [piece.replace("%%", "%") + (part or "") for piece, part in zip(pieces, [*parts, ""], strict=True)]
        return "".join(filled)

    def _read_text(self, value: Expression) -> str | None:
        value = self.resolve(value)
        if isinstance(value, Word) and value.token.kind in ("number", "port", "addr", "host"):
            return value.token.text.strip("[]")
        return self.read_string(value)

    def read_bool(self, value: Expression) -> bool | None:
        """``T`` or ``F``."""
        value = self.resolve(value)
        return {"T": True, "F": False}.get(value.token.text) if isinstance(value, Word) else None

    def read_enum(self, value: Expression) -> str | None:
        """The last part of an enum's name."""
        value = self.resolve(value)
        is_name = isinstance(value, Word) and value.token.kind == "name"
        return value.token.text.rpartition("::")[2] if is_name and isinstance(value, Word) else None

    def read_port(self, value: Expression) -> tuple[int, str] | None:
        """Number and protocol."""
        value = self.resolve(value)
        text: str | None = None
        if isinstance(value, Word) and value.token.kind == "port":
            text = value.token.text
        elif isinstance(value, Call) and value.name == "to_port" and len(value.args) == 1:
            text = self.read_string(value.args[0])
        number, _, protocol = (text or "").partition("/")
        if not (number.isascii() and number.isdigit() and len(number) <= 5 and int(number) <= 0xFFFF):
            return None
        return (int(number), protocol) if protocol in ("tcp", "udp", "icmp", "unknown") else None

    def read_address(self, value: Expression) -> str | None:
        """An address, or the name of a host that stands for one."""
        value = self.resolve(value)
        if isinstance(value, Member) and value.field == "" and isinstance(value.of, Call | Listing):
            value = self.resolve(value.of)  # the first address of a look-up
        match value:
            case Word(token) if token.kind == "addr":
                return _address(token.text.strip("[]"))
            case Word(token) if token.kind == "host":
                return token.text
            case Call("blocking_lookup_hostname", (name,)):
                return self.read_string(name) or None
            case Call("to_addr", (text,)):
                return _address(self.read_string(text) or "")
        return None

    def read_interval_ns(self, value: Expression) -> int | None:
        """An interval in nanoseconds."""
        value = self.resolve(value)
        found = _INTERVAL.fullmatch(value.token.text) if isinstance(value, Word) else None
        if found is None:
            return None
        return int(Decimal(found[1]) * _UNITS_NS[found[2]])

    def explain(self, value: Expression) -> str:
        """Why a value is unknown."""
        match self.resolve(value):
            case Raw() | Call() | Member():
                return "only Zeek can compute it"
        return "it is not of the right type"


def _address(text: str) -> str | None:
    try:
        return str(Address.parse(text))
    except ValueError:
        return None
