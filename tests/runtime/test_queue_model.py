"""The queue against a model of plain lists that knows every single record."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from appliance.runtime.ledger import Account
from appliance.runtime.queue import ItemQueue, Parcel
from tests.fakes import batch, event_batch, numbers_in

WIDTH = 7
POLICIES = ["block", "drop_oldest", "drop_newest"]


class Model:
    """One account, its newest queue, leases of this and of earlier queues, and at most one door that waits."""

    def __init__(self) -> None:
        self.items: list[list[int]] = []
        self.leases: list[dict[str, Any]] = []
        self.door: list[int] = []
        self.delivered: list[int] = []
        self.dropped: dict[str, list[int]] = {}
        self.received = 0
        self.generation = 0
        self.policy, self.max_records, self.max_bytes = "block", 1, 1

    @property
    def own_leases(self) -> list[dict[str, Any]]:
        return [lease for lease in self.leases if lease["generation"] == self.generation]

    @property
    def records(self) -> int:
        return sum(map(len, self.items)) + sum(len(lease["left"]) for lease in self.own_leases)

    @property
    def size(self) -> int:
        leased: int = sum(lease["size"] for lease in self.own_leases)
        return WIDTH * sum(map(len, self.items)) + leased

    def is_over(self, more: int = 0) -> bool:
        return self.records + more > self.max_records or self.size + WIDTH * more > self.max_bytes

    def drop(self, reason: str, numbers: list[int]) -> None:
        self.dropped.setdefault(reason, []).extend(numbers)

    def put(self, numbers: list[int]) -> None:
        if not self.records or not self.is_over(len(numbers)):
            self.items.append(numbers)
        elif self.policy == "drop_oldest":
            self.items.append(numbers)
            while self.is_over() and self.items and (len(self.items) > 1 or any(x["left"] for x in self.own_leases)):
                self.drop("queue_full", [self.items[0].pop(0)])
                self.items = [item for item in self.items if item]
        else:
            fitting = 0
            while not self.is_over(fitting + 1):
                fitting += 1
            if fitting:
                self.items.append(numbers[:fitting])
            if self.policy == "block":
                self.door = numbers[fitting:]
            else:
                self.drop("queue_full", numbers[fitting:])

    def look_again(self) -> None:
        door, self.door = self.door, []
        if door:
            self.put(door)

    def take(self, count: int) -> None:
        taken: list[int] = []
        while self.items and (not taken or len(taken) + len(self.items[0]) <= count):
            item = self.items.pop(0)
            if len(item) > count:
                self.items.insert(0, item[count:])
                item = item[:count]
            taken += item
            if len(item) == count:
                break
        self.leases.append({"left": taken, "size": WIDTH * len(taken), "generation": self.generation, "settled": False})


puts = st.tuples(st.just("put"), st.integers(1, 9))
leases = st.tuples(st.just("lease"), st.integers(1, 6))
settles = st.tuples(st.sampled_from(["deliver", "drop"]), st.integers(0, 3), st.integers(0, 6))
ends = st.tuples(st.just("end"), st.integers(0, 3))
bounds = st.tuples(st.sampled_from(POLICIES), st.integers(1, 12), st.integers(1, 12 * WIDTH))
changes = st.tuples(st.sampled_from(["configure", "adopt"]), bounds)
gives_up = st.tuples(st.just("cancel"))


class Run:
    """Applies each step to the queue and to the model."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.account = Account("sink.a")
        self.model = Model()
        self.queue: ItemQueue | None = None
        self.held: list[tuple[AsyncExitStack, Parcel]] = []
        self.door_scope = trio.CancelScope()
        self.next = 0

    def adopt(self, new: tuple[str, int, int]) -> None:
        policy, max_records, max_bytes = new
        model, old = self.model, self.queue
        self.queue = ItemQueue(self.account, policy=policy, max_records=max_records, max_bytes=max_bytes)
        model.policy, model.max_records, model.max_bytes = new
        model.generation += 1
        if old is not None:
            self.queue.adopt(old)
            model.look_again()

    def configure(self, new: tuple[str, int, int]) -> None:
        assert self.queue is not None
        self.model.policy, self.model.max_records, self.model.max_bytes = new
        self.queue.configure(policy=new[0], max_records=new[1], max_bytes=new[2])
        self.model.look_again()

    def put(self, count: int) -> None:
        if self.model.door:
            return
        assert self.queue is not None
        item = (event_batch if count % 2 else batch)(self.next, count)
        rest = self.queue.put_nowait(item)
        self.model.received += count
        self.model.put(numbers_in(item))
        self.next += count
        if rest is not None:
            queue, self.door_scope = self.queue, trio.CancelScope()

            async def door(scope: trio.CancelScope = self.door_scope) -> None:
                with scope:
                    await queue.wait_put(rest, patience_s=1e6)

            self.nursery.start_soon(door)

    async def lease(self, count: int) -> None:
        assert self.queue is not None
        if self.model.items:
            stack = AsyncExitStack()
            parcel = await stack.enter_async_context(self.queue.lease(count))
            self.held.append((stack, parcel))
            self.model.take(count)
            assert [n for item in parcel.items for n in numbers_in(item)] == self.model.leases[-1]["left"]

    def settle(self, how: str, index: int, count: int) -> None:
        if not self.held:
            return
        parcel, lease = self.held[index % len(self.held)][1], self.model.leases[index % len(self.held)]
        count = min(count, parcel.left)
        numbers, lease["left"] = lease["left"][:count], lease["left"][count:]
        lease["settled"] |= count > 0
        if how == "deliver":
            parcel.deliver(count)
            self.model.delivered += numbers
        else:
            parcel.drop("hook_error", count)
            self.model.drop("hook_error", numbers)

    async def end(self, index: int) -> None:
        if not self.held:
            return
        stack, parcel = self.held.pop(index % (len(self.held)))
        lease = self.model.leases.pop(index % len(self.model.leases))
        left, pieces = lease["left"], []
        for item in reversed(parcel.items):  # pieces keep the borders that the items had
            keep = min(item.count, len(left))
            pieces.append(left[len(left) - keep :])
            left = left[: len(left) - keep]
        self.model.items[:0] = [piece for piece in reversed(pieces) if piece]
        await stack.aclose()
        if lease["settled"] and lease["generation"] == self.model.generation:
            self.model.look_again()

    def cancel(self) -> None:
        self.door_scope.cancel()
        if self.model.door:
            self.model.drop("shutdown", self.model.door)
            self.model.door = []

    async def step(self, name: str, *arguments: Any) -> None:
        if name in ("deliver", "drop"):
            self.settle(name, *arguments)
        else:
            outcome = getattr(self, name)(*arguments)
            if outcome is not None:
                await outcome
        self.check_identity()
        await wait_all_tasks_blocked()
        self.check()

    def check_identity(self) -> None:
        figures = self.account.statistics()
        assert figures.imbalance == 0
        assert figures.received == self.model.received

    def check(self) -> None:
        assert self.queue is not None
        model = self.model
        self.check_identity()
        assert [numbers_in(item) for item in self.queue._items] == model.items
        assert self.account.delivered == len(model.delivered)
        assert self.account.dropped == {reason: len(numbers) for reason, numbers in model.dropped.items() if numbers}
        figures = self.queue.statistics()
        assert (figures.records, figures.size) == (model.records, model.size)
        waiting = sum(map(len, model.items))
        leased = sum(len(lease["left"]) for lease in model.leases)
        assert self.account.queued == waiting + leased + len(model.door)
        everything = [*model.delivered, *model.door, *(n for numbers in model.dropped.values() for n in numbers)]
        everything += [n for numbers in model.items for n in numbers]
        everything += [n for lease in model.leases for n in lease["left"]]
        assert sorted(everything) == list(range(self.next))


@settings(max_examples=150, deadline=None)
@given(first=bounds, steps=st.lists(st.one_of(puts, puts, leases, settles, ends, changes, gives_up), max_size=30))
def test_queue_does_what_its_model_does(first: tuple[str, int, int], steps: list[Any]) -> None:
    """Order, bounds and drop counts are exact for every record, and the identity holds after every step."""

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            run = Run(nursery)
            run.adopt(first)
            for step in steps:
                await run.step(*step)
            while run.held:
                await run.step("end", 0)
            await run.step("cancel")
            assert run.queue is not None
            run.queue.retire("reload")
            assert run.account.statistics().imbalance == 0

    trio.run(main)
