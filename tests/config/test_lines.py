"""Every key of a TOML text is found on its line."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from appliance.config.lines import Key, index_lines

_BARE = st.text("abcXYZ019_-", min_size=1, max_size=4)
_ODD = st.text("ab .#=[]{}'\"\\é\t", max_size=4)
_WORDS = st.text(st.sampled_from("ab #=[]{},.\"'\\\n"), max_size=8)


class _Writer:
    """Writes TOML in many styles and notes on which line it put each key."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.text = ""
        self.lines: dict[Key, int] = {}

    def put(self, text: str) -> None:
        self.text += text

    def note(self, key: Key) -> None:
        for length in range(1, len(key) + 1):
            self.lines.setdefault(key[:length], self.text.count("\n") + 1)

    def name(self, name: str) -> str:
        if name and set(name) <= set("abcXYZ019_-") and self.draw(st.booleans()):
            return name
        if "'" not in name and self.draw(st.booleans()):
            return f"'{name}'"
        return json.dumps(name)

    def gap(self) -> None:
        self.put(self.draw(st.sampled_from(["", " ", "\n", "\n\n  ", "# ] } \" '''\n", " #\n"])))

    def pairs(self, table: Key, depth: int) -> None:
        for name in self.draw(st.lists(_BARE | _ODD, max_size=4, unique=True)):
            key = (*table, name)
            self.put(self.draw(st.sampled_from(["", "  ", "\n", "# k = 1\n"])))
            self.note(key)
            dotted = self.name(name)
            if self.draw(st.booleans()):
                inner = self.draw(_BARE)
                key = (*key, inner)
                dotted += self.draw(st.sampled_from([".", " . "])) + self.name(inner)
                self.note(key)
            self.put(f"{dotted} = ")
            self.value(key, depth)
            self.put(self.draw(st.sampled_from(["\n", "  # a.b = '''\n"])))

    def value(self, key: Key, depth: int) -> None:
        kinds = ["plain", "basic", "literal", "long", "long_literal"] + (["array", "table"] if depth else [])
        kind = self.draw(st.sampled_from(kinds))
        if kind == "plain":
            self.put(self.draw(st.sampled_from(["1", "-0.5", "true", "1979-05-27 07:32:00", "0x1F", "inf"])))
        elif kind == "basic":
            self.put(json.dumps(self.draw(_WORDS)))
        elif kind == "literal":
            self.put(f"'{self.draw(_WORDS).translate({10: None, 39: None})}'")
        elif kind == "long":
            content = self.draw(_WORDS).replace("\\", "\\\\").replace('"""', "")
            self.put(f'"""\n{content}\\\n  """' if content.endswith('"') else f'"""{content}"""')
        elif kind == "long_literal":
            quotes = self.draw(st.sampled_from(["", "'", "''"]))
            self.put(f"'''{self.draw(_WORDS).replace(chr(39), '')}{quotes}'''")
        elif kind == "array":
            self.array(key, depth - 1)
        else:
            self.inline_table(key, depth - 1)

    def array(self, key: Key, depth: int) -> None:
        self.put("[")
        for number in range(self.draw(st.integers(0, 3))):
            self.gap()
            self.note((*key, number))
            self.value((*key, number), depth)
            self.gap()
            self.put(",")
        self.gap()
        self.put("]")

    def inline_table(self, key: Key, depth: int) -> None:
        self.put("{ ")
        for number, name in enumerate(self.draw(st.lists(_BARE, max_size=2, unique=True))):
            self.put(", " if number else "")
            self.note((*key, name))
            self.put(f"{self.name(name)} = ")
            self.value((*key, name), depth)
        self.put(" }")

    def header(self, names: list[str], table: Key, brackets: int) -> None:
        self.put(self.draw(st.sampled_from(["", "\n", "# [x]\n", "  "])))
        self.note(table)
        dotted = ".".join(self.name(name) for name in names)
        self.put("[" * brackets + dotted + "]" * brackets + self.draw(st.sampled_from(["\n", " # c\n"])))
        self.pairs(table, 2)


@st.composite
def _documents(draw: st.DrawFn) -> tuple[str, dict[Key, int]]:
    writer = _Writer(draw)
    writer.pairs((), 2)
    names = st.text("UV.", max_size=3).map(lambda text: f"T{text}")  # no other name has a T
    for name in draw(st.lists(names, max_size=3, unique=True)):
        if draw(st.booleans()):
            writer.header([name], (name,), 1)
            writer.header([name, "TABLE"], (name, "TABLE"), 1)
            continue
        for number in range(draw(st.integers(1, 3))):
            writer.header([name], (name, number), 2)
            for inner in range(draw(st.integers(0, 2))):
                writer.header([name, "INNER"], (name, number, "INNER", inner), 2)
                writer.header([name, "INNER", "DEEP"], (name, number, "INNER", inner, "DEEP"), 1)
    return writer.text, writer.lines


def _keys(value: Any, key: Key = ()) -> set[Key]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {key} - {()} | {each for name, child in children for each in _keys(child, (*key, name))}


@given(_documents())
def test_every_key_is_found_on_its_line(document: tuple[str, dict[Key, int]]) -> None:
    """Whatever the style, the index has the keys that tomllib finds, on the lines where they were put."""
    text, lines = document
    assert set(lines) == _keys(tomllib.loads(text))
    assert index_lines(text) == lines


@given(st.text(st.sampled_from("ab.=[]{}\"'\\\n# ,1")))
@example("[[a]\n")
@example("a = [1 2]")
@example("a = {b = 1")
@example('a = "')
@example("a = ")
@example("= 1")
@example('"\\1" = 1')
def test_no_text_makes_it_stumble(text: str) -> None:
    """What is not TOML gives the keys up to where it stops making sense."""
    index_lines(text)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a = 1\n= 2\nb = 3", {("a",): 1}),
        ("a = [1, 2 3]", {("a",): 1, ("a", 0): 1, ("a", 1): 1}),
        ("a = {b = 1 c = 2}\n", {("a",): 1, ("a", "b"): 1}),
        ("a = 1\r\nb = 2\r\n", {("a",): 1, ("b",): 2}),
        ("[a.b]\nc = 1\n[a]\n", {("a",): 3, ("a", "b"): 1, ("a", "b", "c"): 2}),
        ('a = """x""""" # y\nb = 1', {("a",): 1, ("b",): 2}),
        ('"\\u0061 b" = 1', {("a b",): 1}),
    ],
)
def test_single_cases(text: str, lines: dict[Key, int]) -> None:
    """Broken texts, Windows line ends, a table after its sub-table, quotes that end a string, escapes in names."""
    assert index_lines(text) == lines
