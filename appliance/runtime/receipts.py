"""What becomes of finished files and folders at each consumer, for the door that has to know: it may delete a file only
when everybody is done with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from appliance.model import FileReady, FolderReady, Item

__all__ = ["Fate", "Receipts", "Thing", "things_in"]

Fate = Literal["done", "failed", "lost"]
"""``done``: settled, or left out by ``where``; ``failed``: given up; ``lost``: dropped before the consumer had it."""
Thing = FileReady | FolderReady


class Receipts:
    """Carries the news; one for all accounts of a ledger."""

    def __init__(self) -> None:
        self._listeners: dict[str, Callable[[Thing, str, Fate], None]] = {}

    def listen(self, source: str, listener: Callable[[Thing, str, Fate], None]) -> None:
        """Tell `listener` of things of that source, with the consumer's name, in the moment in which it is booked: what
        the listener has written into the journal then is written together with it.
        """
        self._listeners[source] = listener

    def unlisten(self, source: str) -> None:
        """Nobody listens for that source any more."""
        self._listeners.pop(source, None)

    def report(self, item: Item, consumer: str, fate: Fate) -> None:
        """Tell of one item, if it is a thing that somebody waits for."""
        if isinstance(item, FileReady | FolderReady) and (listener := self._listeners.get(item.source)) is not None:
            listener(item, consumer, fate)


def things_in(items: Sequence[Item], begin: int, end: int) -> Iterator[Thing]:
    """The files and folders among the records from `begin` up to, not including, `end`."""
    at = 0
    for item in items:
        if at >= end:
            return
        if at >= begin and isinstance(item, FileReady | FolderReady):
            yield item
        at += item.count
