"""The last hour of every account, in rings of a fixed size. Pure: whoever samples says what time it is."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from math import isnan, nan
from typing import Protocol

__all__ = ["INTERVAL_S", "LENGTH", "MAX_ACCOUNTS", "History", "Point"]

INTERVAL_S = 5.0
LENGTH = 720
"""Samples: an hour."""
MAX_ACCOUNTS = 256
"""Of further ones there is no history: 9 kB each."""

Point = tuple[float, float, float]
"""Received per second, lost per second, queued; all NaN where nothing is known."""
_UNKNOWN: Point = (nan, nan, nan)


class Booked(Protocol):
    """See `appliance.runtime.ledger.Account`."""

    name: str
    received: int

    @property
    def lost(self) -> int: ...

    @property
    def queued(self) -> int: ...


class History:
    """See the module. Call `sample` about once a second."""

    def __init__(self) -> None:
        self._tick = 0
        self._next_s: float | None = None
        self._sampled_s = nan
        self._series: dict[str, _Series] = {}

    def sample(self, now_s: float, accounts: Iterable[Booked]) -> None:
        """Remember how the accounts are, unless that was done less than `INTERVAL_S` ago. Accounts that are not there
        any more are forgotten.
        """
        if self._next_s is not None and now_s < self._next_s:
            return
        self._next_s = now_s + INTERVAL_S - 0.5  # samples are never quite punctual
        place = self._tick % LENGTH
        self._tick += 1
        took_s, self._sampled_s = now_s - self._sampled_s, now_s
        present = set()
        for account in accounts:
            if account.name not in self._series:
                if len(self._series) >= MAX_ACCOUNTS:
                    continue
                self._series[account.name] = _Series()
            present.add(account.name)
            self._series[account.name].put(place, account, took_s)
        for name in self._series.keys() - present:
            del self._series[name]

    @property
    def samples(self) -> int:
        """How many there were."""
        return self._tick

    def points(self, name: str) -> list[Point]:
        """One point for each sample but the first, the oldest in front, at most `LENGTH` - 1; empty for an account that
        is not known.
        """
        series = self._series.get(name)
        if series is None:
            return []
        ticks = range(max(0, self._tick - LENGTH) + 1, self._tick)
        return [series.point(tick % LENGTH) for tick in ticks]


class _Series:
    """Of one account, in single precision: nobody draws more digits."""

    def __init__(self) -> None:
        self._came, self._went, self._queued = _ring(), _ring(), _ring()
        self._received = self._lost = nan

    def put(self, place: int, account: Booked, took_s: float) -> None:
        received, lost = account.received, account.lost
        came, went = received - self._received, lost - self._lost
        self._received, self._lost = received, lost
        is_known = not isnan(came) and took_s > 0
        self._came[place] = max(0.0, came / took_s) if is_known else nan
        self._went[place] = max(0.0, went / took_s) if is_known else nan
        self._queued[place] = account.queued

    def point(self, place: int) -> Point:
        found = self._came[place], self._went[place], self._queued[place]
        return _UNKNOWN if isnan(found[0]) else found


def _ring() -> array[float]:
    return array("f", [nan]) * LENGTH
