"""Single records of items."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.model import EventBatch, Item, LogBatch

__all__ = ["cut", "record_at"]


def cut(item: Item, begin: int, end: int) -> Item:
    """The records from `begin` up to, not including, `end`; at least one."""
    if isinstance(item, LogBatch | EventBatch):
        if end < item.count:
            item = item.split(end)[0]
        if begin:
            item = item.split(begin)[1]
    return item


def record_at(items: Sequence[Item], index: int) -> Item:
    """The record of that number, counted over all `items`, as an item of its own."""
    for item in items:
        if index < item.count:
            return cut(item, index, index + 1)
        index -= item.count
    raise IndexError(index)
