"""The bounded queue between the dispatcher and one consumer.

The bound is counted in records and in bytes and covers what waits and what is leased. When it is reached the policy
decides: ``drop_newest`` refuses what does not fit, ``drop_oldest`` makes room, ``block`` keeps the door waiting. Every
record that does not reach the consumer is booked in the account, by reason.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import trio

from appliance.model import Item, LogBatch

from .ledger import Account

__all__ = ["ItemQueue", "Parcel", "QueueFigures"]


class QueueFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What a queue held at one moment."""

    policy: str
    records: int
    """Waiting and leased."""
    size: int
    """Their bytes."""
    max_records: int
    max_bytes: int
    stalled: bool
    """The consumer has taken nothing for so long that doors no longer wait for it."""


def _tail(items: list[Item], settled: int) -> list[Item]:
    """What is left of `items` without their first `settled` records."""
    rest: list[Item] = []
    for item in items:
        if settled >= item.count:
            settled -= item.count
        elif settled and isinstance(item, LogBatch):
            rest.append(item.split(settled)[1])
            settled = 0
        else:
            rest.append(item)
    return rest


class Parcel:
    """Items leased to a consumer, which settles their records from the front: delivered, or dropped for a reason.

    What is not settled when the lease ends goes back to the head of the queue.
    """

    def __init__(self, items: list[Item], account: Account) -> None:
        self.items = items
        self.count = sum(item.count for item in items)
        self.settled = 0
        self._account = account

    @property
    def left(self) -> int:
        """Records not settled yet."""
        return self.count - self.settled

    def deliver(self, count: int) -> None:
        assert count <= self.left
        self._account.delivered += count
        self.settled += count

    def drop(self, reason: str, count: int) -> None:
        assert count <= self.left
        self._account.drop(reason, count)
        self.settled += count


class ItemQueue:
    """See the module. One item always fits into an empty queue, however large.

    Args:
        account: where every record is booked; the queue becomes its holder.
        policy: ``block``, ``drop_oldest`` or ``drop_newest``.
        max_records: bound on records.
        max_bytes: bound on their bytes.
    """

    def __init__(self, account: Account, *, policy: str, max_records: int, max_bytes: int) -> None:
        self.account = account
        self._items: deque[Item] = deque()
        self._waiting = self._leased = self._pending = 0
        self._bytes = self._leased_bytes = 0
        self._takers = trio.lowlevel.ParkingLot()
        self._putters = trio.lowlevel.ParkingLot()
        self._progress = 0
        self._stalled = False
        self._closed = False
        self._successor: ItemQueue | None = None
        account.add_holder(self._count)
        self.configure(policy=policy, max_records=max_records, max_bytes=max_bytes)

    def configure(self, *, policy: str, max_records: int, max_bytes: int) -> None:
        """Change policy and bounds; what waits beyond a smaller bound stays."""
        self.policy, self.max_records, self.max_bytes = policy, max_records, max_bytes
        self._putters.unpark_all()

    def _count(self) -> int:
        return self._waiting + self._leased + self._pending

    def statistics(self) -> QueueFigures:
        return QueueFigures(
            policy=self.policy,
            records=self._waiting + self._leased,
            size=self._bytes + self._leased_bytes,
            max_records=self.max_records,
            max_bytes=self.max_bytes,
            stalled=self._stalled,
        )

    # ── the dispatcher's side ──

    def put_nowait(self, item: Item) -> Item | None:
        """Take `item` in as far as the policy allows; what it drops is booked.

        Returns:
            With policy ``block``, the part that must wait for room (see `wait_put`), else None.
        """
        self.account.received += item.count
        rest = self._admit(item)
        if rest is not None:
            self._pending += rest.count
            self._takers.unpark_all()
        return rest

    async def wait_put(self, rest: Item, *, patience_s: float) -> None:
        """Put what `put_nowait` gave back, as room appears. Each rest must come here or to `abandon`.

        A consumer that settles nothing for `patience_s` is stalled: the rest is dropped for ``stalled``, and until
        the consumer moves again nobody waits for it.

        Cancellation: the rest is dropped for ``shutdown``.
        """
        left: Item | None = rest
        try:
            while True:
                if self._successor is not None:
                    self._pending -= left.count
                    self._successor._pending += left.count
                    queue, held, left = self._successor, left, None
                    await queue.wait_put(held, patience_s=patience_s)
                    return
                self._pending -= left.count
                left = self._admit(left)
                if left is None:
                    return
                self._pending += left.count
                if self._stalled:
                    break
                before = self._progress
                with trio.move_on_after(patience_s):
                    await self._putters.park()
                self._stalled = self._progress == before and not self._closed
        except trio.Cancelled:
            if left is not None:
                self.abandon(left, "shutdown")
            raise
        self.abandon(left, "stalled")

    def abandon(self, rest: Item, reason: str) -> None:
        """Drop what `put_nowait` gave back."""
        self._pending -= rest.count
        self.account.drop(reason, rest.count)

    def close(self) -> None:
        """No more items; leases go on until the queue is empty. Later puts are dropped for ``shutdown``."""
        self._closed = True
        self._takers.unpark_all()
        self._putters.unpark_all()

    def adopt(self, other: ItemQueue) -> None:
        """Succeed `other`, a queue of the same account: what waits there comes before everything that waits here, and
        what a door still tries to put there comes here.
        """
        other._successor = self
        self._items.extendleft(reversed(other._items))
        self._waiting += other._waiting
        self._bytes += other._bytes
        other._items.clear()
        other._waiting = other._bytes = 0
        other.close()
        self._takers.unpark_all()

    def retire(self, reason: str) -> None:
        """The consumer is gone for good: drop what waits and leave the account."""
        self.close()
        self.account.drop(reason, self._waiting)
        self._items.clear()
        self._waiting = self._bytes = 0
        self.account.remove_holder(self._count)

    # ── the consumer's side ──

    @property
    def waiting(self) -> int:
        """Records that wait to be leased."""
        return self._waiting

    @property
    def is_closed(self) -> bool:
        return self._closed

    async def wait_filled(self, size: int) -> None:
        """Wait until `size` bytes wait, a bound is half reached, a door is kept waiting, or the queue is closed."""
        while not (
            self._bytes >= size
            or 2 * self._waiting >= self.max_records
            or 2 * self._bytes >= self.max_bytes
            or self._pending
            or self._closed
        ):
            await self._takers.park()

    async def wait_any(self) -> None:
        """Wait until something waits, or the queue is closed."""
        while not self._items and not self._closed:
            await self._takers.park()

    @asynccontextmanager
    async def lease(self, max_records: int) -> AsyncIterator[Parcel]:
        """Wait for items and lease some, at most `max_records` records.

        What the body does not settle goes back to the head of the queue, whether it ends well, fails or is cancelled.

        Raises:
            trio.EndOfChannel: the queue was closed and is empty.
        """
        await trio.lowlevel.checkpoint()
        while not self._items:
            if self._closed:
                raise trio.EndOfChannel
            await self._takers.park()
        parcel = Parcel(self._take(max_records), self.account)
        size = sum(item.size for item in parcel.items)
        self._leased += parcel.count
        self._leased_bytes += size
        try:
            yield parcel
        finally:
            self._leased -= parcel.count
            self._leased_bytes -= size
            if parcel.left:
                rest = _tail(parcel.items, parcel.settled)
                self._items.extendleft(reversed(rest))
                self._waiting += parcel.left
                self._bytes += sum(item.size for item in rest)
                self._takers.unpark()
            if parcel.settled:
                self._moved()

    def _take(self, max_records: int) -> list[Item]:
        taken: list[Item] = []
        count = 0
        while self._items and (not taken or count + self._items[0].count <= max_records):
            item = self._items.popleft()
            if isinstance(item, LogBatch) and item.count > max_records:
                item, rest = item.split(max_records)
                self._items.appendleft(rest)
            taken.append(item)
            count += item.count
            self._bytes -= item.size
        self._waiting -= count
        return taken

    def _moved(self) -> None:
        self._progress += 1
        self._stalled = False
        self._putters.unpark_all()

    # ── bounds and policies ──

    def _fits(self, item: Item) -> bool:
        records, size = self._waiting + self._leased, self._bytes + self._leased_bytes
        return not records or (records + item.count <= self.max_records and size + item.size <= self.max_bytes)

    def _append(self, item: Item) -> None:
        self._items.append(item)
        self._waiting += item.count
        self._bytes += item.size
        self._takers.unpark()

    def _admit(self, item: Item) -> Item | None:
        if self._closed:
            self.account.drop("shutdown", item.count)
            return None
        if self.policy == "drop_oldest":
            self._evict_for(item)
        if self._fits(item):
            self._append(item)
            return None
        rest = self._append_part(item)
        if self.policy == "block":
            return rest
        self.account.drop("queue_full", rest.count)
        return None

    def _append_part(self, item: Item) -> Item:
        """Append the first records that fit; returns the others."""
        room = self.max_records - self._waiting - self._leased
        size = self._bytes + self._leased_bytes
        if isinstance(item, LogBatch) and 0 < room < item.count:
            head, rest = item.split(room)
            if size + head.size <= self.max_bytes:
                self._append(head)
                return rest
        return item

    def _evict_for(self, item: Item) -> None:
        """Drop the oldest records, as few as possible, until `item` fits or nothing waits."""
        while self._items and not self._fits(item):
            oldest = self._items.popleft()
            over = self._waiting + self._leased + item.count - self.max_records
            bytes_fit = self._bytes + self._leased_bytes + item.size <= self.max_bytes
            if isinstance(oldest, LogBatch) and bytes_fit and 0 < over < oldest.count:
                dropped, rest = oldest.split(over)
                self._items.appendleft(rest)
            else:
                dropped = oldest
            self._waiting -= dropped.count
            self._bytes -= dropped.size
            self.account.drop("queue_full", dropped.count)
