"""The bounded queue in memory between the dispatcher and one consumer.

The bound is counted in records and in bytes and covers what waits and what is leased. When it is reached the policy
decides: ``drop_newest`` refuses what does not fit, ``drop_oldest`` makes room, ``block`` keeps the door waiting. Every
record that does not reach the consumer is booked in the account, by reason.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import trio

from appliance.model import EventBatch, Item, LogBatch

from .intake import ConsumerQueue, Parcel, QueueFigures
from .ledger import Account

__all__ = ["ItemQueue", "Parcel", "QueueFigures"]


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


class ItemQueue(ConsumerQueue):
    """See the module. Its arguments are those of every `ConsumerQueue`."""

    def __init__(self, account: Account, *, policy: str, max_records: int, max_bytes: int) -> None:
        self._items: deque[Item] = deque()
        self._waiting = self._leased = 0
        self._bytes = self._leased_bytes = 0
        super().__init__(account, policy=policy, max_records=max_records, max_bytes=max_bytes)

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
            leased=self._leased,
            size=self._bytes + self._leased_bytes,
            max_records=self.max_records,
            max_bytes=self.max_bytes,
            stalled=self._stalled,
        )

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
                self._inherit(_tail(parcel.items, parcel.settled))
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

    def _inherit(self, items: Collection[Item]) -> None:
        if self._successor is not None:
            self._successor._inherit(items)  # noqa: SLF001 - a queue like this one
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
        self._note_progress()

    # ── bounds ──

    def _held(self) -> tuple[int, int]:
        return self._waiting + self._leased, self._bytes + self._leased_bytes

    def _append(self, item: Item) -> None:
        self._items.append(item)
        self._waiting += item.count
        self._bytes += item.size
        self._takers.unpark()

    def _hand_over(self) -> list[Item]:
        items = list(self._items)
        self._items.clear()
        self._waiting = self._bytes = 0
        return items

    def _discard(self) -> int:
        assert not self._leased
        count = self._waiting
        self._hand_over()
        return count

    def _evict(self) -> None:
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
            self.account.report([oldest], 0, oldest.count, "lost")
