"""What the two databases of this room share."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

__all__ = ["transaction", "translated"]

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


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
