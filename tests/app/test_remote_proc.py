"""Hooks beside a program of one's own."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.hooks import HookWarning
from appliance.sites import remote_proc
from tests.hooks.sites.harness import HEAD, write_package

PACKAGE = HEAD + "seen = []\ndef hook(n):\n    seen.append(n); say(n)\nHOOK = [hook]\nEXIT = [lambda: say(seen)]\n"


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[Path]:
    """Its folder of logs; nothing of the hooks is left when a test is over."""
    folder = tmp_path / "logs"
    folder.mkdir()
    yield folder
    assert "remote_proc" not in {thread.name for thread in threading.enumerate()}


def told(logs: Path) -> list[str]:
    out = logs / "out"
    return out.read_text().splitlines() if out.exists() else []


def test_what_was_put_is_done_before_the_exit_hooks(tmp_path: Path, logs: Path) -> None:
    """And both before the body's end is the end."""
    with remote_proc(write_package(tmp_path, PACKAGE), logs_path=logs) as hooks:
        for name in ("a", "b"):
            hooks.put(name)
        hooks.put(logs / "c")
    assert told(logs) == ["a", "b", "c", "['a', 'b', 'c']"]


def test_what_the_body_raises_goes_on_its_way(tmp_path: Path, logs: Path) -> None:
    """After everything has ended in order; it is not swallowed."""
    with pytest.raises(KeyError, match="mine"):  # noqa: SIM117, PT012 - the inner one is what is tested
        with remote_proc(write_package(tmp_path, PACKAGE), logs_path=logs) as hooks:
            hooks.put("a")
            raise KeyError("mine")
    assert told(logs) == ["a", "['a']"]


def test_exit_hooks_run_without_hooks(tmp_path: Path, logs: Path) -> None:
    """An empty list is no reason to leave them out."""
    with remote_proc(
        write_package(tmp_path, HEAD + "HOOK = []\nEXIT = [lambda: say('end')]\n"), logs_path=logs
    ) as hooks:
        hooks.put("a")
    assert told(logs) == ["end"]


def test_hook_that_fails_is_a_warning(tmp_path: Path, logs: Path) -> None:
    """For each attempt; the other hooks go on, and so does the body."""
    text = HEAD + "def bad(n): raise ValueError(n)\nHOOK = [bad, lambda n: say(n)]\nEXIT = [lambda: 1 / 0]\n"
    with (
        pytest.warns(HookWarning) as caught,
        remote_proc(write_package(tmp_path, text), logs_path=logs, attempts=2, backoff=0.01) as hooks,
    ):
        hooks.put("a")
    assert [str(each.message) for each in caught] == [
        "hook bad failed on 'a': ValueError: a",
        "hook bad failed on 'a': ValueError: a",
        "exit hook lambda: ZeroDivisionError: division by zero",
    ]
    assert told(logs) == ["a"]


def test_warning_that_is_an_error_does_not_end_the_hooks(tmp_path: Path, logs: Path) -> None:
    """Whatever the program's own filter says."""
    text = (
        HEAD
        + "def hook(n):\n    say(n)\n    if n == 'a': raise ValueError(n)\nHOOK = [hook]\nEXIT = [lambda: say('end')]\n"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with remote_proc(write_package(tmp_path, text), logs_path=logs, attempts=1) as hooks:
            hooks.put("a")
            hooks.put("b")
    assert told(logs) == ["a", "b", "end"]


@pytest.mark.usefixtures("logs")
def test_package_that_is_none_is_told_at_once(tmp_path: Path) -> None:
    """Before the body begins."""
    package = write_package(tmp_path, "import nonexistent_x\n")
    with pytest.raises(ValueError, match=r"nonexistent_x' \(.*__init__.py:1\)"), remote_proc(package):
        pytest.fail("it has begun")


def test_what_is_left_undone_is_done_the_next_time(tmp_path: Path, logs: Path) -> None:
    """With a state_dir, when there is no time left for it."""
    text = (
        HEAD
        + """
import os, time
def hook(n):
    while not os.path.exists(LOGS_PATH + "/go"): time.sleep(0.01)
    say(n)
HOOK = [hook]
"""
    )
    package, state = write_package(tmp_path, text), tmp_path / "state"
    began = time.monotonic()
    with remote_proc(package, logs_path=logs, state_dir=state, drain_timeout=0.1) as hooks:
        hooks.put("a")
    assert time.monotonic() - began < 30
    assert told(logs) == []
    (logs / "go").touch()
    with remote_proc(package, logs_path=logs, state_dir=state):
        pass
    assert told(logs) == ["a"]


def test_nothing_can_be_put_afterwards(tmp_path: Path, logs: Path) -> None:
    """It says so."""
    with remote_proc(write_package(tmp_path, PACKAGE), logs_path=logs) as hooks:
        pass
    with pytest.raises(RuntimeError, match="do not run any more"):
        hooks.put("a")
