"""Which flow a Zeek `uid` means: a bounded map on disk, fed from the records of connections.

It is one SQLite database. Rows are in tables of one generation each, so that the one in use fits into memory however
many there are, and the oldest goes at once. ``flow`` is a view of all of them, which other processes may read at any
time. Everything here blocks.
"""

from __future__ import annotations

import socket
import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

import msgspec

from appliance.native import FlowKey, flow_key

from .sqlite import connected, open_or_set_aside, transaction, translated
from .times import parse_span, parse_time

__all__ = ["FILE", "MAX_UID", "PROTOS", "KnownFlow", "UidMap", "UidReader", "UidRow", "decode_rows", "open_uids"]

FILE = "uids.db"
"""Below the state folder."""
GENERATIONS = 32
"""A lookup asks each of them."""
MAX_UID = 64
"""Characters; Zeek's have 18 at most, ours may come from elsewhere."""
PROTOS = {"tcp": 6, "udp": 17, "icmp": 1, "sctp": 132, "icmp6": 58}
_VERSION = 1
_COLUMNS = "uid, proto, src, sport, dst, dport, from_ns, to_ns"

UidRow = tuple[str, int, bytes, int, bytes, int, int, int]
"""The columns of ``flow``: `src` is the originator, `from_ns` the first packet, `to_ns` the last one."""


class KnownFlow(NamedTuple):
    """What the map says of a uid."""

    key: FlowKey
    from_ns: int
    """When the connection began, to the microsecond."""
    to_ns: int
    """When it ended."""


class _Conn(msgspec.Struct, gc=False):
    """The fields of a log record that name a flow."""

    uid: str | None = None
    ts: float | str | None = None
    duration: float | None = None
    proto: str | None = None
    orig_h: str | None = msgspec.field(name="id.orig_h", default=None)
    orig_p: int | None = msgspec.field(name="id.orig_p", default=None)
    resp_h: str | None = msgspec.field(name="id.resp_h", default=None)
    resp_p: int | None = msgspec.field(name="id.resp_p", default=None)


_decoder = msgspec.json.Decoder(_Conn)


def decode_rows(data: bytes) -> tuple[list[UidRow], int]:
    """The flows in some lines of JSON, and how many lines cannot be read; those without a uid are passed over."""
    try:
        found = _decoder.decode_lines(data)
    except (ValueError, RecursionError):
        found, bad = [], 0
        for line in data.splitlines():
            try:
                found.append(_decoder.decode(line))
            except (ValueError, RecursionError):
                bad += 1
    else:
        bad = 0
    return [row for conn in found if (row := _make_row(conn)) is not None], bad


def _make_row(conn: _Conn) -> UidRow | None:
    uid, orig_h, resp_h, ts = conn.uid, conn.orig_h, conn.resp_h, conn.ts
    if not uid or orig_h is None or resp_h is None or ts is None or len(uid) > MAX_UID:
        return None
    first_ns = parse_time(ts)
    if first_ns is None:
        return None
    try:
        src, dst = _pack(orig_h), _pack(resp_h)
    except (OSError, ValueError):
        return None
    proto = PROTOS.get(conn.proto or "", 0)
    if proto == 1 and len(src) == 16:
        proto = 58
    sport, dport = conn.orig_p or 0, conn.resp_p or 0
    if len(src) != len(dst) or not (0 <= sport <= 0xFFFF and 0 <= dport <= 0xFFFF):
        return None
    return uid, proto, src, sport, dst, dport, first_ns, first_ns + parse_span(conn.duration)


def _pack(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


class UidMap:
    """See the module. Not for concurrent use.

    Args:
        path: the database; made if there is none, and set aside if it is damaged.
        max_flows: how many are kept; the oldest go by the generation.
        keep_ns: how long they are kept after they came in.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path, *, max_flows: int, keep_ns: int) -> None:
        self.path = path
        self.max_flows, self.keep_ns = max_flows, keep_ns
        self._db = open_or_set_aside(path, self._open)

    def _open(self) -> sqlite3.Connection:
        with connected(self.path) as db:
            db.execute("pragma synchronous = off")  # what a power failure costs here is known elsewhere
            db.execute("pragma journal_size_limit = 67108864")
            (version,) = db.execute("pragma user_version").fetchone()
            if version != _VERSION:
                _clear(db)
            db.execute(
                "create table if not exists generation "
                "(id integer primary key autoincrement, rows integer, first_ns integer, last_ns integer)"
            )
            db.execute(f"pragma user_version = {_VERSION}")
        return db

    def close(self) -> None:
        """No more calls."""
        with suppress(sqlite3.Error):
            self._db.close()

    def add(self, rows: Iterable[UidRow], now_ns: int) -> None:
        """Take in flows, all or none; what was known of a flow before is extended.

        Args:
            rows: of `decode_rows`.
            now_ns: wall clock, by which ages are told.

        Raises:
            OSError: the disk says no.
        """
        rows = list(rows)
        with translated(self.path), transaction(self._db):
            self._forget(now_ns)
            while rows:
                id_, room = self._make_room(now_ns)
                some, rows = rows[:room], rows[room:]
                self._db.executemany(
                    f"insert into flow_{id_} ({_COLUMNS}) values (?, ?, ?, ?, ?, ?, ?, ?) on conflict (uid) do "  # noqa: S608
                    "update set from_ns = min(from_ns, excluded.from_ns), to_ns = max(to_ns, excluded.to_ns)",
                    some,
                )
                self._db.execute(
                    "update generation set rows = rows + ?, last_ns = ? where id = ?", (len(some), now_ns, id_)
                )

    def _make_room(self, now_ns: int) -> tuple[int, int]:
        """The current generation, and how many rows more it may have; a full or long one is followed by another."""
        size = max(1, self.max_flows // GENERATIONS)
        newest = self._db.execute("select id, rows, first_ns from generation order by id desc limit 1").fetchone()
        if newest and newest[1] < size and now_ns - newest[2] < max(1, self.keep_ns // GENERATIONS):
            return newest[0], size - newest[1]
        id_ = self._db.execute("insert into generation values (null, 0, ?, ?)", (now_ns, now_ns)).lastrowid
        assert id_
        self._db.execute(
            f"create table flow_{id_} (uid text primary key, proto integer, src blob, sport integer, "
            "dst blob, dport integer, from_ns integer, to_ns integer) without rowid"
        )
        self._show(now_ns)
        return id_, size

    def _forget(self, now_ns: int) -> None:
        """Drop the generations that are too old."""
        (gone,) = self._db.execute("select count(*) from generation where last_ns <= ?", (now_ns - self.keep_ns,))
        if gone[0]:
            self._show(now_ns)

    def _show(self, now_ns: int) -> None:
        """Drop generations that are too old or too many, and make the view of the others."""
        self._db.execute("drop view if exists flow")
        ids = self._db.execute("select id, last_ns from generation order by id desc").fetchall()
        kept = [id_ for id_, last_ns in ids[:GENERATIONS] if now_ns - last_ns < self.keep_ns]
        for id_, _ in ids:
            if id_ not in kept:
                self._db.execute(f"drop table flow_{id_}")
                self._db.execute("delete from generation where id = ?", (id_,))
        if kept:
            parts = " union all ".join(f"select {_COLUMNS} from flow_{id_}" for id_ in kept)  # noqa: S608 - our names
            self._db.execute(f"create view flow as {parts}")

    def count(self) -> int:
        """How many rows there are; updates count as well."""
        return self._db.execute("select coalesce(sum(rows), 0) from generation").fetchone()[0]  # type: ignore[no-any-return]

    def lookup(self, uid: str) -> KnownFlow | None:
        """What is known of a uid.

        Raises:
            OSError: the disk says no.
        """
        with translated(self.path):
            return _lookup(self._db, uid)


class UidReader:
    """The map as another process, or another thread, reads it; see `open_uids`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lookup(self, uid: str) -> KnownFlow | None:
        """See `UidMap.lookup`; None also if there is no map."""
        if not self.path.exists():
            return None
        with translated(self.path):
            db = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)
            try:
                return _lookup(db, uid)
            finally:
                db.close()


def open_uids(state_dir: Path) -> UidReader:
    """The map of an appliance, read-only."""
    return UidReader(state_dir / FILE)


def _lookup(db: sqlite3.Connection, uid: str) -> KnownFlow | None:
    if not db.execute("select 1 from sqlite_master where type = 'view' and name = 'flow'").fetchone():
        return None
    rows: list[UidRow] = db.execute(f"select {_COLUMNS} from flow where uid = ?", (uid,)).fetchall()  # noqa: S608
    if not rows:
        return None
    _, proto, src, sport, dst, dport, _, _ = rows[0]
    key = flow_key(ip_address(src), ip_address(dst), proto, (sport, dport))
    return KnownFlow(key, min(row[6] for row in rows), max(row[7] for row in rows))


def _clear(db: sqlite3.Connection) -> None:
    """Drop what another version has left."""
    found = db.execute("select type, name from sqlite_master where type in ('view', 'table')").fetchall()
    for kind, name in sorted(found, reverse=True):
        if not name.startswith("sqlite_"):
            db.execute(f'drop {kind} "{name}"')
