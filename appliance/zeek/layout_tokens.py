"""The words of a Zeek script, as far as a layout needs them.

Source: Zeek, ``src/scan.l``.
"""

from __future__ import annotations

import re
from bisect import bisect_right

import msgspec

from .layout import LayoutError

__all__ = ["Token", "Tokens"]

# No run is looked at again from each of its characters: runs are possessive, labels of a host have bounds.
_PATTERN = re.compile(
    r"""
      (?P<space>   (?: \s++ | \#[^\n]*+ )++ )
    | (?P<directive> @(?!DIR\b|FILENAME\b) [^\n]*+ )
    | (?P<string>  "(?: [^"\\\n]++ | \\[^\n] )*+ " )
    | (?P<torn>    " )
    | (?P<addr>    (?: \[ (?=[0-9A-Fa-f.]*+:) [0-9A-Fa-f:.]++ \] | [0-9]++(?:\.[0-9]++){3} (?![.\w]) ) (?:/[0-9]++)? )
    | (?P<port>    [0-9]++/(?:tcp|udp|icmp|unknown)\b )
    | (?P<host>    (?=[0-9]{0,62}+[A-Za-z]) [A-Za-z0-9][-A-Za-z0-9_]{0,62}+
                   (?: \.[A-Za-z0-9][-A-Za-z0-9_]{0,62}+ ){1,12}+ (?<=[A-Za-z]) (?![\w.]) )
    | (?P<number>  0x[0-9A-Fa-f]++ | [0-9]++(?:\.[0-9]++)?+(?:[eE][-+]?[0-9]++)?+
                   (?: [ \t]*+(?:day|hr|min|sec|msec|usec)s?\b )? )
    | (?P<name>    @?[A-Za-z_]\w*+ (?: ::[A-Za-z_]\w*+ )*+ )
    | (?P<mark>    \+= | -= | == | != | <= | >= | && | \|\| | \?\$ | [-+*/%!<>=&|^~?:;,.$(){}\[\]] )
    """,
    re.VERBOSE | re.ASCII | re.DOTALL,
)
_PATTERN_LITERAL = re.compile(r"/(?:[^/\\\n]|\\.)++/i?")
_ENDS_VALUE = frozenset({"string", "addr", "port", "host", "number", "name", "pattern"})


class Token(msgspec.Struct, frozen=True, gc=False):
    """One word."""

    kind: str
    """``directive``, ``string``, ``addr``, ``port``, ``host``, ``number``, ``name``, ``mark``, ``pattern``, ``end``."""
    text: str
    at: int
    """Where it begins in the text."""

    @property
    def end(self) -> int:
        """Where it ends."""
        return self.at + len(self.text)


class Tokens:
    """Reads one word after the other, so that a file that is refused early costs no more than its begin.

    Args:
        text: of the file.
        file: its name.
    """

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.file = file
        self._at = 0
        self._last = ""
        self._lines: list[int] = []

    def place(self, at: int) -> tuple[int, int]:
        """Line and column of a position, both from 1."""
        if not self._lines:
            self._lines = [0, *(found.end() for found in re.finditer("\n", self.text))]
        line = bisect_right(self._lines, at)
        return line, at - self._lines[line - 1] + 1

    def error(self, message: str, at: int, *, hint: str = "") -> LayoutError:
        """A mistake at a position, to be raised."""
        line, column = self.place(at)
        return LayoutError(message, file=self.file, line=line, column=column, hint=hint)

    def read(self) -> Token:
        """The next word; one of kind ``end`` at the end, again and again.

        Raises:
            LayoutError: what is there is no word.
        """
        found = _PATTERN.match(self.text, self._at)
        if found is not None and found.lastgroup == "space":
            self._at = found.end()
            found = _PATTERN.match(self.text, self._at)
        at = self._at
        if at == len(self.text):
            return Token("end", "", at)
        if self.text[at] == "/" and self._last not in _ENDS_VALUE:
            literal = _PATTERN_LITERAL.match(self.text, at)
            if literal is not None:
                return self._take("pattern", literal)
        if found is None:
            raise self.error(f"unexpected {_show(self.text[at])}", at)
        kind = found.lastgroup or ""
        if kind == "torn":
            raise self.error("a string without its end", at, hint='write a " at its end, in the same line')
        return self._take(kind, found)

    def _take(self, kind: str, found: re.Match[str]) -> Token:
        token = Token(kind, found[0], self._at)
        self._at = found.end()
        self._last = "name" if token.text in (")", "]") else kind
        return token


def _show(character: str) -> str:
    return repr(character) if character.isprintable() else f"character {ord(character):#04x}"
