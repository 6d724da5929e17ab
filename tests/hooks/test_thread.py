"""Calls in worker threads: outcomes, deadlines, threads that are left behind and come back. Real threads."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest
import trio
import trio.testing

from appliance.hooks import thread
from appliance.hooks.failure import Outcome, OverdueError
from appliance.hooks.thread import MAX_HUNG, ThreadCaller

NEVER_S = 60.0
SOON_S = 0.02


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What hanging calls wait for; opened at the latest when the test ends."""
    event = threading.Event()
    yield event
    event.set()


async def calls_of(caller: ThreadCaller, *calls: Callable[[], object]) -> list[Outcome]:
    outcomes: list[Outcome] = []
    await caller.run(calls, outcomes)
    return outcomes


def boom() -> None:
    raise ValueError("boom")


class Unusual(BaseException):
    """Such as asyncio's CancelledError."""


def unusual() -> None:
    raise Unusual


async def wait_until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(10):
        while not condition():
            await trio.lowlevel.checkpoint()


async def test_every_call_has_its_outcome_in_order() -> None:
    """Calls go on after one that raises, whatever it raises."""
    caller = ThreadCaller(concurrency=1, timeout_s=NEVER_S)
    outcomes = await calls_of(caller, int, boom, sys.exit, unusual, int)
    assert [type(outcome) for outcome in outcomes] == [type(None), ValueError, SystemExit, Unusual, type(None)]
    assert caller.hung == 0


async def test_hop_ends_when_its_turn_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """At least one call is made; the others have no outcome."""
    monkeypatch.setattr(thread, "TURN_S", 0.0)
    assert await calls_of(ThreadCaller(concurrency=1, timeout_s=NEVER_S), int, boom) == [None]


async def test_overdue_call_is_left_behind_and_the_others_are_not_made(gate: threading.Event) -> None:
    """The last outcome is an OverdueError; the thread counts as hung until it comes back."""
    caller = ThreadCaller(concurrency=1, timeout_s=SOON_S)
    made: list[int] = []
    outcomes = await calls_of(caller, int, gate.wait, lambda: made.append(1))
    assert [type(outcome) for outcome in outcomes] == [type(None), OverdueError]
    assert str(outcomes[-1]) == "not finished within 0.02 s"
    assert caller.hung == 1
    gate.set()
    await wait_until(lambda: caller.hung == 0)
    assert made == []
    assert outcomes[2:] == []


async def test_time_counts_for_each_call_and_not_for_the_hop() -> None:
    """Many calls in their time are not overdue together."""
    caller = ThreadCaller(concurrency=1, timeout_s=0.2)
    wait = threading.Event().wait
    outcomes: list[Outcome] = []
    calls = [lambda: wait(0.03)] * 10
    while len(outcomes) < len(calls):
        await caller.run(calls[len(outcomes) :], outcomes)
    assert outcomes == [None] * 10


async def test_no_calls_are_made_while_too_many_hang(gate: threading.Event) -> None:
    """The next round waits until a thread has come back, and then goes on."""
    caller = ThreadCaller(concurrency=1, timeout_s=SOON_S)
    for _ in range(MAX_HUNG):
        assert not caller.is_exhausted
        await calls_of(caller, gate.wait)
    assert caller.is_exhausted
    made: list[int] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(calls_of, caller, lambda: made.append(1))
        await trio.testing.wait_all_tasks_blocked()
        assert made == []
        gate.set()
    assert made == [1]
    await wait_until(lambda: caller.hung == 0)


async def test_concurrent_rounds_may_all_hang(gate: threading.Event) -> None:
    """As many hang as were running; every one of them comes back."""
    caller = ThreadCaller(concurrency=2 * MAX_HUNG, timeout_s=SOON_S)
    async with trio.open_nursery() as nursery:
        for _ in range(2 * MAX_HUNG):
            nursery.start_soon(calls_of, caller, gate.wait)
    assert caller.hung == 2 * MAX_HUNG
    gate.set()
    await wait_until(lambda: caller.hung == 0)
    assert await calls_of(caller, int) == [None]


async def test_cancellation_keeps_the_outcomes_of_finished_calls(gate: threading.Event) -> None:
    """The call that runs has none, and is left behind at once."""
    caller = ThreadCaller(concurrency=1, timeout_s=NEVER_S)
    reached = threading.Event()
    outcomes: list[Outcome] = []

    def hang() -> None:
        reached.set()
        gate.wait()

    async with trio.open_nursery() as nursery:
        calls: list[Callable[[], object]] = [int, boom, hang, int]
        nursery.start_soon(caller.run, calls, outcomes)
        await wait_until(reached.is_set)
        nursery.cancel_scope.cancel()
    assert [type(outcome) for outcome in outcomes] == [type(None), ValueError]
    assert caller.hung == 1
    gate.set()
    await wait_until(lambda: caller.hung == 0)


async def test_cancellation_before_the_thread_runs_leaves_nothing_behind() -> None:
    """A thread that never began a call does not count as hung for ever."""
    caller = ThreadCaller(concurrency=1, timeout_s=NEVER_S)
    with trio.CancelScope() as scope:
        scope.cancel()
        await calls_of(caller, int)
    await wait_until(lambda: caller.hung == 0)
    assert await calls_of(caller, int) == [None]


PROGRAM = """
import threading, trio
from appliance.hooks.thread import ThreadCaller

async def main():
    caller = ThreadCaller(concurrency=1, timeout_s=60.0)
    reached = trio.lowlevel.current_trio_token(), trio.Event()
    def hang():
        reached[0].run_sync_soon(reached[1].set)
        threading.Event().wait()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(caller.run, [hang], [])
        await reached[1].wait()
        nursery.cancel_scope.cancel()
    print("cancelled", caller.hung)

trio.run(main)
print("over")
"""


def test_process_ends_although_a_call_hangs_for_ever() -> None:
    """Neither the loop nor the interpreter waits for the thread."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=30, check=True)
    assert (done.stdout, done.stderr) == ("cancelled 1\nover\n", "")


def test_thread_that_comes_back_after_the_loop_has_ended_is_quiet(gate: threading.Event) -> None:
    """It has nobody to tell, and that is no error; pytest fails for an exception in a thread."""
    returned = threading.Event()

    def hang() -> None:
        gate.wait()
        returned.set()

    async def main() -> int:
        caller = ThreadCaller(concurrency=1, timeout_s=SOON_S)
        await calls_of(caller, hang)
        return caller.hung

    assert trio.run(main) == 1
    gate.set()
    assert returned.wait(10)
