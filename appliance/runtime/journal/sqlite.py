"""The journal's keep on SQLite: one database file, written by group. Everything blocks; see `Keep` for the rules.

Items are stored by the chunk, a row for what arrived together and is wanted by the same hooks; what a hook has done
of a chunk is a row of its own. That way a record costs less than the row that it would be in a table of records.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import structlog

from appliance.runtime.quarantine import Quarantine

from .codec import CodecError, decode_items, encode_items
from .entries import Chunk, Group, Letter, Loaded, Recovered
from .letters import LetterTable, interrupted
from .ranges import Ranges
from .records import record_at
from .reserve import Reserve
from .salvage import salvage
from .schema import DamagedError, connect, translated
from .store import StoreTable

__all__ = ["SqliteKeep"]

log = structlog.get_logger("journal")

_ROWS = 256
"""Chunks that are looked at for each load."""
_RESERVE = 8 << 20
"""Bytes; as much as the database may grow when the log, with one more group in it, is taken over."""
_VACUUM_PAGES = 1024
"""Pages that are given back to the file system at a time."""
_Pairs = tuple[tuple[int, int], ...]
_state = msgspec.msgpack.Decoder(tuple[_Pairs, _Pairs])


class SqliteKeep:
    """See the module.

    Args:
        path: the database; its folder is made if it is missing.
        max_dead: dead letters that are kept.
        max_dead_size: bytes of dead letters that are kept.
    """

    def __init__(self, path: Path, *, max_dead: int = 10_000, max_dead_size: int = 256 << 20) -> None:
        self.path = path
        self.next_chunk = 1
        self._next_letter = 1
        self._ids = threading.Lock()
        self._max_dead, self._max_dead_size = max_dead, max_dead_size
        self._quarantine = Quarantine(path.parent / "quarantine")
        self._reserve = Reserve(path.with_name("reserve"), _RESERVE)
        self._db: sqlite3.Connection | None = None
        self._letters: LetterTable | None = None
        self._hooks: dict[str, int] = {}
        self._attached: set[str] = set()
        self._losses: dict[str, dict[int, int]] = {}

    @property
    def db(self) -> sqlite3.Connection:
        assert self._db is not None
        return self._db

    @property
    def letters(self) -> LetterTable:
        """What a person may wish with dead letters; call `transaction` around changes."""
        assert self._letters is not None
        return self._letters

    @property
    def held(self) -> tuple[int, int]:
        """Dead letters and their bytes, from any thread; nothing before `open`."""
        return self._letters.held if self._letters is not None else (0, 0)

    @property
    def store(self) -> StoreTable:
        return StoreTable(self.db)

    def new_letter_id(self) -> int:
        with self._ids:
            self._next_letter += 1
            return self._next_letter - 1

    # ── life ──

    def configure(self, *, max_dead: int, max_dead_size: int) -> None:
        self._max_dead, self._max_dead_size = max_dead, max_dead_size
        if self._letters is not None:
            self._letters.max_dead, self._letters.max_dead_size = max_dead, max_dead_size

    def open(self) -> None:
        with translated(self.path):
            try:
                self._connect()
            except (sqlite3.DatabaseError, DamagedError) as exc:
                if getattr(exc, "sqlite_errorcode", 0) & 0xFF not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                    raise
                self._repair(exc)

    def _connect(self) -> None:
        self._db = connect(self.path)
        self._reserve.take()
        self._hooks = {name: number for number, name in self.db.execute("select id, name from hook")}
        self._letters = LetterTable(self.db, max_dead=self._max_dead, max_dead_size=self._max_dead_size)
        (last,) = self.db.execute(
            "select max((select max(id) from chunk), (select max(chunk) from backlog))"
        ).fetchone()
        self.next_chunk = max(self.next_chunk, (last or 0) + 1)
        row = self.db.execute("select seq from sqlite_sequence where name = 'letter'").fetchone()
        with self._ids:
            self._next_letter = max(self._next_letter, (row[0] if row else 0) + 1)

    def close(self) -> None:
        if self._db is not None:
            with suppress(sqlite3.Error):
                self._db.close()
            self._db = None

    def _repair(self, cause: BaseException) -> None:
        """Set the damaged database aside and go on with what can be read of it."""
        self.close()
        found = salvage(self.path)
        log.error(
            "the journal was damaged and is in quarantine; what could be read goes on", error=str(cause),
            quarantine=str(found.quarantine), records_lost=sum(sum(x.values()) for x in found.losses.values()),
            is_certain=found.is_certain,
        )  # fmt: skip
        for hook, chunks in found.losses.items():
            self._losses.setdefault(hook, {}).update(chunks)
        self._connect()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing.

        Raises:
            OSError: nothing was changed.
            DamagedError: the same.
        """
        with translated(self.path):
            self.db.execute("begin immediate")
            try:
                yield
                self.db.execute("commit")
            except BaseException:
                if self.db.in_transaction:
                    self.db.execute("rollback")
                self._hooks = {name: number for number, name in self.db.execute("select id, name from hook")}
                self.letters.recount()
                raise

    def hook_id(self, name: str) -> int:
        """Its number, within a transaction."""
        if name not in self._hooks:
            self._hooks[name] = self.db.execute("insert into hook (name) values (?) returning id", (name,)).fetchone()[
                0
            ]
        return self._hooks[name]

    # ── writing ──

    def commit(self, group: Group, *, sync: bool) -> None:
        try:
            if group.chunks:
                self._refuse_if_full()
            self._commit(group, sync=sync)
        except DamagedError as exc:
            self._repair(exc)
            self._commit(group, sync=sync)
        except OSError:
            self._make_room()
            raise

    def _refuse_if_full(self) -> None:
        """New records must not use what was given up for the acknowledgement of those that are here."""
        if self._reserve.is_given_up:
            self._reserve.take()
            if self._reserve.is_given_up:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(self.path))

    def _make_room(self) -> None:
        """Empty the log, so that what is written next overwrites it and needs no room."""
        self._reserve.release()
        with suppress(sqlite3.Error):
            self.db.execute("pragma wal_checkpoint(restart)").fetchall()

    def _commit(self, group: Group, *, sync: bool) -> None:
        with translated(self.path):
            self.db.execute(f"pragma synchronous = {'full' if sync else 'normal'}")
        with self.transaction():
            self._write(group)

    def _write(self, group: Group) -> None:
        db = self.db
        for chunk in group.chunks:
            body = encode_items(chunk.items)
            row = (chunk.id, chunk.records, chunk.size, zlib.crc32(body), chunk.at_ns, body)
            db.execute("insert into chunk values (?, ?, ?, ?, ?, ?)", row)
            rows = [(self.hook_id(hook), chunk.id, chunk.records, chunk.records, chunk.size) for hook in chunk.hooks]
            db.executemany("insert into backlog values (?, ?, ?, ?, ?, null)", rows)
        finished: list[tuple[int, int]] = []
        for progress in group.progress:
            hook = self.hook_id(progress.hook)
            if progress.left:
                state = msgspec.msgpack.encode((progress.done, progress.flight))
                row2 = (progress.left, state, hook, progress.chunk)
                db.execute("update backlog set remaining = ?, state = ? where hook = ? and chunk = ?", row2)
            else:
                finished.append((hook, progress.chunk))
        self.finish(finished)
        self.letters.put(group.letters, self.hook_id)
        self.letters.remove(group.settled)
        self.store.write(group.changes)

    def finish(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Hooks need chunks no more, within a transaction: pairs of their numbers."""
        self.db.executemany("delete from backlog where hook = ? and chunk = ?", pairs)
        sql = "delete from chunk where id = ? and not exists (select 1 from backlog where chunk = chunk.id)"
        self.db.executemany(sql, [(chunk,) for _, chunk in pairs])

    def sync(self) -> None:
        # A file descriptor of our own: closing one of the database itself would give up SQLite's locks on it.
        with suppress(FileNotFoundError):
            fd = os.open(self.path.with_name(self.path.name + "-wal"), os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fdatasync(fd)
            finally:
                os.close(fd)

    def tidy(self) -> bool:
        self._reserve.take()
        with translated(self.path):
            (free,), (pages,) = (self.db.execute(f"pragma {p}").fetchone() for p in ("freelist_count", "page_count"))
            if free < 2 * _VACUUM_PAGES or 4 * free < pages:
                return False
            self.db.execute(f"pragma incremental_vacuum({_VACUUM_PAGES})").fetchall()
            return True

    # ── reading ──

    def attach(self, hook: str, now_ns: int) -> Recovered:
        try:
            return self._attach(hook, now_ns)
        except DamagedError as exc:
            self._repair(exc)
            return self._attach(hook, now_ns)

    def _attach(self, hook: str, now_ns: int) -> Recovered:
        with self.transaction():
            number = self.hook_id(hook)
            self._land(hook, number, now_ns)
            records, size = self.db.execute(
                "select coalesce(sum(remaining), 0), coalesce(sum(size * remaining / records), 0)"
                " from backlog where hook = ?",
                (number,),
            ).fetchone()
            (letters,) = self.db.execute(
                "select count(*) from letter where hook = ? and dead = 0", (number,)
            ).fetchone()
        self._attached.add(hook)
        return Recovered(
            records=records, size=size, letters=letters, lost=sum(self._losses.pop(hook, {}).values())
        )  # fmt: skip

    def _land(self, hook: str, number: int, now_ns: int) -> None:
        """Make letters of what was in flight."""
        rows = self.db.execute(
            "select backlog.chunk, state from backlog where hook = ? and state is not null", (number,)
        ).fetchall()
        for chunk, blob in rows:
            done, flight = _state.decode(blob)
            if not flight:
                continue
            read = self._read(hook, number, chunk)
            if read is None:
                continue
            gone = Ranges(done)
            for begin, end in flight:
                gone.add(begin, end)
                self.letters.put((self._new_letter(hook, read, i, now_ns) for i in range(begin, end)), self.hook_id)
            left = read.records - len(gone)
            if left:
                state = msgspec.msgpack.encode((tuple(gone), ()))
                self.db.execute(
                    "update backlog set remaining = ?, state = ? where hook = ? and chunk = ?",
                    (left, state, number, chunk),
                )
            else:
                self.finish([(number, chunk)])
        flying, damaged = self.letters.flying(hook)
        self.letters.put((interrupted(letter, now_ns) for letter in flying), self.hook_id)
        self._lose_letters(hook, damaged)

    def _new_letter(self, hook: str, chunk: Chunk, index: int, now_ns: int) -> Letter:
        letter = Letter(
            id=self.new_letter_id(), hook=hook, item=record_at(chunk.items, index), attempts=0, due_ns=now_ns,
            first_ns=now_ns, reason="interrupted",
        )  # fmt: skip
        return interrupted(letter, now_ns)

    def _read(self, hook: str, number: int, chunk: int) -> Chunk | None:
        """A chunk; None if it is damaged: then it is in quarantine, and the hook's records are booked as lost."""
        row = self.db.execute(
            "select chunk.records, chunk.size, crc, at_ns, body, remaining, state"
            " from backlog left join chunk on chunk.id = backlog.chunk where hook = ? and chunk = ?",
            (number, chunk),
        ).fetchone()
        records, size, crc, at_ns, body, left, state = row
        try:
            if body is None or zlib.crc32(body) != crc:
                raise CodecError("wrong checksum")
            items = tuple(decode_items(body))
            if sum(item.count for item in items) != records:
                raise CodecError("wrong number of records")
        except CodecError as exc:
            self._losses.setdefault(hook, {})[chunk] = left
            path = None
            with suppress(OSError):
                path = self._quarantine.save(body) if body is not None else None
            log.error("damaged records in the journal", hook=hook, records=left, error=str(exc), quarantine=str(path))
            self.finish([(number, chunk)])
            return None
        done = _state.decode(state)[0] if state is not None else ()
        return Chunk(id=chunk, items=items, records=records, size=size, at_ns=at_ns, done=done)

    def load(self, hook: str, after: int, *, max_records: int, max_size: int) -> Loaded:
        try:
            return self._load(hook, after, max_records=max_records, max_size=max_size)
        except DamagedError as exc:
            self._repair(exc)
            return self._load(hook, after, max_records=max_records, max_size=max_size)

    def _load(self, hook: str, after: int, *, max_records: int, max_size: int) -> Loaded:
        chunks: list[Chunk] = []
        with self.transaction():
            number = self.hook_id(hook)
            rows = self.db.execute(
                "select chunk, remaining, size from backlog where hook = ? and chunk > ? order by chunk limit ?",
                (number, after, _ROWS),
            ).fetchall()
            is_all = len(rows) < _ROWS
            for chunk, left, size in rows:
                if chunks and (left > max_records or size > max_size):
                    is_all = False
                    break
                max_records -= left
                max_size -= size
                after = chunk
                if (read := self._read(hook, number, chunk)) is not None:
                    chunks.append(read)
        return Loaded(chunks=tuple(chunks), last=after, is_all=is_all)

    def value(self, space: str, key: bytes) -> bytes | None:
        with translated(self.path):
            return self.store.get(space, key)

    def values(self, space: str, after: bytes | None, limit: int) -> list[tuple[bytes, bytes]]:
        with translated(self.path):
            return self.store.items(space, after, limit)

    def waiting_letters(self, hook: str, limit: int) -> list[Letter]:
        with self.transaction():
            letters, damaged = self.letters.waiting(hook, limit)
            self._lose_letters(hook, damaged)
        return letters

    def _lose_letters(self, hook: str, ids: Sequence[int]) -> None:
        """Damaged letters have negative numbers among the chunks that were lost."""
        self._losses.setdefault(hook, {}).update({-each: 1 for each in ids})
        self.letters.remove(ids)

    def take_losses(self) -> dict[str, dict[int, int]]:
        taken = {hook: chunks for hook, chunks in self._losses.items() if hook in self._attached}
        for hook in taken:
            del self._losses[hook]
        return taken
