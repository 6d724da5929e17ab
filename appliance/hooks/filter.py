"""Which records of an item a hook is called for, and their decoding. `where` expressions are in a module of their own,
because the engine behind them is slow to import.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import msgspec

from appliance.model import EventBatch, Item, LogBatch, NodeStatus, Print, StoreEvent
from appliance.zeek.events import node_record, print_record, store_record, typed_records

__all__ = ["Everything", "Filter", "Match", "decode", "records"]

Match = tuple[int, dict[str, Any] | None]
"""Position of a record in its item, and the record; None if it cannot be decoded."""


class Filter(Protocol):
    """Chooses records."""

    def select(self, item: Item) -> Iterator[Match]:
        """Position and decoded record of each match in `item`, in order."""
        ...

    def positions(self, item: Item) -> Sequence[int]:
        """Position of each match, in order; nothing is decoded in vain."""
        ...


def decode(row: bytes) -> dict[str, Any] | None:
    """A row as a dict; None if it is valid JSON that Python cannot represent: a lone surrogate, say."""
    try:
        record: dict[str, Any] = msgspec.json.decode(row)
    except ValueError:
        return None
    return record


def records(item: Item) -> Iterable[dict[str, Any] | None]:
    """The records of an item, as many as it counts; None for one that cannot be decoded. Those of events
    and of stores are typed.
    """
    if isinstance(item, LogBatch):
        return map(decode, item.rows())
    if isinstance(item, EventBatch):
        return typed_records(item)
    if isinstance(item, StoreEvent):
        return (store_record(item),)
    if isinstance(item, NodeStatus):
        return (node_record(item),)
    return (print_record(item) if isinstance(item, Print) else msgspec.to_builtins(item),)


class Everything:
    """The filter of a hook without `where`."""

    def select(self, item: Item) -> Iterator[Match]:
        return enumerate(records(item))

    def positions(self, item: Item) -> Sequence[int]:
        return range(item.count)
