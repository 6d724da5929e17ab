"""Records as JSON can say them, whatever item they are in."""

from __future__ import annotations

from typing import Any

import msgspec

from appliance.model import EventBatch, Item, LogBatch, NodeStatus, Print, StoreEvent

from .events import plain_records, plain_store_record, store_record

__all__ = ["plain_record"]


def plain_record(item: Item) -> dict[str, Any] | None:
    """The first record of an item; None if it cannot be decoded."""
    if isinstance(item, EventBatch | Print | NodeStatus):
        return next(iter(plain_records(item)), None)
    if isinstance(item, StoreEvent):
        typed = store_record(item)
        return None if typed is None else plain_store_record(typed)
    if not isinstance(item, LogBatch):
        return dict(msgspec.to_builtins(item))
    try:
        record: dict[str, Any] = msgspec.json.decode(item.data.split(b"\n", 1)[0])
    except ValueError:
        return None
    return record
