"""The durable queue between the dispatcher and one hook: what it takes in is written to the journal, and leaves it when
the hook has settled it, in this process or in a later one.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from functools import partial

import trio

from appliance.model import Item

from .intake import ConsumerQueue, Parcel, QueueFigures
from .journal.backlog import Backlog
from .journal.entries import Failure
from .journal.journal import Journal
from .journal.lease import Lease
from .journal.shelf import RetryPolicy

__all__ = ["DurableQueue"]

MAX_UNWRITTEN = 16 << 20
"""Bytes that may wait for the disk. Beyond them the policy decides."""


class DurableQueue(ConsumerQueue):
    """See the module. All queues of one hook, one after the other, share its backlog.

    Args:
        journal: where records are written.
        backlog: of the hook.
        policy: ``block``, ``drop_oldest`` or ``drop_newest``: when a bound is reached, or the disk takes nothing.
        max_records: bound on records, with those that wait for another attempt.
        max_bytes: bound on their bytes.
        retry: how often a record is tried.
    """

    is_durable = True

    def __init__(
        self,
        journal: Journal,
        backlog: Backlog,
        *,
        policy: str,
        max_records: int,
        max_bytes: int,
        retry: RetryPolicy,
    ) -> None:
        super().__init__(backlog.account, policy=policy, max_records=max_records, max_bytes=max_bytes)
        self.retry = retry
        self._journal = journal
        self._backlog = backlog

    async def open(self) -> None:
        if self not in self._backlog.fronts:
            self._backlog.fronts.append(self)
        await self._backlog.open()

    def statistics(self) -> QueueFigures:
        records, size = self._held()
        return QueueFigures(
            policy=self.policy,
            records=records,
            leased=self._backlog.in_hands,
            size=size,
            max_records=self.max_records,
            max_bytes=self.max_bytes,
            stalled=self._stalled,
            durable=True,
            oldest_s=self._backlog.oldest_s(),
            retrying=self._backlog.letters,
            retried=self._backlog.retried,
            dead=self._backlog.dead,
        )

    # ── the journal's side ──

    def moved(self) -> None:
        """There is more room, or progress."""
        self._note_progress()
        self._putters.unpark_all()

    def arrived(self) -> None:
        """Something came into memory."""
        if self.policy == "drop_oldest":
            self._evict()
        self._takers.unpark_all()

    # ── the consumer's side ──

    @asynccontextmanager
    async def lease(self, max_records: int) -> AsyncIterator[Parcel]:
        """See `ConsumerQueue.lease`. A record that is tried again is leased alone: if it is what ends the process, no
        other one pays for it.

        What is leased is written down before the body begins: after a crash it is tried again as a second attempt.
        """
        lease = await self._wait_lease(max_records)
        parcel = Parcel(
            lease.items,
            self.account,
            partial(self._settle, lease),
            attempt=lease.attempt,
            fail=partial(self._fail, lease),
        )
        try:
            await self._journal.wait_written(self._journal.number)
            yield parcel
        finally:
            if lease.letter is None:
                lease.give_back()
            elif parcel.left:
                self._backlog.give_back_letter(lease.letter)
            if parcel.settled:
                self._putters.unpark_all()

    async def _wait_lease(self, max_records: int) -> Lease:
        await trio.lowlevel.checkpoint()
        while True:
            if self._successor is not None or (self._closed and not self._backlog.waiting):
                raise trio.EndOfChannel
            lease = self._backlog.take(max_records)
            if lease is None:
                self._backlog.pump()
                due_s = self._backlog.next_due_s()
                with trio.move_on_after(math.inf if due_s is None else due_s):
                    await self._takers.park()
            elif not self._backlog.bury_if_spent(lease, self.retry):
                return lease

    def _settle(self, lease: Lease, count: int) -> None:
        lease.settle(count)
        self._note_progress()

    def _fail(self, lease: Lease, failure: Failure) -> None:
        lease.fail(failure, self.retry)
        self._note_progress()

    # ── bounds ──

    def _count(self) -> int:
        return self._pending  # the backlog tells of the others

    def _held(self) -> tuple[int, int]:
        return self._backlog.records, self._backlog.size

    def _fits(self, item: Item) -> bool:
        unwritten = self._backlog.unwritten_size
        return super()._fits(item) and (not unwritten or unwritten + item.size <= MAX_UNWRITTEN)

    def _admit(self, item: Item) -> Item | None:
        unwritten = self._backlog.unwritten_size
        if self._closed or not unwritten or unwritten + item.size <= MAX_UNWRITTEN:
            return super()._admit(item)
        if self.policy == "block":
            return item
        self.account.drop("disk", item.count)
        return None

    def _append(self, item: Item) -> None:
        self._backlog.append(item)

    def _evict(self) -> None:
        over = self._backlog.records - self.max_records
        while over > 0 or (self._backlog.size > self.max_bytes and self._backlog.records > 1):
            if not self._backlog.evict(max(1, over)):
                return
            over = self._backlog.records - self.max_records

    def _hand_over(self) -> list[Item]:
        return []

    def _inherit(self, items: Collection[Item]) -> None:
        for item in items:
            self._append(item)

    def _discard(self) -> int:
        if self in self._backlog.fronts:
            self._backlog.fronts.remove(self)
        return 0
