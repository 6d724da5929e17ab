"""Single records of items."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.model import EventBatch, Item, LogBatch

__all__ = ["cut", "item_at", "record_at"]


def cut(item: Item, begin: int, end: int) -> Item:
    """The records from `begin` up to, not including, `end`; at least one."""
    if isinstance(item, LogBatch | EventBatch):
        if end < item.count:
            item = item.split(end)[0]
        if begin:
            item = item.split(begin)[1]
    return item


def item_at(items: Sequence[Item], index: int) -> Item:
    """The item that holds the record of that number, counted over all `items`."""
    for item in items:
        if index < item.count:
            return item
        index -= item.count
    raise IndexError(index)


def record_at(items: Sequence[Item], index: int) -> Item:
    """The record of that number, counted over all `items`, as an item of its own."""
    for item in items:
        if index < item.count:
            return cut(item, index, index + 1)
        index -= item.count
    raise IndexError(index)
