"""Named spaces of keys and values in the journal's database, changed together with what else is written there: a hook's
own memory, a door's knowledge of what it has handed on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    import sqlite3

__all__ = ["Change", "Changes", "StoreTable", "apply", "compose", "merge"]

MAX_NUMBER = 2**63 - 1


class Change(msgspec.Struct, frozen=True):
    """What becomes of one value."""

    how: Literal["put", "delete", "add"]
    value: bytes = b""
    """MessagePack."""
    by: float = 0
    """``add``: to a number, or to 0 where there is none."""


Changes = Mapping[tuple[str, bytes], Change]
"""By space and key."""


def apply(change: Change | None, value: bytes | None) -> bytes | None:
    """What a value is after a change; None stands for no value."""
    if change is None:
        return value
    if change.how == "add":
        return msgspec.msgpack.encode(_sum(value, change.by))
    return change.value if change.how == "put" else None


def compose(first: Change | None, second: Change) -> Change:
    """Both changes, one after the other, as one."""
    if first is None or second.how != "add":
        return second
    if first.how == "add":
        return Change("add", by=_clipped(first.by + second.by))
    after = apply(second, apply(first, None))
    assert after is not None
    return Change("put", after)


def merge(first: Changes, second: Changes) -> dict[tuple[str, bytes], Change]:
    """Changes of many values, `second` after `first`."""
    merged = dict(first)
    for key, change in second.items():
        merged[key] = compose(merged.get(key), change)
    return merged


def _sum(value: bytes | None, by: float) -> float:
    number: Any = 0 if value is None else msgspec.msgpack.decode(value)
    # A hook hears of it when it asks for the sum; whoever wrote a text in the meantime has the last word but one.
    return _clipped((number if isinstance(number, int | float) else 0) + by)


def _clipped(number: float) -> float:
    return max(-MAX_NUMBER, min(MAX_NUMBER, number)) if isinstance(number, int) else number


class StoreTable:
    """The table; everything blocks and is done within a transaction of the caller's.

    Args:
        connection: to the journal's database.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    def write(self, changes: Iterable[tuple[tuple[str, bytes], Change]]) -> None:
        for (space, key), change in changes:
            value = apply(change, self.get(space, key) if change.how == "add" else None)
            if value is None:
                self._db.execute("delete from store where space = ? and key = ?", (space, key))
            else:
                self._db.execute("insert or replace into store values (?, ?, ?)", (space, key, value))

    def get(self, space: str, key: bytes) -> bytes | None:
        row = self._db.execute("select value from store where space = ? and key = ?", (space, key)).fetchone()
        return None if row is None else bytes(row[0])

    def items(self, space: str, after: bytes | None, limit: int) -> list[tuple[bytes, bytes]]:
        """Keys and values in the order of the keys, from behind `after` on."""
        sql = "select key, value from store where space = ? and (?2 is null or key > ?2) order by key limit ?3"
        return [(bytes(key), bytes(value)) for key, value in self._db.execute(sql, (space, after, limit))]
