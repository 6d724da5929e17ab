"""What a hook has in its hands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from appliance.model import Item

from .chunk import OpenChunk
from .entries import Failure, Letter
from .shelf import RetryPolicy

if TYPE_CHECKING:
    from .backlog import Backlog

__all__ = ["Lease"]


class Lease:
    """Records in the hands of a hook: pieces of chunks in their order, or one letter."""

    def __init__(self, backlog: Backlog, pieces: Sequence[tuple[OpenChunk, int, Item]], letter: Letter | None) -> None:
        self._backlog = backlog
        self._pieces = [(chunk, begin, begin + item.count) for chunk, begin, item in pieces]
        self._next = 0
        self.letter = letter
        self.items = [item for _, _, item in pieces] if letter is None else [letter.item]

    @property
    def attempt(self) -> int:
        """The number of the attempt that this is."""
        return 1 if self.letter is None else self.letter.attempts + 1

    def settle(self, count: int) -> None:
        """The first `count` records are done."""
        if self.letter is not None:
            self._backlog.settle_letter(self.letter)
            self._pieces = []
            return
        while count:
            chunk, begin, end = self._pieces[self._next]
            step = min(count, end - begin)
            self._backlog.settle(chunk, begin, begin + step)
            self._pieces[self._next] = (chunk, begin + step, end)
            self._next += begin + step == end
            count -= step

    def fail(self, failure: Failure, retry: RetryPolicy) -> bool:
        """The first record failed; returns whether it is tried again. It is not in the lease any more."""
        if self.letter is not None:
            return self._backlog.fail(self.letter, failure, retry)
        chunk, begin, _ = self._pieces[self._next]
        letter = self._backlog.make_letter(chunk.record(begin))
        self.settle(1)
        return self._backlog.fail(letter, failure, retry)

    def give_back(self) -> None:
        """What is not settled waits again."""
        for chunk, begin, end in self._pieces[self._next :]:
            self._backlog.give_back(chunk, begin, end)
        self._pieces = []
