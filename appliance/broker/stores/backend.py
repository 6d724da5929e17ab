"""Where a master keeps its content. Everything here blocks: call it in a worker thread, one call at a time.

Source: Broker, ``detail/sqlite_backend.cc``, whose files are the same.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from appliance.wire.stores.outputs import ChangeKind, StoreChange

__all__ = ["Backend", "MemoryBackend", "SqliteBackend"]

BROKER_VERSION = "2.8.0"
"""What a file says that wrote it; Broker refuses files of a major version that is not its own."""
_SCHEMA = (
    "create table if not exists meta (key text primary key, value text)",
    "create table if not exists store (key blob primary key, value blob, expiry integer)",
)


class Backend(Protocol):
    """What a master needs."""

    is_durable: bool

    def open(self) -> Iterator[tuple[bytes, bytes, int | None]]:
        """What is there: key, value, expiry in nanoseconds since the epoch.

        Raises:
            OSError: the file cannot be used; the text says why.
        """
        ...

    def keep(self, changes: Sequence[StoreChange]) -> None:
        """Keep changes, all or none.

        Raises:
            OSError: the disk does not take them.
        """
        ...

    def close(self) -> None: ...


class MemoryBackend:
    """Keeps nothing."""

    is_durable = False

    def open(self) -> Iterator[tuple[bytes, bytes, int | None]]:
        return iter(())

    def keep(self, changes: Sequence[StoreChange]) -> None:
        """There is nothing to do."""

    def close(self) -> None:
        """There is nothing to do."""


class SqliteBackend:
    """A file of Broker's: one that Zeek has written can be opened, and the other way round.

    Args:
        path: of the file; its folders are made.
    """

    is_durable = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self.timeout_s = 5.0
        """How long another process that has it is waited for, e.g. one that is about to end."""
        self._db: sqlite3.Connection | None = None

    def open(self) -> Iterator[tuple[bytes, bytes, int | None]]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with _as_os_error(self.path), self._closing_on_error():
            db = self._db = sqlite3.connect(
                self.path, timeout=self.timeout_s, isolation_level=None, check_same_thread=False
            )
            # Of another process, e.g. a Zeek with the same file, we shall hear at once.
            db.execute("pragma locking_mode = exclusive")
            db.execute("pragma journal_mode = wal")
            db.execute("pragma synchronous = normal")
            db.execute("begin immediate")
            for statement in _SCHEMA:
                db.execute(statement)
            self._check_version(db)
            db.execute("commit")
            rows = db.execute("select key, value, expiry from store").fetchall()
        self.path.chmod(0o640)
        return iter(rows)

    @contextlib.contextmanager
    def _closing_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise

    def _check_version(self, db: sqlite3.Connection) -> None:
        row = db.execute("select value from meta where key = 'broker_version'").fetchone()
        if row is None:
            db.execute("insert into meta values ('broker_version', ?)", (BROKER_VERSION,))
        elif str(row[0]).partition(".")[0] != BROKER_VERSION.partition(".")[0]:
            raise OSError(f"{self.path}: written by Broker {row[0]}, whose files are others")

    def keep(self, changes: Sequence[StoreChange]) -> None:
        db = self._db
        assert db is not None
        with _as_os_error(self.path):
            db.execute("begin immediate")
            try:
                for is_put, group in _runs(changes):
                    if is_put:
                        rows = [(change.key, change.value, change.expiry_ns) for change in group]
                        db.executemany("insert or replace into store values (?, ?, ?)", rows)
                    elif group[0].kind is ChangeKind.CLEAR:
                        db.execute("delete from store")
                    else:
                        db.executemany("delete from store where key = ?", [(change.key,) for change in group])
                db.execute("commit")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    db.execute("rollback")
                raise

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None


def _runs(changes: Sequence[StoreChange]) -> Iterator[tuple[bool, list[StoreChange]]]:
    """Changes that one statement can do, in their order."""
    group: list[StoreChange] = []
    for change in changes:
        if group and (
            ChangeKind.CLEAR in (change.kind, group[0].kind) or (change.value is None) is not (group[0].value is None)
        ):
            yield group[0].value is not None, group
            group = []
        group.append(change)
    if group:
        yield group[0].value is not None, group


@contextlib.contextmanager
def _as_os_error(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as exc:
        raise OSError(f"{path}: {exc}") from exc
