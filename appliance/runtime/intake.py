"""What every queue between the dispatcher and a consumer has in common: the side of the doors, and succession.

A queue takes in what its policy allows. With policy ``block`` the rest waits at the door, for as long as the consumer
moves.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager

import msgspec
import trio

from appliance.model import EventBatch, Item, LogBatch

from .journal.entries import Failure
from .ledger import Account
from .reasons import DELIBERATE
from .receipts import Fate

__all__ = ["ConsumerQueue", "Parcel", "QueueFigures"]


class QueueFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What a queue held at one moment."""

    policy: str
    records: int
    """Waiting and leased."""
    leased: int
    """The part of `records` that is in the consumer's hands."""
    size: int
    """Bytes of `records`."""
    max_records: int
    max_bytes: int
    stalled: bool
    """The consumer has taken nothing for so long that doors no longer wait for it."""
    durable: bool = False
    oldest_s: float | None = None
    """How long ago the oldest of `records` arrived; None: there is none, or nobody knows."""
    retrying: int = 0
    """The part of `records` that failed and waits for another attempt."""
    retried: int = 0
    """Failed attempts that another one followed."""
    dead: int = 0
    """Records that became dead letters in this run."""


class Parcel:
    """Items leased to a consumer, which settles their records from the front: delivered, or dropped for a reason.

    What is not settled when the lease ends goes back to the head of the queue.

    Args:
        items: what is leased.
        account: where it is booked.
        settle: hears how many records were settled.
        attempt: the number of the attempt that is made with them.
        fail: takes the first record that is left, whose attempt failed; None: nothing is tried again.
    """

    def __init__(
        self,
        items: list[Item],
        account: Account,
        settle: Callable[[int], None],
        *,
        attempt: int = 1,
        fail: Callable[[Failure], None] | None = None,
    ) -> None:
        self.items = items
        self.count = sum(item.count for item in items)
        self.settled = 0
        self._account = account
        self.attempt = attempt
        self._settle = settle
        self._fail = fail

    @property
    def left(self) -> int:
        """Records not settled yet."""
        return self.count - self.settled

    def deliver(self, count: int) -> None:
        self._advance(count)
        self._account.delivered += count
        self._account.report(self.items, self.settled - count, self.settled, "done")

    def drop(self, reason: str, count: int) -> None:
        self._advance(count)
        self._account.drop(reason, count)
        fate: Fate = "done" if reason in DELIBERATE else "failed"
        self._account.report(self.items, self.settled - count, self.settled, fate)

    def fail(self, failure: Failure) -> None:
        """The attempt with the next record failed: it is tried again later, or dropped for the failure's reason."""
        if self._fail is None:
            self.drop(failure.reason, 1)
        else:
            assert self.left
            self.settled += 1
            self._fail(failure)

    def _advance(self, count: int) -> None:
        assert 0 <= count <= self.left
        if count:
            self.settled += count
            self._settle(count)


class ConsumerQueue(ABC):
    """See the module. One item always fits into an empty queue, however large.

    Args:
        account: where every record is booked; the queue becomes its holder.
        policy: ``block``, ``drop_oldest`` or ``drop_newest``.
        max_records: bound on records.
        max_bytes: bound on their bytes.
    """

    is_durable = False
    """Whether what it holds outlives the process."""

    def __init__(self, account: Account, *, policy: str, max_records: int, max_bytes: int) -> None:
        self.account = account
        self.policy, self.max_records, self.max_bytes = policy, max_records, max_bytes
        self._pending = 0
        self._takers = trio.lowlevel.ParkingLot()
        self._putters = trio.lowlevel.ParkingLot()
        self._stuck_since_s: float | None = None
        self._stalled = False
        self._closed = self._retired = False
        self._successor: ConsumerQueue | None = None
        account.add_holder(self._count)

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

    def has_room(self, item: Item) -> bool:
        """Whether `put_nowait` would take all of `item` in."""
        return not self._closed and self._successor is None and self._fits(item)

    def close(self) -> None:
        """No more items; leases go on until the queue is empty. Later puts are dropped for ``shutdown``."""
        self._closed = True
        self._takers.unpark_all()
        self._putters.unpark_all()

    def adopt(self, other: ConsumerQueue) -> None:
        """Succeed `other`, a queue of the same account: what waits there comes before everything that waits here. What
        a door still tries to put there, and what a consumer of it gives back, comes here.
        """
        self._inherit(other._hand_over())
        if other._pending:
            self._keep_waiting(other._pending)
        other._pending = 0
        other._successor = self
        other.close()

    def retire(self, reason: str) -> None:
        """The consumer is gone for good: drop what would be lost with the process, and what doors hold for it."""
        self.close()
        self._retired = True
        self.account.drop(reason, self._discard() + self._pending)
        self._pending = 0
        self.account.remove_holder(self._count)

    def _keep_waiting(self, count: int) -> None:
        """A door holds `count` records for which there is no room."""
        self._pending += count
        if self._stuck_since_s is None:
            self._stuck_since_s = trio.current_time()
        self._takers.unpark_all()

    # ── the consumer moves ──

    def _note_progress(self) -> None:
        """The consumer is not stalled."""
        self._stalled = False
        self._stuck_since_s = trio.current_time() if self._pending else None

    # ── bounds and policies ──

    def _fits(self, item: Item) -> bool:
        records, size = self._held()
        return not records or (records + item.count <= self.max_records and size + item.size <= self.max_bytes)

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
            records, size = self._held()
            count = min(self.max_records - records, item.complete_in(max(0, self.max_bytes - size)))
            if count > 0:
                head, item = item.split(count)
                self._append(head)
        return item

    # ── what each kind does its own way ──

    async def open(self) -> None:  # noqa: B027 - most have nothing to do
        """Be ready for the consumer; called by it before it begins.

        Raises:
            OSError: what the queue needs is not there.
        """

    @abstractmethod
    def lease(self, max_records: int) -> AbstractAsyncContextManager[Parcel]:
        """Wait for items and lease some, at most `max_records` records.

        What the body does not settle goes back to the head of the queue, whether it ends well, fails or is cancelled.

        Raises:
            trio.EndOfChannel: the queue was closed and there is nothing more to do.
        """

    @abstractmethod
    def statistics(self) -> QueueFigures: ...

    @abstractmethod
    def _count(self) -> int:
        """What the account is told that is queued."""

    @abstractmethod
    def _held(self) -> tuple[int, int]:
        """Records and bytes that count towards the bounds."""

    @abstractmethod
    def _append(self, item: Item) -> None: ...

    @abstractmethod
    def _evict(self) -> None:
        """Drop the oldest waiting records, as few as possible, until the bounds hold or one item is all there is."""

    @abstractmethod
    def _hand_over(self) -> list[Item]:
        """Give everything that waits here to a successor."""

    @abstractmethod
    def _inherit(self, items: Collection[Item]) -> None:
        """Put `items` before everything that waits."""

    @abstractmethod
    def _discard(self) -> int:
        """Forget what waits here and nowhere else; returns how many records."""
