"""The hook runner: every record is settled once, whatever the hook does with it."""

from __future__ import annotations

import functools
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import trio
import trio.testing
from structlog.typing import EventDict

from appliance.config import Duration, Hook
from appliance.hooks import runner as runner_module
from appliance.hooks import thread
from appliance.hooks.callables import HookCallable
from appliance.hooks.filter import Everything, Filter
from appliance.hooks.runner import HookRunner
from appliance.hooks.thread import MAX_HUNG
from appliance.hooks.where import Where
from appliance.model import Item, LogBatch, Segment
from appliance.runtime.ledger import Account, AccountFigures
from appliance.runtime.outlet import Outlet
from appliance.runtime.queue import ItemQueue

S = 10**9


def batch(first: int, count: int) -> LogBatch:
    data = b"".join(b'{"n":%d}\n' % n for n in range(first, first + count))
    return LogBatch(path="conn", source="zmq.a", data=data, count=count)


class Bench:
    """One runner, its queue and its account."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        is_async: bool = False,
        where: Filter | None = None,
        concurrency: int = 1,
        timeout_s: float = 60.0,
        outlet: Outlet | None = None,
    ) -> None:
        config = Hook(
            name="h", on=("log:*",), run="a:b", isolation="thread", concurrency=concurrency,
            timeout=Duration(int(timeout_s * S)), options={"level": 3},
        )  # fmt: skip
        self.account = Account("hook.h")
        self.queue = ItemQueue(self.account, policy="drop_newest", max_records=100_000, max_bytes=1 << 30)
        target = HookCallable(function=function, is_async=is_async, takes_context=False)
        self.runner = HookRunner(
            config, target=target, where=where or Everything(), queue=self.queue, outlet=outlet or Outlet()
        )

    async def work_off(self, *items: Item) -> AccountFigures:
        """Put `items`, run until they are settled."""
        for item in items:
            assert self.queue.put_nowait(item) is None
        self.runner.stop()
        with trio.fail_after(30):
            await self.runner.run()
        return self.figures()

    def figures(self) -> AccountFigures:
        figures = self.account.statistics()
        assert figures.imbalance == 0
        return figures


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def numbers(seen: list[int]) -> Callable[[dict[str, Any]], None]:
    return lambda record: seen.append(record["n"])


async def wait_until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(10):
        while not condition():
            await trio.lowlevel.checkpoint()


# ── synchronous hooks ──


async def test_every_record_comes_once_and_in_order() -> None:
    """Over items, leases and hops."""
    seen: list[int] = []
    bench = Bench(numbers(seen))
    figures = await bench.work_off(batch(0, 700), batch(700, 1), batch(701, 299))
    assert seen == list(range(1000))
    assert (figures.delivered, figures.queued, figures.dropped) == (1000, 0, {})
    assert bench.runner.statistics().calls == 1000


async def test_records_between_the_matches_are_settled_in_their_place() -> None:
    """What `where` leaves out is booked as such, wherever it stands."""
    seen: list[int] = []
    bench = Bench(numbers(seen), where=Where("n % 7 == 3"))
    figures = await bench.work_off(batch(0, 100), batch(100, 3), batch(103, 100))
    assert seen == [n for n in range(203) if n % 7 == 3]
    assert (figures.delivered, figures.dropped) == (len(seen), {"where": 203 - len(seen)})


async def test_turn_that_ends_in_the_middle_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a hop for each record, and a lease for each, all the same records come."""
    monkeypatch.setattr(thread, "TURN_S", 0.0)
    monkeypatch.setattr(runner_module, "TURN_S", 0.0)
    seen: list[int] = []
    figures = await Bench(numbers(seen), where=Where("n % 3 == 1")).work_off(batch(0, 40), batch(40, 11))
    assert seen == [n for n in range(51) if n % 3 == 1]
    assert (figures.delivered, figures.dropped) == (17, {"where": 34})


async def test_slow_hook_shares_its_records_among_the_workers(gate: threading.Event) -> None:
    """With two workers, two records of one batch are in work at the same time."""
    together = threading.Barrier(2, timeout=10)
    bench = Bench(lambda _: together.wait(), concurrency=2)
    assert (await bench.work_off(batch(0, 2))).delivered == 2


async def test_exception_costs_its_record(told: list[EventDict]) -> None:
    """Also one that is no Exception, one whose text cannot be had, and a very long one."""

    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    class Unusual(BaseException): ...

    errors = {
        1: MuteError(),
        2: Unusual("u"),
        3: SystemExit(3),
        4: ValueError("x" * 10_000),
        5: ExceptionGroup("g", [OSError()]),
    }

    def hook(record: dict[str, Any]) -> None:
        if record["n"] in errors:
            raise errors[record["n"]]

    bench = Bench(hook)
    figures = await bench.work_off(batch(0, 8))
    assert (figures.delivered, figures.dropped) == (3, {"hook_error": 5})
    statistics = bench.runner.statistics()
    assert (statistics.calls, statistics.errors, statistics.last_error) == (8, 5, "ExceptionGroup: g (1 sub-exception)")
    assert [entry["event"] for entry in told] == ["hook failed"] * 5
    assert max(len(entry["error"]) for entry in told) == 500


async def test_same_error_is_told_once_a_minute(told: list[EventDict]) -> None:
    """A hook that always fails does not fill the disk with its log."""
    figures = await Bench(lambda _: 1 / 0).work_off(batch(0, 500))
    assert figures.dropped == {"hook_error": 500}
    assert len(told) == 1


async def test_hook_that_hangs_costs_its_record_and_no_other(gate: threading.Event, told: list[EventDict]) -> None:
    """The call is left behind when its time is over; the next record gets a new thread."""
    seen: list[int] = []

    def hook(record: dict[str, Any]) -> None:
        if record["n"] == 2:
            gate.wait()
        seen.append(record["n"])

    bench = Bench(hook, timeout_s=0.05)
    figures = await bench.work_off(batch(0, 5))
    assert (figures.delivered, figures.dropped) == (4, {"timeout": 1})
    assert seen == [0, 1, 3, 4]
    assert (bench.runner.statistics().timeouts, bench.runner.statistics().hung) == (1, 1)
    gate.set()
    await wait_until(lambda: bench.runner.statistics().hung == 0)
    assert seen == [0, 1, 3, 4, 2]


async def test_hook_that_always_hangs_is_suspended_and_can_be_stopped(
    gate: threading.Event, told: list[EventDict]
) -> None:
    """After a few threads no more are spent; cancellation ends it at once, and what was not called is still queued."""
    bench = Bench(lambda _: gate.wait(), timeout_s=0.02)
    bench.queue.put_nowait(batch(0, 50))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.runner.run)
        await wait_until(lambda: any(entry["event"].startswith("too many calls hang") for entry in told))
        nursery.cancel_scope.cancel()
    figures = bench.figures()
    assert (figures.dropped, figures.queued) == ({"timeout": MAX_HUNG}, 50 - MAX_HUNG)


async def test_cancellation_in_the_middle_settles_what_was_done(gate: threading.Event) -> None:
    """The record that is in work stays queued, for a successor or for the books."""
    seen: list[int] = []
    reached = threading.Event()

    def hook(record: dict[str, Any]) -> None:
        if record["n"] == 3:
            reached.set()
            gate.wait()
        seen.append(record["n"])

    bench = Bench(hook)
    bench.queue.put_nowait(batch(0, 10))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.runner.run)
        await wait_until(reached.is_set)
        nursery.cancel_scope.cancel()
    figures = bench.figures()
    assert (figures.delivered, figures.queued) == (3, 7)
    assert seen == [0, 1, 2]


async def test_record_that_python_cannot_represent_is_booked() -> None:
    """The hook is not called for it."""
    seen: list[int] = []
    item = LogBatch(path="x", source="zmq.a", data=b'{"n":1}\n{"n":"\\ud800"}\n{"n":2}\n', count=3)
    figures = await Bench(numbers(seen)).work_off(item)
    assert (seen, figures.delivered, figures.dropped) == ([1, 2], 2, {"undecodable": 1})


async def test_segment_is_one_record() -> None:
    """An item that is no batch comes as a dict of its fields."""
    seen: list[str] = []
    segment = Segment(handler="raw", source="c", path="/x", packets=3, disk_size=9, first_ns=1, last_ns=2, linktype=147)
    await Bench(lambda record: seen.append(record["path"])).work_off(segment)
    assert seen == ["/x"]


async def test_context_tells_what_the_hook_may_know() -> None:
    """The item, the attempt, the time that is left, and the hook's own options."""
    seen: list[Any] = []
    bench = Bench(lambda record, context: seen.append((context.item.path, context.attempt, context.config)))
    bench.runner._target = HookCallable(function=bench.runner._target.function, is_async=False, takes_context=True)
    await bench.work_off(batch(0, 1))
    assert seen == [("conn", 1, {"level": 3})]


async def test_stop_before_run_ends_at_once() -> None:
    """A service may be told to stop before it runs."""
    assert (await Bench(int).work_off()).received == 0


# ── asynchronous hooks: no thread, so time is virtual ──


def later(function: Callable[[int], Awaitable[None]], **more: Any) -> Bench:
    return Bench(lambda record: function(record["n"]), is_async=True, **more)


async def test_asynchronous_calls_run_side_by_side(autojump_clock: trio.testing.MockClock) -> None:
    """As many as `concurrency` says."""
    running = most = 0

    async def hook(n: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await trio.sleep(1)
        running -= 1

    began = trio.current_time()
    assert (await later(hook, concurrency=3).work_off(batch(0, 9))).delivered == 9
    assert (most, trio.current_time() - began) == (3, 3.0)


@pytest.mark.parametrize("answer", ["obeys", "swallows", "raises", "raises_group"])
async def test_asynchronous_call_ends_when_its_time_is_over(
    autojump_clock: trio.testing.MockClock, told: list[EventDict], answer: str
) -> None:
    """However it answers to the cancellation it is a timeout, and the next record is called."""
    seen: list[int] = []

    async def misbehave() -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            if answer == "obeys":
                raise
            if answer == "raises":
                raise ValueError("while cleaning up") from None

    async def fail() -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(2)
        raise OSError("late")

    async def hook(n: int) -> None:
        if n == 1 and answer == "raises_group":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                nursery.start_soon(fail)
        elif n == 1:
            await misbehave()
        seen.append(n)

    figures = await later(hook, timeout_s=1).work_off(batch(0, 3))
    assert (figures.delivered, figures.dropped) == (2, {"timeout": 1})
    assert seen == ([0, 1, 2] if answer == "swallows" else [0, 2])


async def test_asynchronous_exception_costs_its_record(told: list[EventDict]) -> None:
    """Whether it is raised before or after the first await, and whatever it is."""

    class Unusual(BaseException): ...

    errors = {1: ValueError(), 2: Unusual(), 3: SystemExit(1)}

    async def hook(n: int) -> None:
        await trio.lowlevel.checkpoint()
        if n in errors:
            raise errors[n]

    figures = await later(hook).work_off(batch(0, 5))
    assert (figures.delivered, figures.dropped) == (2, {"hook_error": 3})


async def test_asynchronous_call_that_is_cancelled_stays_queued(autojump_clock: trio.testing.MockClock) -> None:
    """What was finished before is delivered."""

    async def hook(n: int) -> None:
        if n == 2:
            await trio.sleep_forever()

    bench = later(hook)
    bench.queue.put_nowait(batch(0, 4))
    with trio.move_on_after(1):
        await bench.runner.run()
    figures = bench.figures()
    assert (figures.delivered, figures.queued) == (2, 2)


async def test_callable_object_may_return_nothing_awaitable() -> None:
    """What is declared asynchronous and returns None at once has done its work."""
    bench = Bench(functools.partial(lambda record: None), is_async=True)
    assert (await bench.work_off(batch(0, 2))).delivered == 2
