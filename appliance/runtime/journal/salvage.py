"""What can be read of a damaged journal, in a new one; the damaged one is set aside. Everything blocks."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import msgspec

from .schema import connect

__all__ = ["Salvage", "salvage"]

_TABLES = {
    "hook": ("id",),
    "chunk": ("id",),
    "letter": ("id",),
    "counter": ("name",),
    "store": ("space", "key"),
    "backlog": ("hook", "chunk"),
}
"""Tables and their keys; what refers to others comes after them."""


class Salvage(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    quarantine: Path
    """Folder with the damaged files."""
    losses: dict[str, dict[int, int]]
    """Records that were left, by hook and chunk."""
    is_certain: bool
    """Whether `losses` is everything: not if what hooks have left to do could not be read."""


def salvage(path: Path) -> Salvage:
    """Replace the database at `path`, which nobody has open.

    Raises:
        OSError: it cannot be moved.
    """
    folder = path.parent / "quarantine" / f"{time.time_ns():020d}"
    folder.mkdir(mode=0o750, parents=True)
    for suffix in ("-wal", "-shm", ""):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(folder / (path.name + suffix))
    losses: dict[str, dict[int, int]] = {}
    is_certain = False
    with closing(connect(path)) as new:
        with suppress(sqlite3.DatabaseError), closing(sqlite3.connect(folder / path.name)) as old:
            new.execute("begin")
            complete = [_copy(old, new, table, keys) for table, keys in _TABLES.items()]
            is_certain = complete[0] and complete[-1]
            sql = (
                "select name, chunk, remaining from backlog join hook on hook.id = hook"
                " where not exists (select 1 from chunk where chunk.id = backlog.chunk)"
            )
            for hook, chunk, left in new.execute(sql):
                losses.setdefault(hook, {})[chunk] = left
            new.execute("delete from backlog where not exists (select 1 from chunk where chunk.id = backlog.chunk)")
            new.execute("delete from chunk where not exists (select 1 from backlog where chunk = chunk.id)")
            new.execute("commit")
        if new.in_transaction:
            new.execute("commit")
    return Salvage(quarantine=folder, losses=losses, is_certain=is_certain)


def _copy(old: sqlite3.Connection, new: sqlite3.Connection, table: str, keys: tuple[str, ...]) -> bool:
    """Copy the rows before the first damage and those behind the last; returns whether there was none."""
    for direction in ("asc", "desc"):
        with suppress(_UnreadableError):
            for row in _rows(old, table, ", ".join(f"{key} {direction}" for key in keys)):
                marks = ", ".join("?" * len(row))
                new.execute(f"insert or ignore into {table} values ({marks})", row)  # noqa: S608 - our own tables
            return True
    return False


def _rows(old: sqlite3.Connection, table: str, order: str) -> Iterator[tuple[Any, ...]]:
    """Rows until one cannot be read."""
    try:
        yield from old.execute(f"select * from {table} order by {order}")  # noqa: S608 - the same
    except sqlite3.DatabaseError:
        raise _UnreadableError from None


class _UnreadableError(Exception):
    """A row cannot be read."""
