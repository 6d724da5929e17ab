"""The tables of the journal's database, and how sqlite3's errors are told. Everything blocks."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from appliance.errors import ApplianceError

__all__ = ["DamagedError", "connect", "translated"]

VERSION = 2
_PAGES = 1024
"""Of the write-ahead log before it is taken over into the database: 4 MiB."""

_TABLES = """
create table hook (id integer primary key, name text not null unique);
create table chunk (id integer primary key, records integer not null, size integer not null, crc integer not null,
                    at_ns integer not null, body blob not null);
create table backlog (hook integer not null, chunk integer not null, records integer not null,
                      remaining integer not null, size integer not null, state blob,
                      primary key (hook, chunk)) without rowid;
create index backlog_chunk on backlog (chunk);
create table letter (id integer primary key autoincrement, hook integer not null, dead integer not null,
                     flight integer not null, due_ns integer not null, size integer not null, crc integer not null,
                     facts blob not null, item blob not null);
create index letter_due on letter (hook, dead, due_ns);
create index letter_dead on letter (dead, id);
create table store (space text not null, key blob not null, value blob not null,
                    primary key (space, key)) without rowid;
create table counter (name text primary key, value integer not null) without rowid;
"""


class DamagedError(Exception):
    """The database is not what was written."""


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raises what sqlite3 raises as `DamagedError`, or as the `OSError` that it is."""
    try:
        yield
    except sqlite3.Error as exc:
        code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise DamagedError(str(exc)) from exc
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise ApplianceError(f"the journal {path} is in use by another process") from exc
        numbers = {sqlite3.SQLITE_FULL: errno.ENOSPC, sqlite3.SQLITE_READONLY: errno.EROFS}
        if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
            number = numbers.get(code, errno.EIO)
            raise OSError(number, f"{os.strerror(number)}: {exc}", str(path)) from exc
        raise


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Open the database, made if there is none; the thread does not matter.

    The connection locks the file for as long as it lives: two appliances with one journal would do everything twice.
    """
    if read_only:
        return _connect_read_only(path)
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    is_new = not path.exists()
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0.5, cached_statements=64)
    try:
        if is_new:
            path.chmod(0o640)
            connection.execute("pragma auto_vacuum = incremental")
        connection.execute("pragma locking_mode = exclusive")  # the log's index stays in memory, too: no file is mapped
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = normal")
        connection.execute(f"pragma wal_autocheckpoint = {_PAGES}")
        connection.execute(f"pragma journal_size_limit = {_PAGES * 4096}")
        connection.execute("begin immediate")
        (version,) = connection.execute("pragma user_version").fetchone()
        if version not in (0, VERSION):
            raise ApplianceError(f"the journal {path} was written by another version of the appliance")
        if not version:
            for statement in _TABLES.split(";"):
                connection.execute(statement)
            connection.execute(f"pragma user_version = {VERSION}")
        connection.execute("commit")
    except BaseException:
        connection.close()
        raise
    return connection


def _connect_read_only(path: Path) -> sqlite3.Connection:
    # After an orderly end there is no log beside the file, and in a folder that is not ours none can be made.
    has_log = path.with_name(path.name + "-wal").exists()
    uri = f"{path.absolute().as_uri()}?mode=ro" + ("" if has_log else "&immutable=1")
    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=0.5)
