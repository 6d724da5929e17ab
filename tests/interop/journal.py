"""What somebody has told, in order, and waiting for more of it."""

from __future__ import annotations

from typing import NamedTuple

import trio

__all__ = ["DEADLINE_S", "Entry", "Journal"]

DEADLINE_S = 20.0
"""For anything that ought to happen at once, on a machine that does much else."""


class Entry(NamedTuple):
    """One thing that was told."""

    kind: str
    text: str


class Journal:
    """Entries, and who waits for them."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.ending = ""
        """Why nothing more will be told."""
        self._news = trio.lowlevel.ParkingLot()

    def tell(self, kind: str, text: str) -> None:
        self.entries.append(Entry(kind, text))
        self._news.unpark_all()

    def end(self, why: str) -> None:
        self.ending = why
        self._news.unpark_all()

    def texts(self, kind: str, containing: str = "") -> list[str]:
        """Entries of a kind, or of several with bars in between, that contain a text."""
        kinds = kind.split("|")
        return [entry.text for entry in self.entries if entry.kind in kinds and containing in entry.text]

    async def wait(self, kind: str, containing: str = "", *, count: int = 1) -> list[str]:
        """Wait until `count` entries of that kind contain the text; returns all that do."""
        with trio.move_on_after(DEADLINE_S):
            while len(found := self.texts(kind, containing)) < count and not self.ending:
                await self._news.park()
        found = self.texts(kind, containing)
        if len(found) < count:
            lines = "\n".join(f"{entry.kind} {entry.text}" for entry in self.entries[-40:])
            ending = f" before its end: {self.ending}" if self.ending else ""
            raise AssertionError(f"{len(found)} instead of {count} of {kind} {containing!r}{ending}; told:\n{lines}")
        return found
