"""The journal as the loop sees it: what is to be written is collected while the last group is being written, and is the
next group. Nothing here waits for the disk unless it says so.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

import structlog
import trio

from appliance.model import Item
from appliance.runtime.ledger import Account

from .backlog import Backlog
from .chunk import OpenChunk
from .entries import Group, Keep, Letter, NewChunk
from .store import Change, compose, merge
from .worker import Outcome, Worker

__all__ = ["Journal"]

log = structlog.get_logger("journal")

T = TypeVar("T")

CHUNK_SIZE = 256 << 10
CHUNK_RECORDS = 4096
GROUP_SIZE = 4 << 20
"""Bytes of items in one transaction, about."""
RETRY_S = 0.5
"""Until a group that could not be written is tried again."""
SYNC_S = 1.0
"""Until what was written is forced to the disk, with durability ``batch``."""


class _Entry:
    """An item that is to be written, and for whom."""

    __slots__ = ("backlogs", "item", "number")

    def __init__(self, number: int, item: Item, backlog: Backlog) -> None:
        self.number = number
        self.item = item
        self.backlogs = [backlog]


class _Bag:
    """Items on their way into a chunk."""

    __slots__ = ("items", "records", "size")

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.records = self.size = 0

    def add(self, item: Item) -> None:
        self.items.append(item)
        self.records += item.count
        self.size += item.size


class _Sealed:
    """A group that is being written, and what it was made of."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.entries: list[_Entry] = []
        self.chunks: list[tuple[NewChunk, tuple[Backlog, ...]]] = []
        self.touched: dict[tuple[str, int], tuple[Backlog, OpenChunk]] = {}
        self.letters: dict[int, Letter] = {}
        self.settled: dict[int, None] = {}
        self.changes: dict[tuple[str, bytes], Change] = {}

    def group(self) -> Group:
        return Group(
            chunks=tuple(chunk for chunk, _ in self.chunks),
            progress=tuple(chunk.progress(backlog.name) for backlog, chunk in self.touched.values()),
            letters=tuple(self.letters.values()),
            settled=tuple(self.settled),
            changes=tuple(self.changes.items()),
        )


class Journal:
    """See the module.

    Args:
        keep: what stands behind it; used in a thread of the journal's own.
        durability: ``batch``: what is written survives the end of the process at once, and a power failure after
            `SYNC_S`; ``always``: both at once.
    """

    def __init__(self, keep: Keep, *, durability: str = "batch") -> None:
        self.durability = durability
        self.backlogs: dict[str, Backlog] = {}
        self.is_failing = False
        """Something was not written, and nothing of its kind since."""
        self._has_refused = False
        """It was records; what is settled needs less room."""
        self._keep = keep
        self._worker: Worker | None = None
        self._opening = trio.Lock()
        self._inbox: deque[_Entry] = deque()
        self._touched: dict[tuple[str, int], tuple[Backlog, OpenChunk]] = {}
        self._letters: dict[int, Letter] = {}
        self._settled: dict[int, None] = {}
        self._changes: dict[tuple[str, bytes], Change] = {}
        self._entries = 0
        """Items that were handed over so far."""
        self._next_chunk = 1
        self._number = 1
        """Of the group that is being collected."""
        self._written = 0
        """The group that was written last, with all before it."""
        self._busy: _Sealed | None = None
        self._is_scheduled = self._is_closing = False
        self._blocked_until = self._chunks_blocked_until = 0.0
        self._wants_sync = self._wants_tidy = False
        self._changed = trio.lowlevel.ParkingLot()

    # ── life ──

    @property
    def is_open(self) -> bool:
        return self._worker is not None

    async def open(self) -> None:
        """Open what stands behind it, unless it is open.

        Raises:
            OSError: it cannot be opened.
            ApplianceError: the same, and a person must act.
        """
        async with self._opening:
            if self._worker is not None:
                return
            await trio.to_thread.run_sync(self._keep.open)
            self._next_chunk = self._keep.next_chunk
            self._worker = Worker("journal")

    def backlog(self, name: str, account: Account) -> Backlog:
        """What the hook of that name has to do; always the same one."""
        if name not in self.backlogs:
            self.backlogs[name] = Backlog(name, account, self)
        return self.backlogs[name]

    async def flush(self) -> None:
        """Wait until everything that was handed over is written."""
        while self._inbox or self._touched or self._letters or self._settled or self._changes or self._busy:
            self._schedule()
            await self._changed.park()
        await trio.lowlevel.checkpoint()

    async def aclose(self, timeout_s: float) -> None:
        """Write what is left and close; what cannot be written in that time is dropped for ``shutdown``.

        Cancellation: of no effect; it takes hardly longer than `timeout_s`.
        """
        worker = self._worker
        if worker is None:
            self._abandon_inbox()
            return
        with trio.CancelScope(shield=True):
            with trio.move_on_after(timeout_s):
                await self.flush()
            self._is_closing = True
            worker.submit(self._keep.sync, lambda _: None)
            worker.submit(self._keep.close, lambda _: None)
            if not await worker.stop(timeout_s):
                log.error("the journal's disk does not answer")
            await trio.lowlevel.checkpoint()  # outcomes that the thread told last come before this returns
        self._worker = None
        self._abandon_inbox()

    def _abandon_inbox(self) -> None:
        entries = [*(self._busy.entries if self._busy else ()), *self._inbox]
        self._busy = None
        self._inbox.clear()
        for entry in entries:
            for backlog in entry.backlogs:
                backlog.refuse(entry.item, "shutdown")

    def configure(self, durability: str, *, max_dead: int, max_dead_size: int) -> None:
        """Change what a power failure may cost and how many dead letters are kept."""
        self.durability = durability
        self.submit(lambda keep: keep.configure(max_dead=max_dead, max_dead_size=max_dead_size), lambda _: None)

    # ── what is to be written ──

    def append(self, backlog: Backlog, item: Item) -> None:
        last = self._inbox[-1] if self._inbox else None
        if last is not None and last.item is item and backlog not in last.backlogs:
            last.backlogs.append(backlog)
        else:
            self._entries += 1
            self._inbox.append(_Entry(self._entries, item, backlog))
        self._schedule()

    async def wait_stored(self) -> None:
        """Wait until every item that was handed over so far is written, or refused."""
        last = self._entries
        await trio.lowlevel.checkpoint()
        while (self._busy and self._busy.entries and self._busy.entries[0].number <= last) or (
            self._inbox and self._inbox[0].number <= last
        ):
            await self._changed.park()

    def touch(self, backlog: Backlog, chunk: OpenChunk) -> None:
        """Write how far a hook is with a chunk."""
        self._touched[backlog.name, chunk.id] = (backlog, chunk)
        self._schedule()

    def new_letter_id(self) -> int:
        return self._keep.new_letter_id()

    def put_letter(self, letter: Letter) -> None:
        self._letters[letter.id] = letter
        self._schedule()

    def settle_letter(self, number: int) -> None:
        self._letters.pop(number, None)
        self._settled[number] = None
        self._schedule()

    def change(self, space: str, key: bytes, change: Change) -> None:
        """Change a value of the store in the same transaction as everything else that is handed over in this moment."""
        self._changes[space, key] = compose(self._changes.get((space, key)), change)
        self._schedule()

    @property
    def changes(self) -> dict[tuple[str, bytes], Change]:
        """Those that are not written yet."""
        return merge(self._busy.changes, self._changes) if self._busy else self._changes

    @property
    def has_unwritten_letters(self) -> bool:
        busy = self._busy
        return bool(self._letters or self._settled or (busy is not None and (busy.letters or busy.settled)))

    @property
    def number(self) -> int:
        """Of the group that is being collected, for `wait_written`."""
        return self._number

    async def wait_written(self, number: int) -> None:
        """Wait until the marks and letters of that group are written; not those items for which there is no room."""
        await trio.lowlevel.checkpoint()
        while self._written < number:
            await self._changed.park()

    # ── other work in the thread ──

    def submit(self, job: Callable[[Keep], T], done: Callable[[Outcome[T]], None]) -> None:
        """Do `job` in the journal's thread, after what was sealed until now, then `done` in the loop."""
        if self._worker is None or self._is_closing:
            return

        def work() -> tuple[T, dict[str, dict[int, int]]]:
            result = job(self._keep)
            return result, self._keep.take_losses()

        def finish(outcome: Outcome[tuple[T, dict[str, dict[int, int]]]]) -> None:
            if outcome.error is not None:
                done(Outcome(None, outcome.error))
                return
            result, losses = outcome.unwrap()
            done(Outcome(result, None))
            for hook, chunks in losses.items():
                self.backlogs[hook].lose(chunks)

        self._worker.submit(work, finish)

    async def call(self, job: Callable[[Keep], T], then: Callable[[T], T] | None = None) -> T:
        """Do `job` in the journal's thread, and `then` with its result in the loop, before anything else happens there.

        Raises:
            Exception: what `job` raised.
            trio.ClosedResourceError: the journal was closed.

        Cancellation: nobody hears of the result.
        """
        if self._worker is None or self._is_closing:
            raise trio.ClosedResourceError("the journal is closed")
        outcomes: list[Outcome[T]] = []
        done = trio.Event()

        def finish(outcome: Outcome[T]) -> None:
            if then is not None and outcome.error is None:
                outcome = Outcome(then(outcome.unwrap()), None)
            outcomes.append(outcome)
            done.set()

        self.submit(job, finish)
        await done.wait()
        return outcomes[0].unwrap()

    def pump_in(self, delay_s: float) -> None:
        """Look after that time whether there is something to read or to write."""
        if self._worker is not None:
            self._worker.call_in(delay_s, self._on_alarm)

    # ── writing ──

    def _schedule(self) -> None:
        if self._is_scheduled or self._busy is not None or self._worker is None:
            return
        self._is_scheduled = True
        # Not at once: an item that several hooks want is put for one after the other, and is stored once.
        trio.lowlevel.current_trio_token().run_sync_soon(self._begin)

    def _begin(self) -> None:
        """Seal what was collected and have it written."""
        self._is_scheduled = False
        now = time.monotonic()
        if self._busy is not None or self._worker is None or self._is_closing or now < self._blocked_until:
            return
        sealed = _Sealed(self._number)
        if self._inbox and now >= self._chunks_blocked_until:
            self._seal_chunks(sealed)
        sealed.touched, self._touched = self._touched, {}
        sealed.letters, self._letters = self._letters, {}
        sealed.settled, self._settled = self._settled, {}
        sealed.changes, self._changes = self._changes, {}
        if not (sealed.chunks or sealed.touched or sealed.letters or sealed.settled or sealed.changes):
            return
        self._number += 1
        self._busy = sealed
        group = sealed.group()
        sync = self.durability == "always" and group.is_worth_syncing
        self.submit(lambda keep: keep.commit(group, sync=sync), self._finish)

    def _seal_chunks(self, sealed: _Sealed) -> None:
        """Move entries into chunks: one for each set of hooks, and more when it grows large."""
        routes: dict[tuple[Backlog, ...], _Bag] = {}
        size = 0
        while self._inbox and size < GROUP_SIZE:
            entry = self._inbox.popleft()
            sealed.entries.append(entry)
            size += entry.item.size
            route = tuple(entry.backlogs)
            bag = routes.setdefault(route, _Bag())
            bag.add(entry.item)
            if bag.size >= CHUNK_SIZE or bag.records >= CHUNK_RECORDS:
                self._seal_chunk(sealed, route, routes.pop(route))
        for route, bag in routes.items():
            self._seal_chunk(sealed, route, bag)

    def _seal_chunk(self, sealed: _Sealed, route: tuple[Backlog, ...], bag: _Bag) -> None:
        chunk = NewChunk(
            id=self._next_chunk, items=tuple(bag.items), records=bag.records, size=bag.size,
            at_ns=time.time_ns(), hooks=tuple(backlog.name for backlog in route),
        )  # fmt: skip
        self._next_chunk += 1
        sealed.chunks.append((chunk, route))

    def _finish(self, outcome: Outcome[None]) -> None:
        sealed, self._busy = self._busy, None
        if sealed is None:
            return  # it was given up at the end
        if outcome.error is None:
            self._succeed(sealed)
        else:
            self._fail(sealed, outcome.error)
        for backlog in self.backlogs.values():
            backlog.pump()
        self._changed.unpark_all()
        self._schedule()

    def _succeed(self, sealed: _Sealed) -> None:
        self._written = sealed.number
        if self.is_failing and (sealed.chunks or not self._has_refused):
            self.is_failing = self._has_refused = False
            log.info("the journal can be written again")
        for chunk, route in sealed.chunks:
            for backlog in route:
                backlog.written(chunk)
        for letter in sealed.letters.values():
            if letter.hook in self.backlogs:
                self.backlogs[letter.hook].letter_written(letter)
        self._wants_sync |= bool(sealed.chunks or sealed.letters)
        self._wants_tidy = True
        self.pump_in(SYNC_S)

    def _fail(self, sealed: _Sealed, error: BaseException) -> None:
        """Nothing of the group was written: all of it is collected again, but for items that nobody waits for."""
        self._has_refused |= bool(sealed.entries)
        if not self.is_failing:
            self.is_failing = True
            exc_info = None if isinstance(error, OSError) else error
            log.error("cannot write the journal, trying again", error=str(error), exc_info=exc_info)
        self._touched = sealed.touched | self._touched
        self._letters = {k: v for k, v in (sealed.letters | self._letters).items() if k not in self._settled}
        self._settled = sealed.settled | self._settled
        self._changes = merge(sealed.changes, self._changes)
        until = time.monotonic() + RETRY_S
        if sealed.entries:
            self._chunks_blocked_until = until
        else:
            self._blocked_until = until
        for entry in reversed(sealed.entries):
            self._keep_or_refuse(entry)
        self.pump_in(RETRY_S)

    def _keep_or_refuse(self, entry: _Entry) -> None:
        patient = [backlog for backlog in entry.backlogs if backlog.is_patient]
        for backlog in entry.backlogs:
            if backlog not in patient:
                backlog.refuse(entry.item, "disk")
        if patient:
            entry.backlogs = patient
            self._inbox.appendleft(entry)

    def _on_alarm(self) -> None:
        if self._wants_sync and self.durability == "batch":
            self._wants_sync = False
            self.submit(lambda keep: keep.sync(), self._synced)
        if self._wants_tidy and self._busy is None and not self._inbox:  # what is free under load is soon used again
            self._wants_tidy = False
            self.submit(lambda keep: keep.tidy(), self._tidied)
        for backlog in self.backlogs.values():
            backlog.pump()
        self._schedule()

    def _synced(self, outcome: Outcome[None]) -> None:
        if outcome.error is not None:
            log.error("cannot force the journal to the disk", error=str(outcome.error))

    def _tidied(self, outcome: Outcome[bool]) -> None:
        if outcome.error is None and outcome.unwrap():
            self._wants_tidy = True
            self.pump_in(0.0)
