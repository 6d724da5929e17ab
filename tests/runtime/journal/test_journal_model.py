"""The durable queue against a model that knows every record, over crashes at any moment."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import trio
import trio.testing
from hypothesis import example, given, settings
from hypothesis import strategies as st

from appliance.runtime.durable import DurableQueue
from appliance.runtime.intake import Parcel
from tests.fakes import batch, numbers_in

from .harness import ERROR, Bench

ATTEMPTS = 3
HOOKS = ("x", "y")


class Knowledge:
    """What a hook must, may and must not see again."""

    def __init__(self) -> None:
        self.open: set[int] = set()
        """Accepted, and neither delivered nor dead."""
        self.written: set[int] = set()
        """The part of it that was written for certain."""
        self.done: set[int] = set()
        self.done_written: set[int] = set()
        self.attempts: dict[int, int] = {}
        """Attempts that began, for certain written, by record."""


class Run:
    """One journal after the other, each with what the one before it left."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.generation = 0
        self.next = 0
        self.known = {hook: Knowledge() for hook in HOOKS}
        self.queues: dict[str, DurableQueue] = {}
        self.leases: list[tuple[str, AsyncExitStack, Parcel]] = []
        self.bench: Bench

    async def start(self, folder: Path) -> None:
        self.bench = Bench(folder)
        self.queues = {h: await self.bench.queue(h, attempts=ATTEMPTS, backoff_s=0.0) for h in HOOKS}

    async def put(self, count: int, hooks: str) -> None:
        item = batch(self.next, count)
        for hook in hooks:
            self.queues[hook].put_nowait(item)
            self.known[hook].open |= set(range(self.next, self.next + count))
        self.next += count

    async def flush(self) -> None:
        await self.bench.journal.flush()
        for known in self.known.values():
            known.written = set(known.open)
            known.done_written = set(known.done)

    async def lease(self, index: int, count: int) -> None:
        hook = HOOKS[index % 2]
        if not self.queues[hook]._backlog.records or any(h == hook for h, _, _ in self.leases):
            return
        stack = AsyncExitStack()
        with trio.fail_after(10):
            parcel = await stack.enter_async_context(self.queues[hook].lease(count))
        known = self.known[hook]
        for number in self.numbers(parcel):
            assert number in known.open, "a record came again that was done for certain, or never came"
            assert parcel.attempt == known.attempts.get(number, 0) + 1
        self.leases.append((hook, stack, parcel))

    @staticmethod
    def numbers(parcel: Parcel) -> list[int]:
        return [n for item in parcel.items for n in numbers_in(item)][parcel.settled :]

    def settle(self, how: str, index: int, count: int) -> None:
        if not self.leases:
            return
        hook, _, parcel = self.leases[index % len(self.leases)]
        known = self.known[hook]
        for number in self.numbers(parcel)[:count]:
            if how == "deliver":
                parcel.deliver(1)
            else:
                parcel.fail(ERROR)
                known.attempts[number] = known.attempts.get(number, 0) + 1
            if how == "deliver" or known.attempts[number] >= ATTEMPTS:
                known.open.discard(number)
                known.done.add(number)

    async def end(self, index: int) -> None:
        if self.leases:
            await self.leases.pop(index % len(self.leases))[1].aclose()

    async def crash(self, is_flushed: bool) -> None:
        """The files as they are now, whatever is under way; or after a moment of rest."""
        if is_flushed:
            await self.flush()
        self.generation += 1
        left = self.bench.crash(self.folder / str(self.generation))
        in_flight = {hook: self.numbers(parcel) for hook, _, parcel in self.leases}
        while self.leases:
            await self.end(0)
        await self.bench.journal.aclose(5)
        shutil.rmtree(self.bench.path.parent)
        before = self.known
        await self.start(left)
        for hook, known in before.items():
            await self.compare(hook, known, set(in_flight.get(hook, ())))

    @staticmethod
    async def lease_unless_buried(stack: AsyncExitStack, queue: DurableQueue, leased: int) -> Parcel | None:
        """A lease; None if what was left turned out to have had its last attempt, and nothing else is there."""
        parcel: Parcel | None = None
        async with trio.open_nursery() as nursery:

            async def give_up() -> None:
                while queue._backlog.records > leased:
                    await trio.testing.wait_all_tasks_blocked(0.001)
                nursery.cancel_scope.cancel()

            nursery.start_soon(give_up)
            parcel = await stack.enter_async_context(queue.lease(5))
            nursery.cancel_scope.cancel()
        return parcel

    async def compare(self, hook: str, known: Knowledge, in_flight: set[int]) -> None:
        """Everything that comes back, tried once more and given back as if it had been cancelled."""
        found: dict[int, int] = {}
        stacks: list[AsyncExitStack] = []
        queue = self.queues[hook]
        with trio.fail_after(10):
            while len(found) < queue._backlog.records:
                stack = AsyncExitStack()
                stacks.append(stack)
                parcel = await self.lease_unless_buried(stack, queue, len(found))
                if parcel is not None:
                    assert not found.keys() & set(self.numbers(parcel))
                    found |= dict.fromkeys(self.numbers(parcel), parcel.attempt)
        for stack in stacks:
            await stack.aclose()
        dead = {n for letter in await self.bench.desk.dead(hook, limit=1000) for n in numbers_in(letter.item)}
        assert known.written <= set(found) | dead | known.done
        assert not set(found) & known.done_written
        assert set(found) <= known.open | known.done
        for number, attempt in found.items():
            began = known.attempts.get(number, 0)
            # What was being written at that moment may be there or not, but an attempt that began is never forgotten.
            low = began + 1 if number in known.written else 1
            if number in in_flight:
                assert attempt == began + 2
            elif number in known.open and number in known.written and not known.attempts.get(number):
                assert attempt in (low, low + 1)
            known.attempts[number] = attempt - 1
        known.open = set(found)
        known.written = set(found)
        known.done = (known.done | dead) - set(found)
        known.done_written = set(known.done)
        self.bench.figures(hook)


puts = st.tuples(st.just("put"), st.integers(1, 6), st.sampled_from(["x", "y", "xy"]))
leases = st.tuples(st.just("lease"), st.integers(0, 1), st.integers(1, 5))
settles = st.tuples(st.just("settle"), st.sampled_from(["deliver", "fail"]), st.integers(0, 1), st.integers(1, 5))
ends = st.tuples(st.just("end"), st.integers(0, 1))
flushes = st.tuples(st.just("flush"))
crashes = st.tuples(st.just("crash"), st.booleans())


# A round is what a life of a record consists of, so that short examples get far; single steps come between.
rounds: st.SearchStrategy[list[Any]] = st.tuples(puts, leases, settles, crashes).map(list)
steps_ = st.one_of(rounds, st.one_of(puts, leases, settles, ends, flushes, crashes).map(lambda step: [step]))


SPENT = [("put", 1, "y"), *[("lease", 1, 1), ("crash", False)] * ATTEMPTS]
"""What is left at the end has had every attempt."""


@settings(max_examples=200, deadline=None)
@example(steps=SPENT)
@given(steps=st.lists(steps_, min_size=4, max_size=12).map(lambda found: [step for some in found for step in some]))
def test_no_record_is_lost_or_done_again_without_being_told(steps: list[Any]) -> None:
    """What was written comes back until it is done; what was done for certain does not; what was in flight comes as the
    next attempt; and the books balance.
    """

    async def main(folder: Path) -> None:
        run = Run(folder)
        await run.start(folder / "0")
        for name, *arguments in [*steps, ("crash", True)]:
            outcome = getattr(run, name)(*arguments)
            if outcome is not None:
                await outcome
            for hook in HOOKS:
                run.bench.figures(hook)
        await run.bench.journal.aclose(5)

    with tempfile.TemporaryDirectory() as folder:
        trio.run(main, Path(folder))
