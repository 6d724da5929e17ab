"""Mistakes in the tables of hooks that types cannot tell."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from appliance.config import Config, Hook, render

Mistakes = Callable[[str], list[str]]
HOOK = "[[hook]]\nname = 'h'\non = ['log:*']\nrun = 'a:b'\n"


@pytest.mark.parametrize("key", ["attempts = 3", "backoff = '2s'", "backoff_max = '9s'", "queue_full = 'block'"])
def test_keys_of_durable_queues_are_refused_for_others(mistakes: Mistakes, key: str) -> None:
    """They would have no effect there."""
    assert mistakes(HOOK + key) == []
    assert mistakes(f"{HOOK}queue = 'durable'\n{key}") == []
    told = (
        f'site.toml:6: hook[0].{key.partition(" ")[0]}: is for durable queues, leave it out, or write queue = "durable"'
    )
    assert mistakes(f"{HOOK}queue = 'block'\n{key}") == [told]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("backoff = '10m'", "site.toml:5: hook[0].backoff: backoff is longer than backoff_max: 10m and 5m"),
        ("backoff_max = '500ms'", "site.toml:5: hook[0].backoff_max: backoff is longer than backoff_max: 1s and 500ms"),
        ("backoff = '0s'", "site.toml:5: hook[0].backoff: must be more than 0"),
        ("attempts = 0", "site.toml:5: hook[0].attempts: expected 1 to 1000, got 0"),
    ],
)
def test_delays_and_attempts_make_sense(mistakes: Mistakes, text: str, told: str) -> None:
    """A hook is called at least once, and delays grow."""
    assert mistakes(HOOK + text) == [told]


def test_the_journal_keeps_some_letters(mistakes: Mistakes) -> None:
    """At least one, of any size."""
    assert mistakes("[journal]\ndead_letters_size = 0\n") == [
        "site.toml:2: journal.dead_letters_size: must be more than 0"
    ]


def test_keys_without_effect_are_not_printed() -> None:
    """So that what is printed can be read again."""
    hook = Hook(name="h", on=("log:*",), run="a:b")
    assert 'backoff = "1s"' in render(Config(hook=(hook,)))
    memory = Hook(name="h", on=("log:*",), run="a:b", queue="block")
    assert "backoff" not in render(Config(hook=(memory,)))
