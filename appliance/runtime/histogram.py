"""How long things took, in buckets of fixed bounds that cover everything from a fast call to a hung one."""

from __future__ import annotations

from bisect import bisect_left

import msgspec

__all__ = ["BOUNDS_S", "Histogram", "HistogramFigures"]

BOUNDS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
            60.0, 300.0)  # fmt: skip
"""Seconds: what is not longer than a bound is in its bucket, or in one before."""


class HistogramFigures(msgspec.Struct, frozen=True, kw_only=True):
    """A histogram at one moment. Buckets are not cumulative."""

    bounds_s: tuple[float, ...] = BOUNDS_S
    counts: tuple[int, ...]
    """For each bound what was longer than the bound before, and what was longer than all of them."""
    sum_s: float

    @property
    def count(self) -> int:
        return sum(self.counts)


class Histogram:
    """See the module."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_S) + 1)
        self._sum_s = 0.0

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(BOUNDS_S, seconds)] += 1
        self._sum_s += seconds

    def statistics(self) -> HistogramFigures:
        return HistogramFigures(counts=tuple(self._counts), sum_s=round(self._sum_s, 6))
