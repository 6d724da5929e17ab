"""Key paths, places and the order of mistakes."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config.lines import Key
from appliance.config.report import Place, Report, describe, nearest, one_of, parse_key, show_key


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (("capture", 0, "handler", 1, "name"), "capture[0].handler[1].name"),
        (("zmq", 2, "rename", "a.b"), 'zmq[2].rename."a.b"'),
        (("api",), "api"),
        ((), ""),
    ],
)
def test_key_paths_look_like_toml(key: Key, text: str) -> None:
    """Numbers in brackets; odd names in quotes."""
    assert show_key(key) == text
    assert parse_key(text) == key


@given(st.lists(st.text() | st.integers(0, 99)).map(tuple))
def test_key_paths_read_back(key: Key) -> None:
    """What is shown can be given back."""
    assert parse_key(show_key(key)) == key


@pytest.mark.parametrize("text", ["a..b", "a[x]", "[", "a b"])
def test_other_texts_are_not_key_paths(text: str) -> None:
    """A mistyped key path in the code is found at once."""
    with pytest.raises(ValueError, match="is not a key path"):
        parse_key(text)


def test_choices_are_listed_as_in_a_sentence() -> None:
    """One, two, or many."""
    assert one_of(["a"]) == '"a"'
    assert one_of(["a", "b", "c"]) == '"a", "b" or "c"'


def test_the_nearest_word_is_suggested() -> None:
    """Letter case does not matter; far words are not suggested."""
    assert nearest("Conn_Tipe", ["name", "conn_type"]) == "conn_type"
    assert nearest("zzz", ["name", "conn_type"]) is None


def test_toml_values_have_names() -> None:
    """Every type that tomllib makes is called something."""
    values = [True, 1, 1.5, "", [], {}, dt.date(2024, 1, 1)]
    words = ["a boolean", "an integer", "a float", "a string", "an array", "a table", "a date or time"]
    assert [describe(value) for value in values] == words


def test_mistakes_come_in_the_order_of_files_and_lines() -> None:
    """Not in the order in which the checks found them; a key that is not written stands at its table."""
    report = Report("site.toml")
    report.files.append("a.toml")
    report.places |= {("x",): Place("site.toml", 9), ("y",): Place("a.toml", 1), ("z",): Place("site.toml", 2)}
    for name in ("y", "x", "z", "w"):
        report.add((name, "key"), "wrong")
    assert [str(error) for error in report.errors()] == [
        "site.toml: w.key: wrong",
        "site.toml:2: z.key: wrong",
        "site.toml:9: x.key: wrong",
        "a.toml:1: y.key: wrong",
    ]
