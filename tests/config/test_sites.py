"""Mistakes in hooks with ``sites``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.config import Loaded, render

Mistakes = Callable[[str], list[str]]
Reader = Callable[[str], Loaded]
HOOK = "[[hook]]\nname = 'h'\nsites = 'p'\non = ['folder:*']\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("concurrency = 2", 'site.toml:5: hook[0].concurrency: is for hooks with "run" or "command", leave it out'),
        ("exit_timeout = '0s'", "site.toml:5: hook[0].exit_timeout: must be more than 0"),
        ("run = 'a:b'", "site.toml:3: hook[0].sites: stands beside run, a hook has one of them"),
    ],
)
def test_keys_that_do_not_go_together(mistakes: Mistakes, text: str, told: str) -> None:
    """One line each."""
    assert mistakes(HOOK + text) == [told]


def test_sites_are_for_folders(mistakes: Mistakes) -> None:
    """And what is for sites is for nothing else."""
    assert mistakes(HOOK.replace("folder:*", "log:*")) == [
        'site.toml:4: hook[0].on[0]: sites take only "folder:", got "log:*"'
    ]
    assert mistakes("[[hook]]\nname = 'h'\nrun = 'a:b'\non = ['folder:*']\nlogs_path = '/x'\n") == [
        'site.toml:5: hook[0].logs_path: is for hooks with "sites", leave it out'
    ]


def test_paths_are_of_the_file_and_of_the_state(read: Reader, folder: Path) -> None:
    """The package is an input; what has no logs_path has none."""
    (hook,) = read("[appliance]\nstate_dir = '/state'\n" + HOOK + "logs_path = 'logs'\n").config.hook
    assert (hook.sites, hook.logs_path) == (f"{folder}/p", "/state/logs")
    loaded = read(HOOK)
    assert loaded.config.hook[0].logs_path == ""
    assert "concurrency" not in render(loaded.config)
