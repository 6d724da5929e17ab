"""The last hour of every account, in rings of a fixed size. Pure: whoever samples says what time it is."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from itertools import pairwise
from math import isnan, nan
from typing import Protocol

__all__ = ["INTERVAL_S", "LENGTH", "MAX_ACCOUNTS", "History", "Point"]

INTERVAL_S = 5.0
LENGTH = 720
"""Samples: an hour."""
MAX_ACCOUNTS = 256
"""Of further ones there is no history: 18 kB each."""

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
        self._times = _ring()
        self._series: dict[str, tuple[array[float], array[float], array[float]]] = {}

    def sample(self, now_s: float, accounts: Iterable[Booked]) -> None:
        """Remember how the accounts are, unless that was done less than `INTERVAL_S` ago. Accounts that are not there
        any more are forgotten.
        """
        if self._next_s is not None and now_s < self._next_s:
            return
        self._next_s = now_s + INTERVAL_S - 0.5  # samples are never quite punctual
        place = self._tick % LENGTH
        self._tick += 1
        self._times[place] = now_s
        present = set()
        for account in accounts:
            if account.name not in self._series:
                if len(self._series) >= MAX_ACCOUNTS:
                    continue
                self._series[account.name] = (_ring(), _ring(), _ring())
            present.add(account.name)
            received, lost, queued = self._series[account.name]
            received[place], lost[place], queued[place] = account.received, account.lost, account.queued
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
        places = [tick % LENGTH for tick in range(max(0, self._tick - LENGTH), self._tick)]
        times, (received, lost, queued) = self._times, series
        found = []
        for before, place in pairwise(places):
            took_s = times[place] - times[before]
            if isnan(received[before]) or isnan(received[place]) or took_s <= 0:
                found.append(_UNKNOWN)
                continue
            came, went = received[place] - received[before], lost[place] - lost[before]
            found.append((max(0.0, came / took_s), max(0.0, went / took_s), queued[place]))
        return found


def _ring() -> array[float]:
    return array("d", [nan]) * LENGTH
