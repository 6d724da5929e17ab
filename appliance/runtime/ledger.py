"""The ledger: one account for each door and consumer, and the identity that says nothing was lost silently.

``received = delivered + dropped{reason} + queued`` holds for every account at every moment. What is queued is not
derived from the other figures: the holder of the items is asked how many it holds, so a mistake shows as an imbalance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec

from appliance.model import Item

from .reasons import DELIBERATE, REFUSED
from .receipts import Fate, Receipts, things_in

__all__ = ["MAX_ENDED", "Account", "AccountFigures", "Ledger"]

MAX_ENDED = 256
"""Accounts that are shown although nobody books in them any more."""


class AccountFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What an account held at one moment."""

    name: str
    unit: str
    """What is counted: ``records`` or ``packets``."""
    received: int
    recovered: int
    """The part of `received` that came out of the journal: left by an earlier run, or dead letters to be tried."""
    delivered: int
    queued: int
    dropped: dict[str, int]
    """Count by reason; each is one of the next three kinds."""
    lost: int
    """The part of `dropped` that nobody wanted to happen."""
    refused: int
    """The part of `dropped` that was no valid input."""
    filtered: int
    """The part of `dropped` that the configuration asked for."""
    imbalance: int
    """received - delivered - dropped - queued: 0, or the ledger is wrong."""


class Account:
    """The books of one door or consumer, in plain integers.

    Args:
        name: e.g. ``zmq.bro``, ``sink.archive``.
        unit: what is counted, ``records`` or ``packets``.
        receipts: carries what becomes of files and folders; None: nobody asks.
    """

    __slots__ = ("_holders", "_keepers", "_receipts", "delivered", "dropped", "name", "received", "recovered", "unit")

    def __init__(self, name: str, *, unit: str = "records", receipts: Receipts | None = None) -> None:
        self.name = name
        self.unit = unit
        self._receipts = receipts
        self.received = 0
        self.recovered = 0
        self.delivered = 0
        self.dropped: dict[str, int] = {}
        self._holders: list[Callable[[], int]] = []
        self._keepers: list[Callable[[], int]] = []

    def add_holder(self, count: Callable[[], int], *, kept: Callable[[], int] | None = None) -> None:
        """Name somebody who holds what is neither delivered nor dropped; `count` is asked at every look, and `kept` for
        the part of it that is on disk. Who keeps something never leaves.
        """
        self._holders.append(count)
        if kept is not None:
            self._keepers.append(kept)

    def remove_holder(self, count: Callable[[], int]) -> None:
        """That holder is gone and holds nothing."""
        self._holders.remove(count)

    def drop(self, reason: str, count: int) -> None:
        """Book `count` items as dropped for `reason`; nothing happens for 0."""
        if count:
            self.dropped[reason] = self.dropped.get(reason, 0) + count

    def report(self, items: Sequence[Item], begin: int, end: int, fate: Fate) -> None:
        """Tell the door of the files and folders among these records of `items` what became of them."""
        if self._receipts is not None:
            for thing in things_in(items, begin, end):
                self._receipts.report(thing, self.name, fate)

    def absorb(self, other: Account) -> None:
        """Take over what `other` has booked; it begins anew."""
        self.received += other.received
        self.delivered += other.delivered
        for reason, count in other.dropped.items():
            self.drop(reason, count)
        other.received = other.delivered = 0
        other.dropped.clear()

    @property
    def queued(self) -> int:
        return sum(count() for count in self._holders)

    @property
    def settled(self) -> int:
        """What the end of the process does not lose: delivered, dropped, or queued on disk."""
        return self.delivered + sum(self.dropped.values()) + sum(kept() for kept in self._keepers)

    @property
    def lost(self) -> int:
        return sum(n for reason, n in self.dropped.items() if reason not in DELIBERATE and reason not in REFUSED)

    def statistics(self) -> AccountFigures:
        queued, dropped = self.queued, dict(self.dropped)
        lost = self.lost
        refused = sum(n for reason, n in dropped.items() if reason in REFUSED)
        return AccountFigures(
            name=self.name,
            unit=self.unit,
            received=self.received,
            recovered=self.recovered,
            delivered=self.delivered,
            queued=queued,
            dropped=dropped,
            lost=lost,
            refused=refused,
            filtered=sum(dropped.values()) - lost - refused,
            imbalance=self.received - self.delivered - sum(dropped.values()) - queued,
        )


class Ledger:
    """All accounts, in the order in which they were opened. An account outlives restarts and reloads of its service.

    Of what comes and goes while running under ever-new names, `hold` and `release` tell when it is over. The last
    `MAX_ENDED` accounts that ended so stay; what is in older ones is added to a total, ``KIND.*``, so that nothing
    that was booked is ever lost.
    """

    def __init__(self) -> None:
        self.receipts = Receipts()
        self._accounts: dict[str, Account] = {}
        self._held: dict[str, int] = {}
        self._ended: dict[str, None] = {}
        """Names, the one that ended first in front."""

    def account(self, name: str, *, unit: str = "records") -> Account:
        """The account of that name, opened if there is none."""
        if name not in self._accounts:
            self._accounts[name] = Account(name, unit=unit, receipts=self.receipts)
        if name in self._ended:
            del self._ended[name]
            self._ended[name] = None
        return self._accounts[name]

    def hold(self, account: Account) -> None:
        """Somebody books in the account, until he calls `release`."""
        self._held[account.name] = self._held.get(account.name, 0) + 1
        self._ended.pop(account.name, None)
        self._accounts.setdefault(account.name, account)

    def release(self, account: Account) -> None:
        """He books nothing more, and has nothing queued."""
        self._held[account.name] -= 1
        if self._held[account.name]:
            return
        del self._held[account.name]
        self._ended[account.name] = None
        if len(self._ended) > MAX_ENDED:
            self._fold(next(iter(self._ended)))

    def _fold(self, name: str) -> None:
        """Make an account that ended a part of the total of its kind."""
        del self._ended[name]
        account = self._accounts.pop(name)
        kind = name.partition(".")[0]
        total = f"{kind}.*.segments" if account.unit == "segments" else f"{kind}.*"
        self.account(total, unit=account.unit).absorb(account)

    def __iter__(self) -> Iterator[Account]:
        return iter(self._accounts.values())

    def statistics(self) -> tuple[AccountFigures, ...]:
        return tuple(account.statistics() for account in self)

    @property
    def lost(self) -> int:
        """What was dropped although it was valid and wanted, over all accounts."""
        return sum(account.lost for account in self)
