"""The ledger's account of a recorder, kept from what its rings and finished segments say.

``received = packets of the rings + kernel's drops``; a packet is delivered when readers find it in a file, or in
memory; what is in no file yet is queued. Segments that are lost afterwards take their packets back.
"""

from __future__ import annotations

from collections.abc import Iterable

from appliance.native import RingCounts
from appliance.runtime.ledger import Account

from .files import FileShelf
from .group import Group
from .segment import Finished

__all__ = ["Books", "Totals"]


class Totals:
    """Sums over all rings that there ever were, since the appliance was started."""

    def __init__(self) -> None:
        self.packets = self.bytes = self.stored = self.waiting = 0
        self.kernel_drops = self.discarded = self.cut = self.cut_bytes = 0
        self.truncated = self.hardware_times = self.damaged = 0

    def add(self, now: RingCounts, before: RingCounts | None) -> None:
        """Add what one ring counted between two looks."""
        for name in ("packets", "bytes", "stored", "waiting", "kernel_drops", "discarded", "cut", "cut_bytes",
                     "truncated", "hardware_times", "damaged"):  # fmt: skip
            grown = getattr(now, name) - (getattr(before, name) if before is not None else 0)
            setattr(self, name, getattr(self, name) + grown)


class Books:
    """See the module. For the event loop.

    Args:
        account: where it is booked.
    """

    def __init__(self, account: Account) -> None:
        self.account = account
        self.totals = Totals()
        self.lost = 0
        """Packets that a ring had stored, and whose file did not keep them."""
        self._seen: dict[object, RingCounts] = {}
        self._finished = 0
        """Packets of finished segments."""
        self._delivered = 0
        self._queued = 0

    def finished(self, outcome: Finished) -> None:
        """A segment has come to its end and is no member of its shelf any more; `look` follows at once."""
        segment = outcome.segment
        kept = segment.packets if outcome.path is not None else 0
        lost = segment.packets + segment.lost_packets - kept
        self._finished += kept
        self.lost += lost
        self.account.drop(outcome.reason or "disk", lost)

    def look(self, groups: Iterable[Group]) -> None:
        """Book what is new."""
        totals = self.totals
        before = totals.packets + totals.kernel_drops, totals.kernel_drops, totals.cut, totals.discarded
        visible = self._finished
        reason = "disk"
        for group in groups:
            # The files first: the counters are never behind them.
            for shelf in group.files:
                visible += sum(segment.packets for segment in list(shelf.unfinished))
            for member in group.members:
                now = member.counts
                totals.add(now, self._seen.get(member))
                self._seen[member] = now
                reason = member.shelf.reason
                if not isinstance(member.shelf, FileShelf):
                    visible += self._in_memory(now)
        account = self.account
        account.received += totals.packets + totals.kernel_drops - before[0]
        account.drop("kernel", totals.kernel_drops - before[1])
        account.drop("cutoff", totals.cut - before[2])
        account.drop(reason, totals.discarded - before[3])
        account.delivered += visible - self._delivered
        self._delivered = visible
        self._queued = totals.stored + totals.waiting - visible - self.lost

    def _in_memory(self, now: RingCounts) -> int:
        return now.stored

    def forget(self, group: Group) -> None:
        """Its rings are closed and its segments finished: it is looked at no more."""
        for member in group.members:
            counts = self._seen.pop(member, None)
            if counts is not None and not isinstance(member.shelf, FileShelf):
                self._finished += counts.stored

    @property
    def queued(self) -> int:
        return self._queued
