"""Where each key of a TOML text stands. tomllib tells what a file says, but not on which line.

The scanner may trust its input to be valid TOML; for a text that is not, it returns what it found before it got lost.
"""

from __future__ import annotations

import contextlib
import re
import tomllib
from bisect import bisect_right

__all__ = ["Key", "index_lines"]

Key = tuple[str | int, ...]
"""The way to a value: names of tables and keys, numbers for the elements of arrays."""

_BLANK = re.compile(r"[ \t]*")
_GAP = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_BASIC = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_LITERAL = re.compile(r"'[^'\n]*'")
# A multi-line string may end in up to five quotes: two of its own and the three that close it.
_LONG_BASIC = re.compile(r'"""(?:[^"\\]|\\.|"(?!""))*"""(?:"{0,2})', re.DOTALL)
_LONG_LITERAL = re.compile(r"'''(?:[^']|'(?!''))*'''(?:'{0,2})")
# Everything else ends where a delimiter stands; a date may contain a space.
_PLAIN = re.compile(r"[^\n,\]}#]+")


class _LostError(Exception):
    """The text is not TOML."""


class _Scanner:
    """A cursor over one text; every method leaves it behind what it read."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.starts = [0, *(m.end() for m in re.finditer("\n", text))]
        self.lines: dict[Key, int] = {}
        self.last: dict[Key, int] = {}  # array of tables → index of its newest element

    def scan(self) -> None:
        table: Key = ()
        while self.skip(_GAP) < len(self.text):
            if self.text.startswith("[[", self.at):
                table = self.header(2)
            elif self.text.startswith("[", self.at):
                table = self.header(1)
            else:
                self.pair(table)

    def skip(self, pattern: re.Pattern[str]) -> int:
        found = pattern.match(self.text, self.at)
        assert found is not None, "blanks may be empty"
        self.at = found.end()
        return self.at

    def take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        if found is None:
            raise _LostError
        self.at = found.end()
        return found[0]

    def expect(self, mark: str) -> None:
        if not self.text.startswith(mark, self.at):
            raise _LostError
        self.at += len(mark)

    def note(self, key: Key, line: int) -> None:
        for length in range(1, len(key) + 1):
            self.lines.setdefault(key[:length], line)

    def header(self, brackets: int) -> Key:
        line = bisect_right(self.starts, self.at)
        self.at += brackets
        *parents, name = self.key()
        self.expect("]" * brackets)
        table: Key = ()
        for part in parents:
            table = self.enter((*table, part))
        table = (*table, name)
        if brackets == 2:
            self.last[table] = self.last.get(table, -1) + 1
            table = self.enter(table)
        self.note(table, line)
        self.lines[table] = line  # `[a]` may follow `[a.b]`, which had to stand in for it
        return table

    def enter(self, table: Key) -> Key:
        return (*table, self.last[table]) if table in self.last else table

    def key(self) -> list[str]:
        parts = []
        while True:
            self.skip(_BLANK)
            mark = self.text[self.at : self.at + 1]
            if mark == '"':
                quoted = self.take(_BASIC)
                parts.append(tomllib.loads(f"k={quoted}")["k"] if "\\" in quoted else quoted[1:-1])
            elif mark == "'":
                parts.append(self.take(_LITERAL)[1:-1])
            else:
                parts.append(self.take(_BARE))
            self.skip(_BLANK)
            if not self.text.startswith(".", self.at):
                return parts
            self.at += 1

    def pair(self, table: Key) -> None:
        line = bisect_right(self.starts, self.at)
        key = (*table, *self.key())
        self.note(key, line)
        self.expect("=")
        self.skip(_BLANK)
        self.value(key)

    def value(self, key: Key) -> None:
        for mark, pattern in (('"""', _LONG_BASIC), ("'''", _LONG_LITERAL), ('"', _BASIC), ("'", _LITERAL)):
            if self.text.startswith(mark, self.at):
                self.take(pattern)
                return
        if self.text.startswith("[", self.at):
            self.array(key)
        elif self.text.startswith("{", self.at):
            self.inline_table(key)
        else:
            self.take(_PLAIN)

    def array(self, key: Key) -> None:
        self.at += 1
        number = 0
        while self.skip(_GAP) < len(self.text) and self.text[self.at] != "]":
            self.note((*key, number), bisect_right(self.starts, self.at))
            self.value((*key, number))
            number += 1
            self.skip(_GAP)
            if not self.text.startswith(",", self.at):
                break
            self.at += 1
        self.expect("]")

    def inline_table(self, key: Key) -> None:
        self.at += 1
        while self.skip(_GAP) < len(self.text) and self.text[self.at] != "}":
            self.pair(key)
            self.skip(_GAP)
            if not self.text.startswith(",", self.at):
                break
            self.at += 1
        self.expect("}")


def index_lines(text: str) -> dict[Key, int]:
    """Map every key path of a TOML text to its 1-based line.

    Returns:
        ``{("capture", 0, "handler", 0, "name"): 14, …}``: tables stand at their header (or at the first key that
        mentions them), keys at their name, elements of arrays at their first character.
    """
    scanner = _Scanner(text.replace("\r\n", "\n"))
    with contextlib.suppress(_LostError, tomllib.TOMLDecodeError):
        scanner.scan()
    return scanner.lines
