"""A queue that takes over from another one, and a queue that ends for good."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from appliance.runtime.ledger import Account
from appliance.runtime.queue import ItemQueue
from tests.fakes import batch, is_balanced, numbers_in


def open_queue(*, records: int = 10, account: Account | None = None) -> ItemQueue:
    return ItemQueue(account or Account("sink.a"), policy="block", max_records=records, max_bytes=1 << 20)


async def take(queue: ItemQueue) -> list[int]:
    """Lease and deliver what waits."""
    async with queue.lease(1000) as parcel:
        parcel.deliver(parcel.left)
        return [number for item in parcel.items for number in numbers_in(item)]


async def test_a_successor_takes_over_everything() -> None:
    """What waited comes first, a door that waits goes on with the new queue, and a lease given back goes there."""
    old = open_queue(records=4)
    account = old.account
    old.put_nowait(batch(0, 4))
    rest = old.put_nowait(batch(4, 2))
    assert rest is not None
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            async with old.lease(2) as parcel:
                nursery.start_soon(lambda: old.wait_put(rest, patience_s=5.0))
                await wait_all_tasks_blocked()
                new = open_queue(records=100, account=account)
                new.put_nowait(batch(6, 1))
                new.adopt(old)
                assert is_balanced(account)
                newest = open_queue(records=100, account=account)
                newest.adopt(new)
                assert is_balanced(account)
                parcel.deliver(1)
                scope.cancel()
                await trio.sleep_forever()
    assert is_balanced(account)
    old.retire("reload")
    new.retire("reload")
    assert is_balanced(account)
    assert await take(newest) == [1, 2, 3, 6, 4, 5]
    assert account.dropped == {}


async def test_a_rest_that_no_door_waits_with_yet_moves_to_the_successor() -> None:
    """A door may be waiting for another queue; to wait or to abandon comes later and is booked once."""
    old = open_queue(records=1)
    old.put_nowait(batch(0, 1))
    rests = [old.put_nowait(batch(n, 1)) for n in (1, 2)]
    new = open_queue(records=2, account=old.account)
    new.adopt(old)
    old.retire("reload")
    assert is_balanced(old.account)
    assert new.account.queued == 3
    await old.wait_put(rests[0], patience_s=5.0)  # type: ignore[arg-type]
    assert is_balanced(old.account)
    old.abandon(rests[1], "shutdown")  # type: ignore[arg-type]
    assert is_balanced(old.account)
    assert await take(new) == [0, 1]
    assert new.account.dropped == {"shutdown": 1}


async def test_cancelled_door_after_a_succession_books_in_the_successor() -> None:
    """Nothing is counted twice, whichever queue the door was parked in."""
    old = open_queue(records=1)
    rest = old.put_nowait(batch(0, 1)) or old.put_nowait(batch(1, 3))
    assert rest is not None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: old.wait_put(rest, patience_s=5.0))
        await wait_all_tasks_blocked()
        new = open_queue(records=1, account=old.account)
        new.adopt(old)
        nursery.cancel_scope.cancel()
    assert is_balanced(old.account)
    assert new.account.dropped == {"shutdown": 3}


async def test_a_retired_queue_holds_nothing() -> None:
    """It leaves the account, and a lease must have ended before."""
    queue = open_queue()
    queue.put_nowait(batch(0, 3))
    async with queue.lease(1):
        with pytest.raises(AssertionError):
            queue.retire("reload")
    queue.retire("reload")
    assert queue.account.dropped == {"reload": 3}
    assert queue.account.queued == 0
    assert is_balanced(queue.account)
