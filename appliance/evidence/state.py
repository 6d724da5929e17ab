"""Pending jobs on disk, and what was left out until it is told in a note. Everything blocks; not for concurrent use."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from .jobs import Job
from .sqlite import connected, open_or_set_aside, transaction, translated

__all__ = ["LEFT_LISTED", "LeftOut", "State", "pack"]

LEFT_LISTED = 10_000
"""Alarms that one note lists; further ones are counted."""
_VERSION = 1
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Job).decode


class LeftOut(msgspec.Struct, frozen=True):
    """An alarm without packets."""

    reason: str
    ts_ns: int
    query: str
    """Which packets it would have been."""


class State:
    """See the module.

    Args:
        path: the database; made if there is none, and set aside if it is damaged.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db = open_or_set_aside(path, self._open)

    def _open(self) -> sqlite3.Connection:
        with connected(self.path) as db:
            db.execute("pragma synchronous = full")
            for table in (
                "job (id integer primary key autoincrement, state blob not null)",
                "left_out (id integer primary key, reason text, ts_ns integer, query text)",
                "uncounted (reason text primary key, count integer) without rowid",
            ):
                db.execute(f"create table if not exists {table}")
            db.execute(f"pragma user_version = {_VERSION}")
        return db

    def close(self) -> None:
        with suppress(sqlite3.Error):
            self._db.close()

    @property
    def last_id(self) -> int:
        """The greatest number that a job ever had."""
        with translated(self.path):
            row = self._db.execute("select seq from sqlite_sequence where name = 'job'").fetchone()
        return int(row[0]) if row else 0

    def load(self) -> list[Job]:
        """All jobs, the oldest first."""
        with translated(self.path):
            return [_decode(state) for (state,) in self._db.execute("select state from job order by id")]

    def put(self, jobs: Iterable[bytes], left_out: Sequence[LeftOut] = ()) -> None:
        """Keep jobs as they are now (see `pack`), and what was left out, all or nothing.

        Raises:
            OSError: the disk says no.
        """
        with translated(self.path), transaction(self._db):
            self._db.executemany("insert or replace into job values (?, ?)", ((_decode(j).id, j) for j in jobs))
            if left_out:
                self._leave_out(left_out)

    def _leave_out(self, left_out: Sequence[LeftOut]) -> None:
        (listed,) = self._db.execute("select count(*) from left_out").fetchone()
        room = max(0, LEFT_LISTED - listed)
        self._db.executemany(
            "insert into left_out values (null, ?, ?, ?)", ((x.reason, x.ts_ns, x.query) for x in left_out[:room])
        )
        self._db.executemany(
            "insert into uncounted values (?, 1) on conflict (reason) do update set count = count + 1",
            ((x.reason,) for x in left_out[room:]),
        )

    def remove(self, job: int) -> None:
        """It is finished."""
        with translated(self.path):
            self._db.execute("delete from job where id = ?", (job,))

    def left_out(self) -> tuple[list[LeftOut], dict[str, int]]:
        """What was left out and not told yet: a list, and the count by reason of what is not in it."""
        with translated(self.path):
            listed = [
                LeftOut(*row) for row in self._db.execute("select reason, ts_ns, query from left_out order by id")
            ]
            return listed, dict(self._db.execute("select reason, count from uncounted"))

    def told(self) -> None:
        """Forget what was left out."""
        with translated(self.path), transaction(self._db):
            self._db.execute("delete from left_out")
            self._db.execute("delete from uncounted")


def pack(job: Job) -> bytes:
    """A job as it is now, for `State.put` in another thread."""
    return _encode(job)
