"""What becomes of a record that a hook raised for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import trio

from appliance.config import Hook
from appliance.hooks import Reject, Retry
from appliance.hooks.callables import Context, HookCallable
from appliance.hooks.filter import Everything
from appliance.hooks.runner import HookRunner
from appliance.model import LogBatch
from appliance.runtime.intake import ConsumerQueue
from appliance.runtime.ledger import Account
from appliance.runtime.outlet import Outlet
from appliance.runtime.queue import ItemQueue
from tests.runtime.journal.harness import Bench, bench


def batch(count: int) -> LogBatch:
    data = b"".join(b'{"n":%d}\n' % n for n in range(count))
    return LogBatch(path="conn", source="zmq.a", data=data, count=count)


async def wait_until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - accounts and hooks tell nobody when they move
        await trio.sleep(0.005)


async def work_off(queue: ConsumerQueue, function: Callable[..., Any], *, is_async: bool = False) -> None:
    """Run the hook until nothing is queued."""
    target = HookCallable(function=function, is_async=is_async, takes_context=True)
    config = Hook(name="h", on=("log:*",), run="a:b", isolation="thread")
    runner = HookRunner(config, target=target, where=Everything(), queue=queue, outlet=Outlet())
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(runner.run)
            await wait_until(lambda: not queue.account.queued)
            nursery.cancel_scope.cancel()


async def test_a_hook_may_ask_for_another_attempt(tmp_path: Path) -> None:
    """The others go on meanwhile, and it is told which attempt it is."""
    seen: list[tuple[int, int]] = []

    def hook(record: dict[str, Any], context: Context) -> None:
        seen.append((record["n"], context.attempt))
        if record["n"] == 1 and context.attempt < 3:
            raise Retry("not there yet", after=timedelta(milliseconds=20))

    async with bench(tmp_path) as b:
        queue = await b.queue(backoff_s=3600)
        queue.put_nowait(batch(4))
        await work_off(queue, hook)
        assert seen == [(0, 1), (1, 1), (2, 1), (3, 1), (1, 2), (1, 3)]
        assert (b.figures().delivered, queue.statistics().retried) == (4, 2)


async def test_asking_for_attempts_ends_with_the_last_of_them(tmp_path: Path) -> None:
    """Nothing is tried for ever."""

    async def hook(record: dict[str, Any], context: Context) -> None:
        raise Retry(after=0)

    async with bench(tmp_path) as b:
        queue = await b.queue(attempts=3)
        queue.put_nowait(batch(2))
        await work_off(queue, hook, is_async=True)
        assert b.figures().dropped == {"retry": 2}
        assert {(x.attempts, x.error) for x in await b.desk.dead()} == {(3, "the hook asked for another attempt")}


async def test_a_rejected_record_is_a_dead_letter_with_the_reason(tmp_path: Path) -> None:
    """At its first attempt."""

    def hook(record: dict[str, Any], context: Context) -> None:
        raise Reject("no such host")

    async with bench(tmp_path) as b:
        queue = await b.queue()
        queue.put_nowait(batch(1))
        await work_off(queue, hook)
        (letter,) = await b.desk.dead()
        assert (letter.reason, letter.error, letter.attempts) == ("rejected", "no such host", 1)


async def test_a_dead_letter_tells_where_it_failed(tmp_path: Path) -> None:
    """With the end of the traceback, whatever text is in it."""

    def stumble(record: dict[str, Any], context: Context) -> None:
        raise ValueError(f"bad \udcff {'x' * 1000}")

    async with bench(tmp_path) as b:
        queue = await b.queue(attempts=1)
        queue.put_nowait(batch(1))
        await work_off(queue, stumble)
        (letter,) = await b.desk.dead()
        assert letter.error.startswith("ValueError: bad \\udcff")
        assert len(letter.error) < 600
        assert len(letter.trace) < 20_000
    b = Bench(tmp_path)
    queue = await b.queue(attempts=1)

    def trip(record: dict[str, Any], context: Context) -> None:
        raise ValueError("here")

    queue.put_nowait(batch(1))
    await work_off(queue, trip)
    assert "in trip" in (await b.desk.dead())[-1].trace
    await b.journal.aclose(5)


@pytest.mark.parametrize(("error", "reason"), [(Retry(), "retry"), (Reject(), "rejected"), (KeyError(), "hook_error")])
async def test_in_memory_there_is_one_attempt(error: Exception, reason: str) -> None:
    """What failed is dropped and counted."""

    def hook(record: dict[str, Any], context: Context) -> None:
        raise error

    account = Account("hook.h")
    queue = ItemQueue(account, policy="block", max_records=10, max_bytes=1 << 20)
    queue.put_nowait(batch(2))
    await work_off(queue, hook)
    assert account.dropped == {reason: 2}


@pytest.mark.parametrize("after", [-1, float("nan"), timedelta(days=-1), 1e12])
def test_times_that_make_no_sense_are_refused(after: float | timedelta) -> None:
    """Where they are given, in the hook."""
    with pytest.raises(ValueError, match="cannot try again"):
        Retry(after=after)


async def test_a_dead_letter_that_is_revived_does_not_wait_for_others(tmp_path: Path) -> None:
    """Though another record of the hook waits for an attempt in an hour."""
    seen: list[tuple[int, int]] = []

    def hook(record: dict[str, Any], context: Context) -> None:
        seen.append((record["n"], context.attempt))
        if record["n"] == 0 and len(seen) == 1:
            raise Reject("not like this")
        if record["n"] == 1:
            raise Retry(after=3600)

    async with bench(tmp_path) as b:
        queue = await b.queue()
        queue.put_nowait(batch(2))
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(work_off, queue, hook)
                await wait_until(lambda: len(seen) == 2)
                assert await b.desk.retry() == 1
                await wait_until(lambda: len(seen) == 3)
                nursery.cancel_scope.cancel()
        assert seen == [(0, 1), (1, 1), (0, 1)]


async def test_figures_of_a_hook_and_its_queue(tmp_path: Path) -> None:
    """How the calls ended and how long they took, what waits, and since when."""

    def hook(record: dict[str, Any]) -> None:
        if record["n"] == 1:
            raise Retry(after=3600)
        if record["n"] == 2:
            raise Reject

    async with bench(tmp_path) as b:
        queue = await b.queue()
        assert queue.statistics().oldest_s is None
        target = HookCallable(function=hook, is_async=False, takes_context=False)
        config = Hook(name="h", on=("log:*",), run="a:b", isolation="thread")
        runner = HookRunner(config, target=target, where=Everything(), queue=queue, outlet=Outlet())
        queue.put_nowait(batch(4))
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                await nursery.start(runner.run)
                await wait_until(lambda: runner.statistics().calls == 4)
                nursery.cancel_scope.cancel()
        figures, held = runner.statistics(), queue.statistics()
        assert (figures.done, figures.failed, figures.errors, figures.running) == (2, 2, 0, 0)
        assert figures.durations.count == 4
        assert (held.records, held.leased, held.retrying, held.retried, held.dead) == (1, 0, 1, 1, 1)
        assert held.oldest_s is not None
        assert held.oldest_s < 60
