"""The letters in the journal's database: records that wait for another attempt, and dead ones."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable, Iterable, Sequence

import msgspec

from .codec import CodecError, decode_items, encode_items
from .entries import Attempt, Letter, LetterFigures, make_history

__all__ = ["LetterTable", "interrupted"]

FORGOTTEN = "forgotten"


class _Facts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a row says besides its columns."""

    attempts: int
    first_ns: int
    reason: str
    error: str = ""
    trace: str = ""
    history: tuple[Attempt, ...] = ()


_facts = msgspec.msgpack.Decoder(_Facts)
_LETTERS = (
    "select letter.id, hook.name, dead, flight, due_ns, crc, facts, item"
    " from letter join hook on hook.id = letter.hook where "
)


def _printable(text: str) -> str:
    """Text that can be written: what a hook raises may hold surrogates."""
    return text.encode("utf-8", "backslashreplace").decode()


class LetterTable:
    """See the module.

    Args:
        connection: of the database.
        max_dead: the oldest go when there are more.
        max_dead_size: or when their items take more bytes.
    """

    def __init__(self, connection: sqlite3.Connection, *, max_dead: int, max_dead_size: int) -> None:
        self._db = connection
        self.max_dead, self.max_dead_size = max_dead, max_dead_size
        self._dead, self._dead_size = self._count_dead()

    def _count_dead(self) -> tuple[int, int]:
        found = self._db.execute("select count(*), coalesce(sum(size), 0) from letter where dead = 1").fetchone()
        return int(found[0]), int(found[1])

    def statistics(self) -> LetterFigures:
        row = self._db.execute("select value from counter where name = ?", (FORGOTTEN,)).fetchone()
        return LetterFigures(dead=self._dead, dead_size=self._dead_size, forgotten=row[0] if row else 0)

    @property
    def held(self) -> tuple[int, int]:
        """Dead letters and their bytes, as `statistics` says, but from any thread."""
        return self._dead, self._dead_size

    def recount(self) -> None:
        """Look again after a transaction that was not completed."""
        self._dead, self._dead_size = self._count_dead()

    # ── within a transaction ──

    def put(self, letters: Iterable[Letter], hook_id: Callable[[str], int]) -> None:
        for letter in letters:
            facts = _Facts(
                attempts=letter.attempts,
                first_ns=letter.first_ns,
                reason=letter.reason,
                error=_printable(letter.error),
                trace=_printable(letter.trace),
                history=tuple(msgspec.structs.replace(a, error=_printable(a.error)) for a in letter.history),
            )
            body, item = msgspec.msgpack.encode(facts), encode_items([letter.item])
            size = len(body) + len(item)
            self._db.execute(
                "insert or replace into letter (id, hook, dead, flight, due_ns, size, crc, facts, item)"
                " values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    letter.id, hook_id(letter.hook), letter.is_dead, letter.in_flight, letter.due_ns, size,
                    zlib.crc32(item, zlib.crc32(body)), body, item,
                ),
            )  # fmt: skip
            if letter.is_dead:
                self._dead += 1
                self._dead_size += size
        self._forget_some()

    def remove(self, ids: Sequence[int]) -> None:
        """Those that are not dead."""
        self._db.executemany("delete from letter where id = ? and dead = 0", [(each,) for each in ids])

    def _forget_some(self) -> None:
        forgotten = 0
        while self._dead > self.max_dead or (self._dead_size > self.max_dead_size and self._dead > 1):
            row = self._db.execute("select id, size from letter where dead = 1 order by id limit 1").fetchone()
            self._db.execute("delete from letter where id = ?", (row[0],))
            self._dead -= 1
            self._dead_size -= row[1]
            forgotten += 1
        if forgotten:
            self._db.execute(
                "insert into counter values (?, ?) on conflict (name) do update set value = value + excluded.value",
                (FORGOTTEN, forgotten),
            )

    # ── reading ──

    def waiting(self, hook: str, limit: int) -> tuple[list[Letter], list[int]]:
        """Letters in the order in which they are due, and the ids of damaged ones."""
        rows = self._db.execute(
            _LETTERS + "hook.name = ? and dead = 0 and flight = 0 order by due_ns, letter.id limit ?",
            (hook, limit),
        )
        return self._read(rows)

    def flying(self, hook: str) -> tuple[list[Letter], list[int]]:
        """Letters with which an attempt was being made."""
        rows = self._db.execute(
            _LETTERS + "hook.name = ? and dead = 0 and flight = 1",
            (hook,),
        )
        return self._read(rows)

    def dead(self, hook: str | None, *, after: int, limit: int) -> tuple[list[Letter], list[int]]:
        """Dead letters by id."""
        rows = self._db.execute(
            _LETTERS + "dead = 1 and letter.id > ? and (? is null or hook.name = ?) order by letter.id limit ?",
            (after, hook, hook, limit),
        )
        return self._read(rows)

    def _read(
        self, rows: Iterable[tuple[int, str, int, int, int, int, bytes, bytes]]
    ) -> tuple[list[Letter], list[int]]:
        letters: list[Letter] = []
        damaged: list[int] = []
        for number, hook, dead, flight, due_ns, crc, body, item in rows:
            try:
                if zlib.crc32(item, zlib.crc32(body)) != crc:
                    raise CodecError("wrong checksum")
                facts = _facts.decode(body)
                letters.append(
                    Letter(
                        id=number, hook=hook, item=decode_items(item)[0], due_ns=due_ns, is_dead=bool(dead),
                        in_flight=bool(flight), **msgspec.structs.asdict(facts),
                    )
                )  # fmt: skip
            except (CodecError, msgspec.MsgspecError):
                damaged.append(number)
        return letters, damaged

    # ── a person's wishes ──

    def revive(self, hook: str | None, ids: Sequence[int] | None, now_ns: int) -> dict[str, int]:
        """Give dead letters as many attempts as a new record has; returns how many, by hook.

        A letter that is not dead, because it was revived already, is left alone.
        """
        revived: dict[str, int] = {}
        for letter in self._chosen(hook, ids):
            facts = _Facts(
                attempts=0, first_ns=letter.first_ns, reason=letter.reason, error=letter.error, trace=letter.trace,
                history=letter.history,
            )  # fmt: skip
            body, item = msgspec.msgpack.encode(facts), encode_items([letter.item])
            self._db.execute(
                "update letter set dead = 0, due_ns = ?, facts = ?, crc = ? where id = ? and dead = 1",
                (now_ns, body, zlib.crc32(item, zlib.crc32(body)), letter.id),
            )
            revived[letter.hook] = revived.get(letter.hook, 0) + 1
        self.recount()
        return revived

    def purge(self, hook: str | None, ids: Sequence[int] | None) -> int:
        """Delete dead letters, damaged ones too; returns how many."""
        sql = "delete from letter where dead = 1 and (? is null or hook = (select id from hook where name = ?))"
        count = 0
        if ids is None:
            count = self._db.execute(sql, (hook, hook)).rowcount
        else:
            for each in ids:
                count += self._db.execute(f"{sql} and id = ?", (hook, hook, each)).rowcount
        self.recount()
        return count

    def _chosen(self, hook: str | None, ids: Sequence[int] | None) -> Iterable[Letter]:
        if ids is not None:
            for each in sorted(set(ids)):
                yield from (x for x in self.dead(hook, after=each - 1, limit=1)[0] if x.id == each)
            return
        after = 0
        while True:
            letters, damaged = self.dead(hook, after=after, limit=256)
            yield from letters
            if not letters and not damaged:
                return
            after = max([*(x.id for x in letters), *damaged])


def interrupted(letter: Letter, now_ns: int) -> Letter:
    """`letter` after an attempt that the end of the process interrupted."""
    attempt = Attempt(number=letter.attempts + 1, at_ns=now_ns, reason="interrupted")
    return msgspec.structs.replace(
        letter, attempts=attempt.number, due_ns=now_ns, in_flight=False, reason="interrupted",
        error="the appliance ended during the attempt", trace="", history=make_history(letter.history, attempt),
    )  # fmt: skip
