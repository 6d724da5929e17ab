"""The words of a command: literal text and ``{placeholders}`` for what an item is about. There is no shell, so a
value is a part of its word, whatever it contains.

``{{`` and ``}}`` stand for braces.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from appliance.config.report import nearest

__all__ = ["PLACEHOLDERS", "fill_words", "mistakes_in_word", "placeholders_of"]

PLACEHOLDERS: Mapping[str, frozenset[str]] = {
    "log": frozenset({"path", "name", "start", "end"}),
    "event": frozenset({"name", "start", "end"}),
    "print": frozenset({"name", "start", "end"}),
    "segment": frozenset({"path", "name", "dir", "start", "end"}),
    "file": frozenset({"path", "name", "dir"}),
    "folder": frozenset({"path", "name", "dir"}),
    "store": frozenset({"name", "start", "end"}),
    "node": frozenset({"name"}),
}
"""Kind of item → what can be put into a command for it."""

_NAMES = ("path", "name", "dir", "start", "end")
_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|([{}])", re.DOTALL)


def placeholders_of(words: Sequence[str]) -> set[str]:
    """The names that stand in braces."""
    return {found[1] for word in words for found in _PIECE.finditer(word) if found[1] is not None}


def mistakes_in_word(word: str) -> list[tuple[str, str]]:
    """A message and a hint (or an empty one) for each mistake in one word."""
    mistakes = [("contains a NUL character", "")] if "\0" in word else []
    for found in _PIECE.finditer(word):
        name, brace = found.groups()
        if name is not None and name not in _NAMES:
            meant = nearest(name, _NAMES)
            hint = f"did you mean {{{meant}}}?" if meant else f"write {{{{{name}}}}} for literal braces"
            mistakes.append((f"unknown placeholder {{{name}}}", hint))
        elif brace is not None:
            mistakes.append((f"a single {brace}", f"write {brace * 2} for a literal {brace}"))
    return mistakes


def fill_words(words: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """The words with values in place of their placeholders.

    Args:
        words: without mistakes.
        values: one for each of `placeholders_of`.

    Raises:
        ValueError: a value would not stay what it is: it holds a NUL character, or it is the begin of a word and begins
            with ``-``, so that the program would take it for an option.
    """
    return [_fill(word, values) for word in words]


def _fill(word: str, values: Mapping[str, str]) -> str:
    def replace(found: re.Match[str]) -> str:
        if found[1] is None:
            return found[0][0]
        value = values[found[1]]
        if "\0" in value:
            raise ValueError(f"{{{found[1]}}} contains a NUL character: {value!r}")
        if found.start() == 0 and value.startswith("-"):
            raise ValueError(f"{{{found[1]}}} would be taken for an option: {value!r}")
        return value

    return _PIECE.sub(replace, word)
