"""A chunk in memory: which of its records are free, leased or done."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.model import Item

from .entries import Progress
from .ranges import Ranges
from .records import cut, record_at

__all__ = ["OpenChunk"]


class OpenChunk:
    """A chunk as one hook sees it.

    Args:
        number: its id.
        items: what is in it.
        records: their number.
        size: their bytes.
        done: records that need not be done again.
        at_ns: when it arrived, nanoseconds since the epoch.
    """

    __slots__ = ("_at", "_rest", "at_ns", "done", "flight", "free", "id", "items", "records", "size")

    def __init__(
        self,
        number: int,
        items: Sequence[Item],
        records: int,
        size: int,
        done: Sequence[tuple[int, int]] = (),
        *,
        at_ns: int,
    ) -> None:
        self.id = number
        self.at_ns = at_ns
        self.records, self.size = records, size
        self.done = Ranges(done)
        self.free = self.done.outside(records)
        self.flight = Ranges()
        self.items = items
        self._at = 0
        """The record with which `_rest` begins."""
        self._rest = list(reversed(items))
        """What follows the piece that was taken last, so that a batch is not searched from its beginning each time."""

    @property
    def left(self) -> int:
        """Records that are not done."""
        return self.records - len(self.done)

    def take(self, max_records: int) -> tuple[int, Item]:
        """Lease records of one item, at most so many, from the first that is free; returns its number and them."""
        begin, end = self.free.first()
        if begin != self._at:
            self._seek(begin)
        item = self._rest.pop()
        count = min(item.count, end - begin, max_records)
        if count < item.count:
            piece, rest = cut(item, 0, count), cut(item, count, item.count)
            self._rest.append(rest)
            item = piece
        self._at = begin + count
        self.free.discard(begin, begin + count)
        self.flight.add(begin, begin + count)
        return begin, item

    def _seek(self, begin: int) -> None:
        self._at, self._rest = begin, list(reversed(self.items))
        while self._rest[-1].count <= begin:
            begin -= self._rest.pop().count
        if begin:
            item = self._rest.pop()
            self._rest.append(cut(item, begin, item.count))

    def record(self, index: int) -> Item:
        """One record as an item of its own."""
        return record_at(self.items, index)

    def finish(self, begin: int, end: int) -> int:
        """Records are done; returns their share of the bytes."""
        before = self._left_size()
        self.flight.discard(begin, end)
        self.done.add(begin, end)
        return before - self._left_size()

    def _left_size(self) -> int:
        return self.size * self.left // self.records

    def give_back(self, begin: int, end: int) -> None:
        self.flight.discard(begin, end)
        self.free.add(begin, end)

    def progress(self, hook: str) -> Progress:
        return Progress(hook=hook, chunk=self.id, left=self.left, done=tuple(self.done), flight=tuple(self.flight))
