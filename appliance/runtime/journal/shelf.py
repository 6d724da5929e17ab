"""Letters that wait for their next attempt, by when they are due. The nearest ones are in memory, the others only in
the journal.
"""

from __future__ import annotations

import random
from bisect import insort
from collections.abc import Callable, Collection, Iterable

import msgspec

from .entries import Letter

__all__ = ["RetryPolicy", "Shelf"]

LIMIT = 1000
"""Letters in memory."""
_JITTER = 0.2
"""The share of a delay that chance may take away, so that what failed together does not come back together."""


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How often a record is tried, and when again."""

    attempts: int = 5
    first_s: float = 1.0
    """Before the second attempt; each further delay is twice the one before."""
    longest_s: float = 300.0

    def delay_s(self, attempts: int, *, uniform: Callable[[], float] = random.random) -> float:
        """How long to wait after so many failed attempts."""
        delay_s = min(self.longest_s, self.first_s * 2.0 ** min(attempts - 1, 60))
        return delay_s * (1.0 - _JITTER * uniform())


class Shelf:
    """See the module."""

    def __init__(self, *, limit: int = LIMIT) -> None:
        self._limit = limit
        self._letters: list[tuple[int, int, Letter]] = []
        self._ids: set[int] = set()
        self.has_more = False
        """There may be letters in the journal that are not here."""
        self._is_stale = False

    def __len__(self) -> int:
        return len(self._letters)

    def __contains__(self, number: int) -> bool:
        return number in self._ids

    @property
    def is_low(self) -> bool:
        """Whether letters are to be loaded."""
        return self.has_more and (self._is_stale or not self._letters)

    def refresh(self) -> None:
        """There are letters in the journal that may be due before those that are here."""
        self.has_more = self._is_stale = True

    @property
    def oldest_ns(self) -> int | None:
        """When the letter that failed first of those in memory did so."""
        return min((letter.first_ns for _, _, letter in self._letters), default=None)

    @property
    def next_due_ns(self) -> int | None:
        return self._letters[0][0] if self._letters else None

    def add(self, letter: Letter) -> None:
        """Take a letter in; the one that is due last goes if there are too many."""
        if self.has_more and self._letters and letter.due_ns >= self._letters[-1][0]:
            return  # others, that are not here, may be due before it
        insort(self._letters, (letter.due_ns, letter.id, letter))
        self._ids.add(letter.id)
        if len(self._letters) > self._limit:
            self._ids.discard(self._letters.pop()[1])
            self.has_more = True

    def fill(self, letters: Iterable[Letter], *, without: Collection[int], is_all: bool) -> None:
        """Take in what was loaded, except for those ids."""
        self.has_more = self._is_stale = False
        for letter in letters:
            if letter.id not in self._ids and letter.id not in without:
                self.add(letter)
        self.has_more = self.has_more or not is_all

    def pop_due(self, now_ns: int) -> Letter | None:
        """Take out the letter that is due first, if it is due."""
        if not self._letters or self._letters[0][0] > now_ns:
            return None
        letter = self._letters.pop(0)[2]
        self._ids.discard(letter.id)
        return letter
