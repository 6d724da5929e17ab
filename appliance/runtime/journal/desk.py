"""Dead letters and backlogs for people: to be listed, looked at, tried again, deleted. Safe while hooks run: everything
is done in the journal's own thread, and what was done already is not done twice.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import trio

from appliance.errors import ApplianceError

from .entries import Letter, LetterFigures
from .journal import Journal
from .letters import LetterTable
from .schema import connect, translated
from .sqlite import SqliteKeep

__all__ = ["Desk", "HookBacklog", "StoppedDesk", "open_stopped"]

_FLUSH_S = 1.0


class HookBacklog(msgspec.Struct, frozen=True, kw_only=True):
    """What the journal holds for one hook."""

    hook: str
    waiting: int
    """Records that no attempt was made with, or the first one is being made."""
    retrying: int
    """Records that wait for another attempt."""
    dead: int


def _backlogs(db: sqlite3.Connection) -> list[HookBacklog]:
    rows = db.execute(
        "select name, (select coalesce(sum(remaining), 0) from backlog where hook = hook.id),"
        " (select count(*) from letter where hook = hook.id and dead = 0),"
        " (select count(*) from letter where hook = hook.id and dead = 1) from hook order by name"
    )
    found = (HookBacklog(hook=name, waiting=w, retrying=r, dead=d) for name, w, r, d in rows)
    return [each for each in found if each.waiting or each.retrying or each.dead]


def _show(letters: LetterTable, number: int) -> Letter | None:
    return next((letter for letter in letters.dead(None, after=number - 1, limit=1)[0] if letter.id == number), None)


class Desk:
    """See the module; for a running appliance.

    Args:
        journal: that is open; its keep is a `SqliteKeep`.
        keep: that.
    """

    def __init__(self, journal: Journal, keep: SqliteKeep) -> None:
        self._journal = journal
        self._keep = keep

    async def _settle_down(self) -> None:
        with trio.move_on_after(_FLUSH_S):  # a full disk keeps nobody from looking
            await self._journal.flush()

    async def backlogs(self) -> list[HookBacklog]:
        """What waits for each hook, also for those that nobody runs; hooks without anything are left out."""
        await self._settle_down()
        return await self._journal.call(lambda _: _backlogs(self._keep.db))

    async def statistics(self) -> LetterFigures:
        return await self._journal.call(lambda _: self._keep.letters.statistics())

    async def dead(self, hook: str | None = None, *, after: int = 0, limit: int = 100) -> list[Letter]:
        """Dead letters with higher ids than `after`, in the order of their ids."""
        await self._settle_down()
        return await self._journal.call(lambda _: self._keep.letters.dead(hook, after=after, limit=limit)[0])

    async def show(self, number: int) -> Letter | None:
        """One dead letter; None: there is none of that id."""
        await self._settle_down()
        return await self._journal.call(lambda _: _show(self._keep.letters, number))

    async def retry(self, hook: str | None = None, *, ids: Sequence[int] | None = None) -> int:
        """Give dead letters as many attempts as new records have; returns how many.

        Args:
            hook: of this hook only.
            ids: these only; one that is not dead any more is left alone.

        Raises:
            OSError: the disk says no, and nothing was changed.
        """
        await self._settle_down()

        def revive(_: object) -> dict[str, int]:
            with self._keep.transaction():
                return self._keep.letters.revive(hook, ids, time.time_ns())

        with trio.CancelScope(shield=True):  # what was revived must be heard of
            revived = await self._journal.call(revive)
        for name, count in revived.items():
            if name in self._journal.backlogs:
                self._journal.backlogs[name].revived(count)
        return sum(revived.values())

    async def purge(self, hook: str | None = None, *, ids: Sequence[int] | None = None) -> int:
        """Delete dead letters; returns how many. Arguments and errors as for `retry`."""
        await self._settle_down()

        def purge(_: object) -> int:
            with self._keep.transaction():
                return self._keep.letters.purge(hook, ids)

        return await self._journal.call(purge)

    async def purge_backlog(self, hook: str) -> int:
        """Delete what waits for a hook that nobody runs; returns how many records.

        Raises:
            ApplianceError: the hook runs.
            OSError: the disk says no, and nothing was changed.
        """
        backlog = self._journal.backlogs.get(hook)
        if backlog is not None and backlog.fronts:
            raise ApplianceError(f"hook {hook} runs and works on what waits for it")
        await self._settle_down()
        with trio.CancelScope(shield=True):
            count = await self._journal.call(lambda _: _purge_backlog(self._keep, hook))
        if backlog is not None:
            backlog.forget()
        return count


def _purge_backlog(keep: SqliteKeep, hook: str) -> int:
    with keep.transaction():
        number = keep.hook_id(hook)
        rows = keep.db.execute("select chunk, remaining from backlog where hook = ?", (number,)).fetchall()
        keep.finish([(number, chunk) for chunk, _ in rows])
        letters: int = keep.db.execute("delete from letter where hook = ? and dead = 0", (number,)).rowcount
    waiting: int = sum(left for _, left in rows)
    return waiting + letters


class StoppedDesk:
    """The part of `Desk` that only looks; blocks."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._letters = LetterTable(connection, max_dead=1, max_dead_size=1)

    def backlogs(self) -> list[HookBacklog]:
        return _backlogs(self._db)

    def statistics(self) -> LetterFigures:
        return self._letters.statistics()

    def dead(self, hook: str | None = None, *, after: int = 0, limit: int = 100) -> list[Letter]:
        return self._letters.dead(hook, after=after, limit=limit)[0]

    def show(self, number: int) -> Letter | None:
        return _show(self._letters, number)


@contextmanager
def open_stopped(path: Path) -> Iterator[StoppedDesk]:
    """The journal of an appliance that does not run; nothing is changed.

    Raises:
        FileNotFoundError: there is none.
        ApplianceError: the appliance runs.
        OSError, DamagedError: it cannot be read.
    """
    if not path.exists():
        raise FileNotFoundError(f"no journal at {path}")
    with translated(path), closing(connect(path, read_only=True)) as connection:
        yield StoppedDesk(connection)
