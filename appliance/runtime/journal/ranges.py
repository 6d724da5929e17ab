"""Sets of whole numbers as ranges: which records of a chunk are done, or in the hands of a hook."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

__all__ = ["Ranges"]


class Ranges:
    """Numbers as half-open ranges that neither touch nor overlap, in order.

    Args:
        pairs: begin and end of each, in any order.
    """

    __slots__ = ("_begins", "_ends")

    def __init__(self, pairs: Iterable[tuple[int, int]] = ()) -> None:
        self._begins: list[int] = []
        self._ends: list[int] = []
        for begin, end in pairs:
            self.add(begin, end)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._begins, self._ends, strict=True)

    def __len__(self) -> int:
        """How many numbers."""
        return sum(self._ends) - sum(self._begins)

    def __bool__(self) -> bool:
        return bool(self._begins)

    def add(self, begin: int, end: int) -> None:
        """Take in the numbers from `begin` up to, not including, `end`."""
        if begin >= end:
            return
        low, high = bisect_left(self._ends, begin), bisect_right(self._begins, end)
        if low < high:
            begin, end = min(begin, self._begins[low]), max(end, self._ends[high - 1])
        self._begins[low:high] = [begin]
        self._ends[low:high] = [end]

    def discard(self, begin: int, end: int) -> None:
        """Take out what is in it of these numbers."""
        if begin >= end:
            return
        low, high = bisect_right(self._ends, begin), bisect_left(self._begins, end)
        if low >= high:
            return
        rest = [(self._begins[low], begin), (end, self._ends[high - 1])]
        kept = [(first, last) for first, last in rest if first < last]
        self._begins[low:high] = [first for first, _ in kept]
        self._ends[low:high] = [last for _, last in kept]

    def first(self) -> tuple[int, int]:
        """The lowest range; there must be one."""
        return self._begins[0], self._ends[0]

    def outside(self, end: int) -> Ranges:
        """The numbers from 0 up to `end` that are not in it."""
        rest = Ranges([(0, end)])
        for pair in self:
            rest.discard(*pair)
        return rest
