"""Expressions and statements of a Zeek script, as far as a layout needs them. What is not understood is passed over as
a whole: its brackets are balanced, and its text is kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

import msgspec

from .layout import LayoutError
from .layout_tokens import Token, Tokens

__all__ = [
    "MAX_DEPTH",
    "Call",
    "Entry",
    "Expression",
    "Field",
    "Listing",
    "Member",
    "Raw",
    "Reader",
    "Record",
    "Table",
    "Word",
]

MAX_DEPTH = 64
"""Brackets within each other; what generators and people write has five."""

_STRING_OR_COMMENT = re.compile(r'"(?:[^"\\]++|\\.)*+"|#.*')
_PAIRS = {"(": ")", "[": "]", "{": "}"}
_CLOSING = frozenset(_PAIRS.values())


class Word(msgspec.Struct, frozen=True):
    """A constant or a name."""

    token: Token


class Field(msgspec.Struct, frozen=True):
    """One field of a record."""

    name: str
    value: Expression
    at: int
    """Where its ``$`` is."""
    span: tuple[int, int]
    """Where its value begins and ends."""


class Record(msgspec.Struct, frozen=True):
    """``[$field=value, ...]``, or the same as arguments of a constructor."""

    fields: tuple[Field, ...]


class Listing(msgspec.Struct, frozen=True):
    """``[a, b]``: a key, or a vector."""

    items: tuple[Expression, ...]


class Entry(msgspec.Struct, frozen=True):
    """One entry of a table."""

    key: Expression
    value: Expression | None
    """None in a set."""
    at: int
    branch: tuple[int, ...]
    """In which branches of conditions it is written."""


class Table(msgspec.Struct, frozen=True):
    """``{ [key] = value, ... }``, or ``table(...)``, ``set(...)``."""

    entries: tuple[Entry, ...]


class Call(msgspec.Struct, frozen=True):
    """``name(arguments)``."""

    name: str
    args: tuple[Expression, ...]


class Member(msgspec.Struct, frozen=True):
    """``of$field``, or ``of[key]``."""

    of: Expression
    field: str
    key: Expression | None = None


class Raw(msgspec.Struct, frozen=True):
    """Anything else."""


Expression: TypeAlias = Word | Record | Listing | Table | Call | Member | Raw


class Reader:
    """Reads a script word by word; conditions (``@if``) are followed into all their branches.

    Args:
        text: of the file.
        file: its name.
        on_load: told of each ``@load`` and its position.
    """

    def __init__(self, text: str, file: str, on_load: Callable[[str, int], None]) -> None:
        self.tokens = Tokens(text, file)
        self._on_load = on_load
        self._branch: tuple[int, ...] = ()
        self._branches = 0
        self._depth = 0
        self._previous_end = 0
        self.token = self._read()

    # ── words ──

    @property
    def branch(self) -> tuple[int, ...]:
        """The branches that we are in."""
        return self._branch

    def _read(self) -> Token:
        while True:
            token = self.tokens.read()
            if token.kind != "directive":
                return token
            self._obey(token)

    def _obey(self, token: Token) -> None:
        word, _, rest = token.text.partition(" ")
        word = word.partition("(")[0].strip()
        if word == "@load":
            self._on_load(rest.split("#")[0].strip(), token.at)
        elif word in ("@if", "@ifdef", "@ifndef"):
            if len(self._branch) >= MAX_DEPTH:
                raise self.error("conditions nested too deep", token.at)
            self._branches += 1
            self._branch = (*self._branch, self._branches)
            self._finish_condition(token)
        elif word in ("@else", "@endif"):
            if not self._branch:
                raise self.error(f"{word} without @if", token.at)
            self._branches += 1
            self._branch = (*self._branch[:-1], self._branches) if word == "@else" else self._branch[:-1]

    def _finish_condition(self, token: Token) -> None:
        """A condition goes on in the next lines until its brackets are closed."""
        plain = _STRING_OR_COMMENT.sub("", token.text)
        opened = plain.count("(") - plain.count(")")
        while opened > 0:
            found = self.tokens.read()
            if found.kind == "end":
                raise self.error("a condition without its end", token.at)
            opened += (found.text == "(") - (found.text == ")")

    def advance(self) -> Token:
        """Take the word that is next."""
        token = self.token
        self._previous_end = token.end
        self.token = self._read()
        return token

    def accept(self, *texts: str) -> bool:
        """Take the next word if it is one of these marks or names."""
        if self.token.kind in ("mark", "name") and self.token.text in texts:
            self.advance()
            return True
        return False

    def expect(self, text: str, opened: Token | None = None) -> None:
        """Take a mark that must come now."""
        if not self.accept(text):
            hint = "" if opened is None else "it closes line {}, column {}".format(*self.tokens.place(opened.at))
            raise self.error(f"expected {text!r}, found {self._found()}", self.token.at, hint=hint)

    def _found(self) -> str:
        return repr(self.token.text[:40]) if self.token.text else "the end of the file"

    def error(self, message: str, at: int, *, hint: str = "") -> LayoutError:
        """A mistake, to be raised."""
        return self.tokens.error(message, at, hint=hint)

    def text_of(self, span: tuple[int, int]) -> str:
        """A part of the file, as it is written but on one line and without comments.

        Raises:
            LayoutError: it has a condition or another directive in it.
        """
        text = self.tokens.text[slice(*span)]
        if not any(mark in text for mark in "\n#@"):
            return text
        words = list(iter(Tokens(text, self.tokens.file).read, Token("end", "", len(text))))
        for word in words:
            if word.kind == "directive":
                raise self.error(f"{word.text.split()[0]} within a value", span[0] + word.at)
        return " ".join(word.text for word in words)

    # ── what is not understood ──

    def skip(self, *ends: str) -> None:
        """Pass over words up to one of some marks outside all brackets, or a closing bracket, or the end."""
        opened: list[Token] = []
        while self.token.kind != "end":
            text = self.token.text if self.token.kind == "mark" else ""
            if not opened and (text in ends or text in _CLOSING):
                return
            if text in _PAIRS:
                if self._depth + len(opened) >= MAX_DEPTH:
                    raise self.error("brackets nested too deep", self.token.at)
                opened.append(self.token)
            elif text in _CLOSING:
                if _PAIRS[opened[-1].text] != text:
                    self.expect(_PAIRS[opened[-1].text], opened[-1])
                opened.pop()
            self.advance()
        if opened:
            self.expect(_PAIRS[opened[-1].text], opened[-1])

    def skip_body(self) -> None:
        """Pass over an event, a hook or a function, up to the end of its body or its semicolon."""
        self.skip("{", ";")
        if self.accept(";"):
            return
        opened = self.token
        self.expect("{")
        self._depth += 1
        self.skip()
        self._depth -= 1
        self.expect("}", opened)

    # ── expressions ──

    def read_expression(self, *ends: str) -> Expression:
        """An expression that ends before one of some marks, a closing bracket, or the end."""
        found = self._read_operand()
        if self.token.kind == "end" or (
            self.token.kind == "mark" and (self.token.text in ends or self.token.text in _CLOSING)
        ):
            return found
        self.skip(*ends)
        return Raw()

    def _read_operand(self) -> Expression:
        token = self.token
        found: Expression
        if token.kind == "mark" and token.text in _PAIRS:
            found = self._read_bracket()
        elif token.kind in ("mark", "end", "pattern"):
            self.skip(",", ";")
            if self.token.at == token.at:
                raise self.error(f"expected a value, found {self._found()}", token.at)
            return Raw()
        else:
            found = Word(self.advance())
        while True:
            if isinstance(found, Word) and found.token.kind == "name" and self._is("("):
                found = self._read_call(found.token.text)
            elif self.accept("$"):
                found = Member(found, self.advance().text)
            elif self._is("[") and not isinstance(found, Table):
                opened = self.advance()
                key = self._within(self.read_expression)
                self.expect("]", opened)
                found = Member(found, "", key)
            elif self.accept("as"):
                self._skip_type()
            else:
                return found

    def _is(self, text: str) -> bool:
        return self.token.kind == "mark" and self.token.text == text

    def _skip_type(self) -> None:
        self.advance()
        while self.accept("of"):
            self.advance()

    def _within(self, read: Callable[[], Expression]) -> Expression:
        if self._depth >= MAX_DEPTH:
            raise self.error("brackets nested too deep", self.token.at)
        self._depth += 1
        found = read()
        self._depth -= 1
        return found

    def _read_bracket(self) -> Expression:
        opened = self.advance()
        if opened.text == "(":
            found = self._within(self.read_expression)
        elif opened.text == "{":
            found = self._within(self._read_entries)
        else:
            found = self._within(self._read_fields)
        self.expect(_PAIRS[opened.text], opened)
        return found

    def _read_call(self, name: str) -> Expression:
        opened = self.advance()
        if name in ("table", "set"):
            found = self._within(self._read_entries)
        else:
            found = self._within(self._read_fields)
            if isinstance(found, Listing):
                found = Call(name, found.items)
        self.expect(")", opened)
        return found

    def _read_fields(self) -> Expression:
        """What is between brackets: fields of a record, or values."""
        if not self._is("$"):
            return Listing(tuple(self._read_items()))
        fields = []
        while self._is("$"):
            at = self.advance().at
            name = self.advance()
            if name.kind != "name" or not name.text.isidentifier():
                raise self.error("expected the name of a field", name.at)
            self.expect("=")
            start = self.token.at
            value = self.read_expression(",")
            fields.append(Field(name.text, value, at, (start, self._previous_end)))
            if not self.accept(","):
                break
        return Record(tuple(fields))

    def _read_items(self) -> list[Expression]:
        items = []
        while not (self.token.kind == "mark" and self.token.text in _CLOSING) and self.token.kind != "end":
            items.append(self.read_expression(","))
            if not self.accept(","):
                break
        return items

    def _read_entries(self) -> Expression:
        entries = []
        while not (self.token.kind == "mark" and self.token.text in _CLOSING) and self.token.kind != "end":
            at, branch = self.token.at, self._branch
            key = self.read_expression("=", ",")
            value = self.read_expression(",") if self.accept("=") else None
            entries.append(Entry(key, value, at, branch))
            if not self.accept(","):
                break
        return Table(tuple(entries))
