"""Names of the environment in strings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config.environment import escape, expand
from appliance.config.report import Report


@pytest.mark.parametrize(
    ("value", "made"),
    [
        ("${A}", "1"),
        ("x${A}y${B}z", "x1y${A}z"),
        ("$${A}", "${A}"),
        ("$$${A}", "$${A}"),
        ("$A $ {", "$A $ {"),
        (["${A}", 5], ["1", 5]),
        ({"${A}": {"k": "${A}"}}, {"${A}": {"k": "1"}}),
    ],
)
def test_names_are_replaced_once_and_only_in_values(value: Any, made: Any) -> None:
    """What a variable contains is not looked at again; names of keys stay."""
    report = Report("site.toml")
    assert expand(value, (), {"A": "1", "B": "${A}"}, report) == made
    assert report.errors() == []


@given(st.text(st.sampled_from("${}A")))
def test_an_escaped_text_expands_to_itself(text: str) -> None:
    """Printing a configuration loses no dollar sign."""
    report = Report("site.toml")
    assert expand(escape(text), (), {"A": "1"}, report) == text
    assert report.errors() == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x ${HOME_}", "the environment variable HOME_ is not set"),
        ("${1}", "${1} does not name an environment variable, write $${ for a literal ${"),
        ("${}", "${} does not name an environment variable, write $${ for a literal ${"),
        ("${A", "${ is not closed, write $${ for a literal ${"),
    ],
)
def test_what_cannot_be_replaced_is_told_with_its_place(
    mistakes: Callable[..., list[str]], text: str, told: str
) -> None:
    """The key is named, and the broken value causes no second mistake."""
    assert mistakes(f"[appliance]\n\nname = '{text}'") == [f"site.toml:3: appliance.name: {told}"]


def test_every_mistake_in_a_text_is_told(mistakes: Callable[..., list[str]]) -> None:
    """Two unset names in one string are two mistakes."""
    assert mistakes("[appliance]\nstate_dir = '/${X}/${Y}'") == [
        "site.toml:2: appliance.state_dir: the environment variable X is not set",
        "site.toml:2: appliance.state_dir: the environment variable Y is not set",
    ]
