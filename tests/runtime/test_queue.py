"""The queue between the dispatcher and one consumer: order, bounds, policies, waiting doors, leases, succession."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from appliance.model import Segment
from appliance.runtime.ledger import Account
from appliance.runtime.queue import ItemQueue
from tests.fakes import batch, is_balanced, numbers_in


def open_queue(
    policy: str = "block", *, records: int = 10, size: int = 1 << 20, account: Account | None = None
) -> ItemQueue:
    return ItemQueue(account or Account("sink.a"), policy=policy, max_records=records, max_bytes=size)


def segment(size: int) -> Segment:
    """One that weighs so much, of a larger file."""
    return Segment(
        handler="raw", source="capture.a", path="x" * (size - 3), packets=1, disk_size=1 << 30, first_ns=0, last_ns=0,
        linktype=1,
    )  # fmt: skip


async def take(queue: ItemQueue, count: int = 1000) -> list[int]:
    """Lease and deliver up to `count` records."""
    async with queue.lease(count) as parcel:
        parcel.deliver(parcel.left)
        return [number for item in parcel.items for number in numbers_in(item)]


# ── puts and policies ──


async def test_items_come_out_in_their_order() -> None:
    """A queue is a queue, cut to the size of the lease."""
    queue = open_queue()
    assert queue.put_nowait(batch(0, 3)) is None
    assert queue.put_nowait(batch(3, 5)) is None
    assert queue.waiting == 8
    assert await take(queue, 4) == [0, 1, 2]
    assert await take(queue, 4) == [3, 4, 5, 6]
    assert await take(queue, 4) == [7]
    assert queue.account.delivered == queue.account.received == 8
    assert is_balanced(queue.account)


@pytest.mark.parametrize("policy", ["block", "drop_oldest", "drop_newest"])
async def test_one_item_always_fits_into_an_empty_queue(policy: str) -> None:
    """However large it is."""
    queue = open_queue(policy, records=2, size=10)
    assert queue.put_nowait(batch(0, 5)) is None
    assert await take(queue) == [0, 1, 2, 3, 4]
    assert queue.account.dropped == {}


@pytest.mark.parametrize("bounds", [(5, 1 << 20), (1000, 5 * 7), (1000, 5 * 7 + 6)])
async def test_drop_newest_keeps_the_first_records_that_fit(bounds: tuple[int, int]) -> None:
    """The bound in bytes cuts a batch as finely as the bound in records."""
    queue = open_queue("drop_newest", records=bounds[0], size=bounds[1])
    queue.put_nowait(batch(0, 3))
    queue.put_nowait(batch(3, 4))
    queue.put_nowait(batch(7, 1))
    assert queue.account.dropped == {"queue_full": 3}
    assert await take(queue) == [0, 1, 2, 3, 4]
    assert is_balanced(queue.account)


@pytest.mark.parametrize("bounds", [(5, 1 << 20), (1000, 5 * 7), (1000, 5 * 7 + 6)])
async def test_drop_oldest_drops_as_few_of_the_first_records_as_possible(bounds: tuple[int, int]) -> None:
    """Records, not batches."""
    queue = open_queue("drop_oldest", records=bounds[0], size=bounds[1])
    for first, count in ((0, 1), (1, 2), (3, 4)):
        queue.put_nowait(batch(first, count))
    assert queue.account.dropped == {"queue_full": 2}
    assert await take(queue) == [2, 3, 4, 5, 6]
    assert is_balanced(queue.account)


async def test_drop_oldest_spares_what_is_leased() -> None:
    """Then the first records of the new item are the oldest that can go."""
    queue = open_queue("drop_oldest", records=5)
    queue.put_nowait(batch(0, 3))
    async with queue.lease(3) as parcel:
        queue.put_nowait(batch(3, 1))
        queue.put_nowait(batch(4, 4))
        assert queue.account.dropped == {"queue_full": 3}
        parcel.deliver(3)
    assert await take(queue) == [6, 7]


async def test_segments_are_never_cut() -> None:
    """A segment fits or it does not."""
    for policy, kept in (("drop_oldest", 60), ("drop_newest", 50)):
        queue = open_queue(policy, size=100)
        queue.put_nowait(segment(50))
        queue.put_nowait(segment(60))
        async with queue.lease(10) as parcel:
            assert [item.size for item in parcel.items] == [kept]
            parcel.drop("where", 1)
        assert queue.account.dropped == {"queue_full": 1, "where": 1}


async def test_block_gives_back_what_must_wait() -> None:
    """As much as fits is taken at once; the rest counts as queued and not as held by the queue."""
    queue = open_queue(records=4)
    assert queue.put_nowait(batch(0, 3)) is None
    rest = queue.put_nowait(batch(3, 3))
    assert rest is not None
    assert numbers_in(rest) == [4, 5]
    assert queue.statistics().records == 4
    assert queue.account.queued == 6
    assert is_balanced(queue.account)
    queue.abandon(rest, "shutdown")
    assert queue.account.dropped == {"shutdown": 2}
    assert is_balanced(queue.account)


# ── waiting doors ──


async def test_a_door_waits_for_room(autojump_clock: trio.testing.MockClock) -> None:
    """It returns as soon as everything is in."""
    queue = open_queue(records=4)
    queue.put_nowait(batch(0, 4))
    rest = queue.put_nowait(batch(4, 6))
    assert rest is not None
    async with trio.open_nursery() as nursery:

        async def door() -> None:
            await queue.wait_put(rest, patience_s=5.0)
            assert trio.current_time() == pytest.approx(2.0)

        nursery.start_soon(door)
        for second in range(3):
            await wait_all_tasks_blocked()
            assert is_balanced(queue.account)
            assert await take(queue, 2) == [2 * second, 2 * second + 1]
            await trio.sleep(1.0)
    assert queue.account.dropped == {}


async def test_a_consumer_that_settles_nothing_is_stalled(autojump_clock: trio.testing.MockClock) -> None:
    """The door waits once for its patience and then not at all, until the consumer moves."""
    queue = open_queue(records=4)
    queue.put_nowait(batch(0, 4))
    for first, until_s in ((4, 5.0), (8, 5.0)):
        rest = queue.put_nowait(batch(first, 4))
        assert rest is not None
        await queue.wait_put(rest, patience_s=5.0)
        assert trio.current_time() == pytest.approx(until_s)
        assert queue.statistics().stalled
    assert queue.account.dropped == {"stalled": 8}
    assert await take(queue) == [0, 1, 2, 3]
    assert not queue.statistics().stalled
    queue.put_nowait(batch(12, 4))
    rest = queue.put_nowait(batch(16, 1))
    assert rest is not None
    await queue.wait_put(rest, patience_s=5.0)
    assert trio.current_time() == pytest.approx(10.0)
    assert is_balanced(queue.account)


async def test_settling_within_a_lease_is_a_sign_of_life(autojump_clock: trio.testing.MockClock) -> None:
    """A hook may need longer for all records of its lease than a door is patient."""
    queue = open_queue(records=4)
    queue.put_nowait(batch(0, 4))
    rest = queue.put_nowait(batch(4, 1))
    assert rest is not None
    async with trio.open_nursery() as nursery:
        async with queue.lease(4) as parcel:
            nursery.start_soon(lambda: queue.wait_put(rest, patience_s=2.0))
            for _ in range(4):
                await trio.sleep(1.5)
                parcel.deliver(1)
                assert is_balanced(queue.account)
        await wait_all_tasks_blocked()
    assert queue.account.dropped == {}
    assert await take(queue) == [4]


async def test_each_door_has_its_own_patience(autojump_clock: trio.testing.MockClock) -> None:
    """That an impatient door gave up does not shorten the patience of another."""
    queue = open_queue(records=1)
    queue.put_nowait(batch(0, 1))
    ends: dict[float, float] = {}

    async def door(patience_s: float) -> None:
        rest = queue.put_nowait(batch(1, 1))
        assert rest is not None
        await queue.wait_put(rest, patience_s=patience_s)
        ends[patience_s] = trio.current_time()

    async with trio.open_nursery() as nursery:
        for patience_s in (1.0, 3.0):
            nursery.start_soon(door, patience_s)
    assert ends == {1.0: pytest.approx(1.0), 3.0: pytest.approx(3.0)}
    assert queue.account.dropped == {"stalled": 2}


async def test_new_bounds_are_no_stall_and_no_sleep(autojump_clock: trio.testing.MockClock) -> None:
    """A waiting door looks again and goes on waiting; a waiting consumer looks again, too."""
    queue = open_queue(records=4)
    queue.put_nowait(batch(0, 4))
    rest = queue.put_nowait(batch(4, 4))
    assert rest is not None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: queue.wait_put(rest, patience_s=5.0))
        await wait_all_tasks_blocked()
        queue.configure(policy="block", max_records=5, max_bytes=1 << 20)
        await wait_all_tasks_blocked()
        assert not queue.statistics().stalled
        assert (queue.waiting, queue.account.queued) == (5, 8)
        queue.configure(policy="drop_newest", max_records=5, max_bytes=1 << 20)
    assert queue.account.dropped == {"queue_full": 3}
    await take(queue)
    queue.put_nowait(batch(8, 2))
    with trio.fail_after(1):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(queue.wait_filled, 1 << 20)
            await wait_all_tasks_blocked()
            queue.configure(policy="block", max_records=4, max_bytes=1 << 20)


async def test_cancelled_door_drops_its_rest() -> None:
    """For shutdown; what the queue took stays."""
    queue = open_queue(records=4)
    rest = queue.put_nowait(batch(0, 4)) or queue.put_nowait(batch(4, 4))
    assert rest is not None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: queue.wait_put(rest, patience_s=5.0))
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert queue.account.dropped == {"shutdown": 4}
    assert queue.waiting == 4
    assert is_balanced(queue.account)


@pytest.mark.parametrize("end", ["close", "retire"])
async def test_the_end_of_a_queue_sets_doors_free(end: str) -> None:
    """And books what they hold at once, parked or not yet."""
    queue = open_queue(records=4)
    account = queue.account
    queue.put_nowait(batch(0, 4))
    rests = [queue.put_nowait(batch(first, 2)) for first in (4, 6, 8)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: queue.wait_put(rests[0], patience_s=5.0))  # type: ignore[arg-type]
        await wait_all_tasks_blocked()
        if end == "close":
            queue.close()
        else:
            queue.retire("reload")
        assert is_balanced(account)
        await queue.wait_put(rests[1], patience_s=5.0)  # type: ignore[arg-type]
        queue.abandon(rests[2], "shutdown")  # type: ignore[arg-type]
        assert is_balanced(account)
    assert is_balanced(account)
    assert account.dropped == ({"shutdown": 6} if end == "close" else {"reload": 10})
    assert queue.put_nowait(batch(10, 1)) is None
    assert account.dropped["shutdown"] == (7 if end == "close" else 1)


async def test_several_doors_keep_their_own_order(autojump_clock: trio.testing.MockClock) -> None:
    """Whatever the order among them, nothing is lost and each door's records come in its order."""
    queue = open_queue(records=7, size=20 * 7)
    numbers: list[int] = []

    async def door(index: int) -> None:
        for n in range(0, 60, 6):
            rest = queue.put_nowait(batch(1000 * index + n, 6))
            if rest is not None:
                await queue.wait_put(rest, patience_s=5.0)
            assert is_balanced(queue.account)

    async def consume() -> None:
        while True:
            async with queue.lease(4) as parcel:
                assert queue.statistics().records <= 7
                await trio.sleep(0.01)
                parcel.deliver(parcel.left)
                numbers.extend(n for item in parcel.items for n in numbers_in(item))

    async with trio.open_nursery() as outer:
        outer.start_soon(consume)
        async with trio.open_nursery() as doors:
            for index in range(4):
                doors.start_soon(door, index)
        await trio.sleep(1.0)
        outer.cancel_scope.cancel()
    for index in range(4):
        assert [n % 1000 for n in numbers if n // 1000 == index] == list(range(60))
    assert len(numbers) == queue.account.delivered == 240


# ── leases ──


async def test_identity_holds_while_a_lease_is_settled() -> None:
    """At every moment a record is delivered, dropped or queued, and only one of them."""
    queue = open_queue()
    queue.put_nowait(batch(0, 6))
    async with queue.lease(4) as parcel:
        parcel.deliver(1)
        assert is_balanced(queue.account)
        parcel.drop("hook_error", 2)
        parcel.drop("where", 0)
        assert (parcel.left, queue.account.queued) == (1, 3)
        assert is_balanced(queue.account)
    assert queue.statistics().records == 3
    assert queue.statistics().size == 3 * 7
    assert await take(queue) == [3, 4, 5]


async def test_a_parcel_cannot_settle_more_than_it_has() -> None:
    """That would be a mistake of ours."""
    queue = open_queue()
    queue.put_nowait(batch(0, 2))
    async with queue.lease(4) as parcel:
        with pytest.raises(AssertionError):
            parcel.deliver(3)
        with pytest.raises(AssertionError):
            parcel.drop("where", -1)
        parcel.deliver(2)
    assert is_balanced(queue.account)


@pytest.mark.parametrize("settled", [0, 1, 2, 3, 5])
async def test_what_is_not_settled_goes_back_to_the_head(settled: int) -> None:
    """When the consumer fails or is cancelled in its lease."""
    queue = open_queue()
    for first in (0, 2, 4):
        queue.put_nowait(batch(first, 2))
    with suppress(OSError):
        async with queue.lease(5) as parcel:
            parcel.deliver(min(settled, parcel.left))
            raise OSError("disk")
    with trio.CancelScope() as scope:
        async with queue.lease(1):
            scope.cancel()
            await trio.sleep_forever()
    assert is_balanced(queue.account)
    assert await take(queue, 10) == list(range(6))[min(settled, 4) :]


async def test_one_put_feeds_all_workers() -> None:
    """No worker sleeps while records wait that another one could not carry."""
    queue = open_queue(records=100)
    held: list[list[int]] = []

    async def worker() -> None:
        async with queue.lease(4) as parcel:
            held.append([n for item in parcel.items for n in numbers_in(item)])
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(worker)
        await wait_all_tasks_blocked()
        queue.put_nowait(batch(0, 20))
        await wait_all_tasks_blocked()
        assert sorted(held) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
        nursery.cancel_scope.cancel()
    assert queue.waiting == 20


async def test_a_closed_queue_is_leased_until_it_is_empty() -> None:
    """Then the consumer is told that nothing comes any more."""
    queue = open_queue()
    queue.put_nowait(batch(0, 2))
    queue.close()
    assert queue.is_closed
    assert await take(queue, 1) == [0]
    assert await take(queue, 1) == [1]
    with pytest.raises(trio.EndOfChannel):
        await take(queue, 1)


async def test_close_wakes_a_waiting_consumer() -> None:
    """In each of its three ways to wait."""
    queue = open_queue()
    async with trio.open_nursery() as nursery:

        async def lease() -> None:
            with pytest.raises(trio.EndOfChannel):
                await take(queue)

        nursery.start_soon(lease)
        nursery.start_soon(queue.wait_any)
        nursery.start_soon(queue.wait_filled, 1000)
        await wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 3
        queue.close()


async def test_wait_any_waits_for_an_item() -> None:
    """Of any size."""
    queue = open_queue()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(queue.wait_any)
        await wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 1
        queue.put_nowait(batch(0, 1))
    assert queue.waiting == 1


@pytest.mark.parametrize(("count", "records", "size"), [(3, 100, 1000), (2, 4, 1000), (2, 100, 28), (1, 1, 1000)])
async def test_wait_filled_waits_for_enough(count: int, records: int, size: int) -> None:
    """Bytes that are worth it, or half a bound."""
    queue = open_queue(records=records, size=size)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(queue.wait_filled, 21)
        await wait_all_tasks_blocked()
        for number in range(count):
            assert len(nursery.child_tasks) == 1
            queue.put_nowait(batch(number, 1))
            await wait_all_tasks_blocked()
        assert not nursery.child_tasks


async def test_wait_filled_ends_when_a_door_is_kept_waiting() -> None:
    """A door must not wait for the consumer's comfort."""
    queue = open_queue(size=100)
    queue.put_nowait(segment(45))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(queue.wait_filled, 100)
        await wait_all_tasks_blocked()
        assert nursery.child_tasks
        assert queue.put_nowait(segment(60)) is not None
