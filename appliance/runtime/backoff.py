"""How long to wait before trying again: exponential, with jitter so that many do not come back together."""

from __future__ import annotations

import random
from collections.abc import Callable

__all__ = ["Backoff"]


class Backoff:
    """Delays ``first``, ``first*factor``, … up to ``longest``, each shortened by up to `jitter` of itself.

    Args:
        first_s: the first delay in seconds.
        longest_s: no delay is longer.
        factor: growth from one delay to the next.
        jitter: 0 to 1; the share of a delay that chance may take away.
        uniform: a random number in [0, 1); replaced in tests.
    """

    def __init__(
        self,
        *,
        first_s: float = 0.5,
        longest_s: float = 30.0,
        factor: float = 2.0,
        jitter: float = 0.2,
        uniform: Callable[[], float] = random.random,
    ) -> None:
        self._first_s, self._longest_s, self._factor, self._jitter = min(first_s, longest_s), longest_s, factor, jitter
        self._uniform = uniform
        self._next_s = self._first_s

    def next_s(self) -> float:
        """The delay before the next attempt, in seconds."""
        delay_s = self._next_s
        self._next_s = min(delay_s * self._factor, self._longest_s)
        return delay_s * (1.0 - self._jitter * self._uniform())

    def reset(self) -> None:
        """Begin again with the first delay."""
        self._next_s = self._first_s
