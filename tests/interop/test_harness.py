"""The harness itself, with stand-ins for Zeek: what it does with commands, lines, deaths, and who will not end."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import trio.testing

from . import zeek_process
from .journal import Journal
from .zeek_process import find_zeek, open_zeek, require_zeek

STAND_IN = """\
#!{python}
import os, signal, sys, time

signal.signal(signal.SIGTERM, signal.SIG_IGN if {is_stubborn} else signal.SIG_DFL)
print("ready", os.path.basename(sys.argv[2]), open(sys.argv[3]).read().strip(), flush=True)
if {is_short_lived}:
    print("the end is near", file=sys.stderr)
    sys.exit(3)
with open("commands") as commands:
    while True:
        line = commands.readline().rstrip("\\n")
        if line:
            words = line.split("\\t")
            print("words", *words[1:])
            print("done", words[0], flush=True)
        time.sleep(0.01)
"""


def stand_in(folder: Path, patch: pytest.MonkeyPatch, **habits: bool) -> None:
    """Put a program into the place of Zeek."""
    habits = {"is_stubborn": False, "is_short_lived": False} | habits
    program = folder / "bin" / "zeek"
    program.parent.mkdir()
    program.write_text(STAND_IN.format(python=sys.executable, **habits))
    program.chmod(0o755)
    patch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")


def test_without_zeek_a_test_is_skipped_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not pass, and it does not fail."""
    monkeypatch.setenv("PATH", "")
    assert find_zeek() is None
    with pytest.raises(pytest.skip.Exception, match="no zeek on the PATH"):
        require_zeek()


async def test_commands_are_acknowledged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that it prints are in the journal, those that come before the answer to a command for sure."""
    stand_in(tmp_path, monkeypatch)
    async with open_zeek(tmp_path / "z", "node.zeek", redefs={"Broker::disable_ssl": "T"}) as zeek:
        assert zeek.texts("ready") == ["node.zeek redef Broker::disable_ssl = T;"]
        await zeek.command("publish", "a", "b c")
        assert zeek.texts("words") == ["a b c"]
        await zeek.command("publish", "", "d")
        assert zeek.texts("words") == ["a b c", " d"]
    assert zeek.process.returncode == -15


async def test_who_waits_for_a_dead_program_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, with its exit code and what it said last."""
    stand_in(tmp_path, monkeypatch, is_short_lived=True)
    async with open_zeek(tmp_path / "z", "node.zeek") as zeek:
        with pytest.raises(AssertionError, match=r"(?s)before its end: exit code 3; .*stderr the end is near"):
            await zeek.wait("peer_added")


async def test_who_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After some patience; by its own ID."""
    stand_in(tmp_path, monkeypatch, is_stubborn=True)
    monkeypatch.setattr(zeek_process, "_GRACE_S", 0.05)
    async with open_zeek(tmp_path / "z", "node.zeek") as zeek:
        pass
    assert zeek.process.returncode == -9


async def test_who_waits_wakes_up_when_it_is_told(autojump_clock: trio.testing.MockClock) -> None:
    """By as many entries as it waits for; else it fails after a while and shows what there is."""
    journal = Journal()
    found: list[str] = []

    async def wait() -> None:
        found.extend(await journal.wait("note|report", "x", count=2))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        for kind, text in (("note", "x1"), ("other", "x"), ("note", "y"), ("report", "x2")):
            await trio.testing.wait_all_tasks_blocked()
            assert not found
            journal.tell(kind, text)
    assert found == ["x1", "x2"]
    with pytest.raises(AssertionError, match=r"(?s)1 instead of 2 of note 'x'.*report x2"):
        await journal.wait("note", "x", count=2)
