"""What lost log folders, or hung, in the hook loop that this one replaces, and what comes of it here."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from .harness import BASE, DOOR, Program, hook, open_program, open_writer, wait_for

pytestmark = pytest.mark.slow

HOOKS = """\
import os, threading, time

def note(record):
    with open({noted!r}, "a") as file:
        file.write("%d %d\\n" % (record["_seq"], os.getpid()))

def slow(record):
    time.sleep(0.02)
    note(record)

def wait(record):
    note(record)
    while not os.path.exists({gate!r}):
        time.sleep(0.01)

def fail(record):
    raise RuntimeError("no")

def leave(record):
    os._exit(3)

def hang(record):
    threading.Event().wait()
"""


class Notes:
    """What the hooks wrote down."""

    def __init__(self, folder: Path) -> None:
        self.path, self.gate = folder / "noted", folder / "gate"
        text = HOOKS.format(noted=os.fspath(self.path), gate=os.fspath(self.gate))
        (folder / "hooks_under_test.py").write_text(text)

    def lines(self) -> list[tuple[int, int]]:
        """Number of the record and of the process, in order."""
        if not self.path.exists():
            return []
        return [(int(seq), int(pid)) for seq, pid in map(str.split, self.path.read_text().splitlines())]

    def numbers(self) -> list[int]:
        return [seq for seq, _ in self.lines()]


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    return Notes(tmp_path)


def queued(program: Program, count: int, name: str = "h") -> bool:
    return bool(program.account(f"hook.{name}")["queued"] == count)


def test_what_is_queued_when_the_process_is_killed_gets_its_hook(tmp_path: Path, notes: Notes) -> None:
    """There it was in memory only, and the capture was noted as done."""
    with open_program(tmp_path, BASE + DOOR + hook("wait")) as program:
        with open_writer(program, limit=100) as writer:
            writer.finish()
            wait_for(lambda: program.account("hook.h")["received"] == 100)
            wait_for(lambda: notes.numbers() == [1])
        time.sleep(0.5)  # what was taken in is written at once, but the door does not wait for it
        program.signal(signal.SIGKILL)
        assert program.wait_ended() == -signal.SIGKILL
    notes.gate.touch()
    with open_program(tmp_path, BASE + DOOR + hook("wait")) as program:
        wait_for(lambda: queued(program, 0))
        assert sorted(set(notes.numbers())) == list(range(1, 101))
        assert program.account("hook.h")["recovered"] == 100
        assert program.stop() == 0


def test_hook_that_fails_leaves_a_trace_and_another_try(tmp_path: Path, notes: Notes) -> None:
    """There the folder was dropped, and nobody could say which ones had been."""
    with open_program(tmp_path, BASE + DOOR + hook("fail", "attempts = 2", 'backoff = "10ms"')) as program:
        with open_writer(program, limit=3) as writer:
            writer.finish()
            wait_for(lambda: program.account("hook.h")["dropped"] == {"hook_error": 3})
        assert program.stop() == 0
    notes.path.unlink(missing_ok=True)
    conf = BASE + DOOR + hook("note")
    with open_program(tmp_path, conf) as program:
        from appliance.cli.client import ask

        status, answer = ask(program.state / "api.sock", "POST", "/v1/hooks/retry", {"all": True})
        assert (status, answer) == (200, {"count": 3})
        wait_for(lambda: sorted(notes.numbers()) == [1, 2, 3])
        assert program.stop() == 0


def test_one_hook_that_fails_does_not_keep_the_others_from_their_records(tmp_path: Path, notes: Notes) -> None:
    """There the hooks behind it were skipped; and a hook that ended its process ended the loop for good."""
    bad = hook("leave", "attempts = 1") + hook("fail", "attempts = 1").replace('"h"', '"bad"')
    good = hook("note").replace('"h"', '"good"')
    with open_program(tmp_path, BASE + DOOR + bad + good) as program:
        with open_writer(program, limit=4) as writer:
            writer.finish()
            wait_for(lambda: notes.numbers() == list(range(1, 5)))
            wait_for(lambda: program.account("hook.h")["dropped"] == {"crash": 4})
            wait_for(lambda: program.account("hook.bad")["dropped"] == {"hook_error": 4})
        assert program.stop() == 0


def test_a_backlog_is_worked_off_without_pauses(tmp_path: Path, notes: Notes) -> None:
    """There ten seconds passed after each folder of a backlog, even at the end."""
    with open_program(tmp_path, BASE + DOOR + hook("slow")) as program:
        with open_writer(program, limit=50) as writer:
            writer.finish()
            wait_for(lambda: program.account("hook.h")["received"] == 50)
        assert program.stop() == 0
        assert program.final("hook.h")["delivered"] == 50
    assert notes.numbers() == list(range(1, 51))


def test_state_of_a_module_lasts(tmp_path: Path, notes: Notes) -> None:
    """There each folder had a new process, and what a hook had remembered was gone."""
    with open_program(tmp_path, BASE + DOOR + hook("note")) as program:
        for number in (1, 2):
            with open_writer(program, limit=5) as writer:
                writer.finish()
                wait_for(lambda number=number: len(notes.lines()) == 5 * number)  # type: ignore[misc]
        assert program.stop() == 0
    assert len({pid for _, pid in notes.lines()}) == 1


@pytest.mark.parametrize("what", ["hang", "leave"])
def test_the_end_does_not_wait_for_a_hook_that_is_gone(tmp_path: Path, notes: Notes, what: str) -> None:
    """There a stop flag was never set when a process had died before, and the end hung."""
    conf = BASE.replace('"5s"', '"1s"') + DOOR + hook(what, "attempts = 1000", 'timeout = "1h"', 'backoff = "10ms"')
    with open_program(tmp_path, conf) as program:
        with open_writer(program, limit=10) as writer:
            writer.finish()
            wait_for(lambda: program.account("hook.h")["received"] == 10)
            wait_for(lambda: program.figures("hook.h")["workers_started"] > 0)
        assert program.stop() == 0
        assert program.final("hook.h")["queued"] == 10  # on disk, for the next run


def test_an_interrupt_for_everybody_ends_no_call(tmp_path: Path, notes: Notes) -> None:
    """There Ctrl-C reached the hook's process as well, which died in the middle."""
    with open_program(tmp_path, BASE + DOOR + hook("wait")) as program:
        with open_writer(program, limit=3) as writer:
            writer.finish()
            wait_for(lambda: program.account("hook.h")["received"] == 3)
            wait_for(lambda: notes.numbers() == [1])
        (_, pid), *_ = notes.lines()
        os.kill(pid, signal.SIGINT)
        program.signal(signal.SIGINT)
        wait_for(lambda: program.events("stopping"))
        notes.gate.touch()
        assert program.wait_ended() == 0
        assert program.final("hook.h")["delivered"] == 3
    assert notes.numbers() == [1, 2, 3]
    assert len(set(notes.lines())) == 3


def test_records_that_nobody_takes_stop_nobody(tmp_path: Path, notes: Notes) -> None:
    """There a full pipe that nobody read held the producers up, and the end too."""
    full = hook("hang", 'timeout = "1h"', "queue_size = 100").replace('"h"', '"full"')
    with open_program(tmp_path, BASE.replace('"5s"', '"1s"') + DOOR + full + hook("note")) as program:
        with open_writer(program, limit=3000) as writer:
            writer.finish()
            wait_for(lambda: program.account("hook.h")["delivered"] == 3000)
            wait_for(lambda: program.account("hook.full")["dropped"].get("queue_full") == 2900)
        assert program.stop() == 0
        assert program.final("hook.full")["queued"] == 100
