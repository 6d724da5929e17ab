"""What the two databases of this room share."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import structlog

__all__ = ["connected", "open_or_set_aside", "transaction", "translated"]

log = structlog.get_logger("evidence")

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def open_or_set_aside(path: Path, open_it: Callable[[], sqlite3.Connection]) -> sqlite3.Connection:
    """Open a database; a damaged one is moved out of the way, which is told, and a new one begun.

    Raises:
        OSError: it cannot be opened.
    """
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    try:
        return open_it()
    except OSError as exc:
        if exc.errno != errno.EBADMSG:
            raise
        aside = path.with_name(path.name + ".damaged")
        log.error("a database is damaged; it is set aside, and begins anew", file=str(aside), error=str(exc))
        path.replace(aside)
        for ending in ("-wal", "-shm"):
            path.with_name(path.name + ending).unlink(missing_ok=True)
        return open_it()


@contextmanager
def connected(path: Path) -> Iterator[sqlite3.Connection]:
    """A database with a log of its own, to be set up; it stays open unless that fails.

    Raises:
        OSError: it cannot be opened, or set up.
    """
    with translated(path):
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
        try:
            db.execute("pragma journal_mode = wal")
            yield db
        except BaseException:
            db.close()
            raise


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All or nothing."""
    db.execute("begin immediate")
    try:
        yield
        db.execute("commit")
    except BaseException:
        with suppress(sqlite3.Error):
            db.execute("rollback")
        raise


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """SQLite's errors as those of the disk."""
    try:
        yield
    except sqlite3.Error as exc:
        code: Any = getattr(exc, "sqlite_errorcode", 0)
        number = (
            errno.EBADMSG if code & 0xFF in _DAMAGED else errno.ENOSPC if code == sqlite3.SQLITE_FULL else errno.EIO
        )
        raise OSError(number, f"{os.strerror(number)}: {exc}", str(path)) from exc
