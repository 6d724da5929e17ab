"""The bounded queue between the dispatcher and one consumer.

The bound is counted in records and in bytes and covers what waits and what is leased. When it is reached the policy
decides: ``drop_newest`` refuses what does not fit, ``drop_oldest`` makes room, ``block`` keeps the door waiting. Every
record that does not reach the consumer is booked in the account, by reason.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager

import msgspec
import trio

from appliance.model import EventBatch, Item, LogBatch

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
        elif settled and isinstance(item, LogBatch | EventBatch):
            rest.append(item.split(settled)[1])
            settled = 0
        else:
            rest.append(item)
    return rest


class Parcel:
    """Items leased to a consumer, which settles their records from the front: delivered, or dropped for a reason.

    What is not settled when the lease ends goes back to the head of the queue.
    """

    def __init__(self, items: list[Item], account: Account, settle: Callable[[int], None]) -> None:
        self.items = items
        self.count = sum(item.count for item in items)
        self.settled = 0
        self._account = account
        self._settle = settle

    @property
    def left(self) -> int:
        """Records not settled yet."""
        return self.count - self.settled

    def deliver(self, count: int) -> None:
        self._advance(count)
        self._account.delivered += count

    def drop(self, reason: str, count: int) -> None:
        self._advance(count)
        self._account.drop(reason, count)

    def _advance(self, count: int) -> None:
        assert 0 <= count <= self.left
        if count:
            self.settled += count
            self._settle(count)


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
        self._stuck_since_s: float | None = None
        self._stalled = False
        self._closed = self._retired = False
        self._successor: ItemQueue | None = None
        account.add_holder(self._count)
        self.configure(policy=policy, max_records=max_records, max_bytes=max_bytes)

    def configure(self, *, policy: str, max_records: int, max_bytes: int) -> None:
        """Change policy and bounds; what waits beyond a smaller bound stays."""
        self.policy, self.max_records, self.max_bytes = policy, max_records, max_bytes
        self._takers.unpark_all()
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
            self._keep_waiting(rest.count)
        return rest

    async def wait_put(self, rest: Item, *, patience_s: float) -> None:
        """Put what `put_nowait` gave back, as room appears. Each rest must come here or to `abandon`.

        A consumer that settles nothing for `patience_s` while somebody waits is stalled: the rest is dropped for
        ``stalled``, and until the consumer moves again nobody with this patience waits for it.

        Cancellation: the rest is dropped for ``shutdown``.
        """
        while self._successor is None and not self._retired:
            left = self._admit(rest)
            self._pending -= rest.count - (left.count if left is not None else 0)
            if left is None:
                return
            rest = left
            assert self._stuck_since_s is not None
            deadline_s = self._stuck_since_s + patience_s
            if trio.current_time() >= deadline_s:
                self._stalled = True
                self.abandon(rest, "stalled")
                return
            try:
                with trio.move_on_at(deadline_s):
                    await self._putters.park()
            except BaseException:
                self.abandon(rest, "shutdown")
                raise
        if self._successor is not None:
            await self._successor.wait_put(rest, patience_s=patience_s)

    def abandon(self, rest: Item, reason: str) -> None:
        """Drop what `put_nowait` gave back."""
        if self._successor is not None:
            self._successor.abandon(rest, reason)
        elif not self._retired:  # else it was booked then
            self._pending -= rest.count
            self.account.drop(reason, rest.count)

    def close(self) -> None:
        """No more items; leases go on until the queue is empty. Later puts are dropped for ``shutdown``."""
        self._closed = True
        self._takers.unpark_all()
        self._putters.unpark_all()

    def adopt(self, other: ItemQueue) -> None:
        """Succeed `other`, a queue of the same account: what waits there comes before everything that waits here. What
        a door still tries to put there, and what a consumer of it gives back, comes here.
        """
        self._give_back(other._items)
        if other._pending:
            self._keep_waiting(other._pending)
        other._items.clear()
        other._waiting = other._bytes = other._pending = 0
        other._successor = self
        other.close()

    def retire(self, reason: str) -> None:
        """The consumer is gone for good: drop what waits here, and what doors hold for it, and leave the account."""
        assert not self._leased
        self.close()
        self._retired = True
        self.account.drop(reason, self._waiting + self._pending)
        self._items.clear()
        self._waiting = self._bytes = self._pending = 0
        self.account.remove_holder(self._count)

    def _keep_waiting(self, count: int) -> None:
        """A door holds `count` records for which there is no room."""
        self._pending += count
        if self._stuck_since_s is None:
            self._stuck_since_s = trio.current_time()
        self._takers.unpark_all()

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
        parcel = Parcel(self._take(max_records), self.account, self._settle)
        size = sum(item.size for item in parcel.items)
        self._leased += parcel.count
        self._leased_bytes += size
        if self._items:
            self._takers.unpark()  # one put wakes one worker; there is more than it could carry
        try:
            yield parcel
        finally:
            self._leased -= parcel.left
            self._leased_bytes -= size
            if parcel.left:
                self._give_back(_tail(parcel.items, parcel.settled))
            if parcel.settled:
                self._putters.unpark_all()

    def _take(self, max_records: int) -> list[Item]:
        taken: list[Item] = []
        count = 0
        while self._items and (not taken or count + self._items[0].count <= max_records):
            item = self._items.popleft()
            if isinstance(item, LogBatch | EventBatch) and item.count > max_records:
                item, rest = item.split(max_records)
                self._items.appendleft(rest)
            taken.append(item)
            count += item.count
            self._bytes -= item.size
        self._waiting -= count
        return taken

    def _give_back(self, items: Collection[Item]) -> None:
        """Put `items` before everything that waits."""
        if self._successor is not None:
            self._successor._give_back(items)  # noqa: SLF001 - a queue like this one
            return
        self._items.extendleft(reversed(list(items)))
        self._waiting += sum(item.count for item in items)
        self._bytes += sum(item.size for item in items)
        self._takers.unpark_all()

    def _settle(self, count: int) -> None:
        """The consumer moves: it has settled `count` records of a lease.

        Doors are told of the room when the lease ends: a batch that is cut record by record costs its square.
        """
        self._leased -= count
        self._stalled = False
        self._stuck_since_s = trio.current_time() if self._pending else None

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
        """Take in what the policy allows; returns what must wait."""
        if self._closed:
            self.account.drop("shutdown", item.count)
        elif self._fits(item):
            self._append(item)
        elif self.policy == "drop_oldest":
            self._append(item)
            self._evict()
        else:
            rest = self._append_part(item)
            if self.policy == "block":
                return rest
            self.account.drop("queue_full", rest.count)
        return None

    def _append_part(self, item: Item) -> Item:
        """Append the first records that fit; returns the others."""
        if isinstance(item, LogBatch | EventBatch):
            room = self.max_records - self._waiting - self._leased
            room_bytes = max(0, self.max_bytes - self._bytes - self._leased_bytes)
            count = min(room, item.complete_in(room_bytes))
            if count > 0:
                head, item = item.split(count)
                self._append(head)
        return item

    def _evict(self) -> None:
        """Drop the oldest waiting records, as few as possible, until the bounds hold or one item is all there is."""
        while self._items and (self._leased or len(self._items) > 1):
            over = self._waiting + self._leased - self.max_records
            over_bytes = self._bytes + self._leased_bytes - self.max_bytes
            if over <= 0 and over_bytes <= 0:
                return
            oldest = self._items.popleft()
            if isinstance(oldest, LogBatch | EventBatch):
                if over_bytes > 0:
                    over = max(over, oldest.complete_in(over_bytes - 1) + 1)
                if over < oldest.count:
                    oldest, rest = oldest.split(over)
                    self._items.appendleft(rest)
            self._waiting -= oldest.count
            self._bytes -= oldest.size
            self.account.drop("queue_full", oldest.count)
