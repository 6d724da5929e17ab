"""Path patterns: directives of strftime and plain fields, nothing else."""

from __future__ import annotations

import datetime as dt
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config.patterns import DIRECTIVES, escape, mistakes_in, substitute
from appliance.runtime.pattern import PathPattern

_FIELDS = ("name", "capture", "seq")


@pytest.mark.parametrize(
    "pattern",
    ["{name}", "a/%Y-%m-%d/{name}-{seq}.pcap", "100%%", "{{name}}", "/data/..{name}", "%Y{{%d}}", "{name}{capture}"],
)
def test_good_patterns_pass(pattern: str) -> None:
    """Doubled braces and per cent signs stand for themselves."""
    assert mistakes_in(pattern, _FIELDS) == []


@pytest.mark.parametrize(
    ("pattern", "message", "hint"),
    [
        ("", "must not be empty", ""),
        (" ", "must not be empty", ""),
        ("a\0b", "contains a control character", ""),
        ("a\nb", "contains a control character", ""),
        ("../x", '".." is not possible in a path pattern', ""),
        ("a/../x", '".." is not possible in a path pattern', ""),
        ("%Q", "unknown strftime directive %Q", "write %% for a literal %"),
        ("%-d", "unknown strftime directive %-", "write %% for a literal %"),
        ("%D", "unknown strftime directive %D", "write %% for a literal %"),
        ("50%", "a single %", "write %% for a literal %"),
        ("%{name}", "a single %", "write %% for a literal %"),
        ("{nmae}", "unknown field {nmae}", "did you mean {name}?"),
        ("{}", "unknown field {}", "possible are {name} {capture} {seq}"),
        ("{0}", "unknown field {0}", "possible are {name} {capture} {seq}"),
        ("{name.upper}", "{name.upper}: only the plain {name} is possible", ""),
        ("{name[0]}", "{name[0]}: only the plain {name} is possible", ""),
        ("{name!r}", "{name!r}: only the plain {name} is possible", ""),
        ("{seq:05}", "{seq:05}: only the plain {seq} is possible", ""),
        ("{name", "a single {", "write {{ for a literal {"),
        ("name}", "a single }", "write }} for a literal }"),
    ],
)
def test_each_mistake_is_explained(pattern: str, message: str, hint: str) -> None:
    """One mistake, one explanation."""
    assert mistakes_in(pattern, _FIELDS) == [(message, hint)]


def test_all_mistakes_of_a_pattern_are_told() -> None:
    """In the order of the text."""
    told = [message for message, _ in mistakes_in("../{nmae}%Q", _FIELDS)]
    assert told == ['".." is not possible in a path pattern', "unknown field {nmae}", "unknown strftime directive %Q"]


@pytest.mark.parametrize("directive", sorted(DIRECTIVES))
def test_every_directive_exists_and_stays_in_its_folder(directive: str) -> None:
    """strftime replaces it, by something without a slash."""
    text = dt.datetime(2024, 2, 29, tzinfo=dt.UTC).strftime(f"%{directive}")
    assert text != f"%{directive}"
    assert "/" not in text


@given(st.text(st.sampled_from("ab%{}name/")))
def test_an_escaped_text_is_a_literal_pattern(text: str) -> None:
    """It has no directives and no fields, whatever it contains."""
    pattern = f"x{escape(text)}"
    assert mistakes_in(pattern, ()) == []
    assert time.strftime(pattern.format()) == f"x{text}"


def test_fields_can_be_filled_in_one_by_one() -> None:
    """The result is a pattern: what was filled in is escaped, the rest stays."""
    assert substitute("{name}/{{name}}/%Y{seq}", {"name": "5%"}) == "5%%/{{name}}/%Y{seq}"


@given(
    st.lists(st.sampled_from(["a", "%Y", "%s", "%", "{name}", "{", "}", "{{", "/", ".", "..", "%Q", "é"])).map("".join)
)
def test_what_passes_can_be_rendered(text: str) -> None:
    """The checks and the renderer agree on what a pattern is; only the renderer knows how long a name may become."""
    try:
        PathPattern(f"/x{text}x", fields={"name"})
    except ValueError as exc:
        told = str(exc)
        assert mistakes_in(f"/x{text}x", ("name",)) or "may become longer than" in told
    else:
        assert mistakes_in(f"/x{text}x", ("name",)) == []


@pytest.mark.parametrize("directive", sorted(DIRECTIVES))
def test_every_directive_can_be_rendered(directive: str) -> None:
    """None is accepted here and refused there."""
    assert "/" not in PathPattern(f"/%{directive}", fields=set()).render(0, {})[1:]
