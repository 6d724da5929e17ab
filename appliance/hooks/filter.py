"""Which records of an item a hook is called for, and their decoding. `where` expressions are in a module of their own,
because the engine behind them is slow to import.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import msgspec

from appliance.model import Item, LogBatch

__all__ = ["Everything", "Filter", "Match", "decode"]

Match = tuple[int, dict[str, Any] | None]
"""Position of a record in its item, and the record; None if it cannot be decoded."""


class Filter(Protocol):
    """Chooses records."""

    def select(self, item: Item) -> Iterator[Match]:
        """Position and decoded record of each match in `item`, in order."""
        ...


def decode(row: bytes) -> dict[str, Any] | None:
    """A row as a dict; None if it is valid JSON that Python cannot represent: a lone surrogate, say."""
    try:
        record: dict[str, Any] = msgspec.json.decode(row)
    except ValueError:
        return None
    return record


class Everything:
    """The filter of a hook without `where`."""

    def select(self, item: Item) -> Iterator[Match]:
        if isinstance(item, LogBatch):
            yield from ((i, decode(row)) for i, row in enumerate(item.rows()))
        else:
            yield 0, msgspec.to_builtins(item)
