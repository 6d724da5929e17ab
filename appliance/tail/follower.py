"""The door that follows Zeek's own log files: every record of them, TSV or JSON, exactly once, across rotation.

Files are found by globs, read by the block in a worker thread, and told apart by what they are and not by what they are
called: see `roster`. What is promised about records and crashes is this.

* While the appliance runs, and across an orderly stop and start, every line is handed on exactly once.
* After a crash or kill -9 nothing is lost: reading begins where every consumer had settled all records before. What was
  handed on since then is handed on again: usually the records of the last second (`keeper.SAVE_S`), more if a consumer
  was slow, because positions wait for the slowest. A hook that runs several calls at a time may settle out of order; of
  it, a crash can lose what its calls were working on.
* Lost is only what was gone before it could be read: a file truncated, or deleted after it was renamed out of sight,
  faster than the door looks.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import msgspec
import structlog
import trio

from appliance.config import Tail
from appliance.model import LogBatch
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.ledger import Account, Ledger
from appliance.runtime.logs import Throttle

from .file import Chunk
from .finder import find_folders
from .keeper import Keeper
from .position import Position, load_positions
from .roster import Roster
from .watch import FolderWatch

__all__ = ["LogTail", "TailFigures"]

log = structlog.get_logger("tail")

BUDGET = 4 << 20
"""Bytes for each round of reading; what a round holds in memory is a few times that."""
PAUSE_S = 0.05
"""Rest between rounds while files are being written: many records for each round, and no busy loop."""
SETTLE_S = 0.25
"""How often consumers are asked whether they are ready for a save."""
STOP_PATIENCE_S = 2.0
"""How long a stop waits for consumers before it saves where reading is to go on."""
MAX_PATHS = 4096
OTHERS = "*"
"""What counts log paths beyond these; no path has this name."""


class TailFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One tail at one moment."""

    files: int
    """Files that are followed, read ones that are still there included."""
    open_files: int
    unread_bytes: int
    """Bytes of plain files that are known and not read yet."""
    copies: int
    """Copies and archives of followed files, left alone until those end."""
    cuts: int
    """Truncations seen."""
    torn_ends: int
    """Files that ended within a line."""
    unreadable: tuple[str, ...]
    """What cannot be read, and why."""
    is_saving: bool
    """Whether positions can be saved."""
    paths: dict[str, int]
    """Accepted records by log path; ``*`` for those of further paths, if there are very many."""


class LogTail:
    """See the module. A service of the supervisor."""

    def __init__(
        self, config: Tail, *, account: Account, dispatcher: Dispatcher, ledger: Ledger, state_dir: Path
    ) -> None:
        self.config = config
        self.source = f"tail.{config.name}"
        self._account = account
        self._dispatcher = dispatcher
        self._state = state_dir / f"tail-{config.name}.json"
        self._roster = self._make_roster(None)
        self._keeper = Keeper(self._state, self._positions, ledger=ledger, own=account)
        self._watch = FolderWatch()
        self._throttle = Throttle()
        self._paths: dict[str, int] = {}
        self._notes: list[tuple[str, dict[str, Any]]] = []
        self._chunks: list[Chunk] = []
        self._in_hand = 0
        self._torn_ends = 0
        self._next_look_s = self._quiet_until_s = -math.inf
        self._is_dirty = False
        self._kept: list[Position] | None = None
        self._stopping = False
        self._waiting: trio.CancelScope | None = None

    # ── what others may call ──

    def statistics(self) -> TailFigures:
        roster = self._roster
        return TailFigures(
            files=len(roster.files),
            open_files=roster.open_files,
            unread_bytes=roster.unread_bytes,
            copies=roster.copies,
            cuts=roster.cuts,
            torn_ends=roster.torn_ends,
            unreadable=roster.troubles,
            is_saving=not self._keeper.is_failing,
            paths=dict(self._paths),
        )

    def stop(self) -> None:
        self._stopping = True
        self._wake()

    def apply(self, config: Tail) -> bool:
        """Take over a new table while reading, if only `paths`, `poll` and `max_wait` differ."""
        live = msgspec.structs.replace(self.config, paths=config.paths, poll=config.poll, max_wait=config.max_wait)
        if live != config:
            return False
        self.config = config
        self._next_look_s = -math.inf
        self._wake()
        return True

    # ── the service ──

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        # After a failure the positions in memory are the better ones: the disk may be what has failed.
        kept = self._kept if self._kept is not None else await trio.to_thread.run_sync(self._load)
        self._roster = self._make_roster(kept)
        self._torn_ends = 0
        self._watch.open()
        self._account.add_holder(self._held)
        is_orderly = False
        try:
            await self._look()
            if not self._watch.works:
                log.warning("nothing to watch: folders are missing, or inotify fails", door=self.source)
            task_status.started()
            await self._follow_until_stopped()
            is_orderly = True
            await self._keeper.wait_settled(STOP_PATIENCE_S)
        finally:
            self._watch.close()
            for file in self._roster.files.values():
                file.close()
            # What is in hand was not handed on: its position is not saved, so it is read again.
            self._account.drop("shutdown", self._in_hand)
            self._in_hand = 0
            self._chunks.clear()
            self._account.remove_holder(self._held)
            self._kept = self._positions()
            self._keeper.save_now(is_orderly=is_orderly)

    def _held(self) -> int:
        return self._in_hand

    def _positions(self) -> list[Position]:
        return self._roster.positions()

    def _make_roster(self, saved: list[Position] | None) -> Roster:
        return Roster(
            saved,
            from_start=self.config.from_start,
            max_line=int(self.config.max_record),
            clock=time.monotonic,
            report=self._note,
        )

    def _load(self) -> list[Position] | None:
        """What an earlier run saved; blocks."""
        try:
            return load_positions(self._state)
        except ValueError as exc:
            aside = self._state.with_name(self._state.name + ".broken")
            self._state.replace(aside)
            log.error("positions are lost: files are read from the start", error=str(exc), kept=str(aside))
            return []

    async def _follow_until_stopped(self) -> None:
        """Read what there is, rest, and when there is nothing for a while, sleep until something happens."""
        is_armed = False
        while not self._stopping:
            await self._look_if_due()
            self._chunks = await trio.to_thread.run_sync(self._roster.read, BUDGET)
            has_read = bool(self._chunks)
            await self._hand_over()
            self._tell()
            await self._keeper.save_some()
            if self._roster.has_more:
                await trio.lowlevel.checkpoint()
            elif has_read or not self._watch.works:
                is_armed = self._arm(wanted=False)
                await self._sleep(PAUSE_S if has_read else self.config.poll.seconds)
            elif not is_armed:
                is_armed = self._arm(wanted=True)  # and read once more: what was written before is no event
            else:
                await self._sleep(self.config.poll.seconds, watched=True)
                is_armed = self._arm(wanted=False)

    def _arm(self, *, wanted: bool) -> bool:
        self._watch.expect_writes(wanted=wanted)
        return wanted

    async def _sleep(self, timeout_s: float, *, watched: bool = False) -> None:
        """Sleep until `timeout_s` have passed, it is time to look, `stop`, or, if `watched`, something happens."""
        until_s = min(trio.current_time() + timeout_s, self._next_look_s)
        if self._is_dirty:
            until_s = min(until_s, self._quiet_until_s)
        if self._keeper.is_waiting:
            until_s = min(until_s, trio.current_time() + SETTLE_S)
        with trio.move_on_at(until_s) as self._waiting:
            if not self._stopping:
                if watched:
                    await self._watch.wait()
                else:
                    await trio.sleep_forever()
        self._waiting = None

    def _wake(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()

    async def _look_if_due(self) -> None:
        """Look when names have changed and every `poll`, but never so often that it becomes all we do."""
        self._is_dirty = self._watch.drain() or self._is_dirty
        now_s = trio.current_time()
        if now_s >= self._next_look_s or (self._is_dirty and now_s >= self._quiet_until_s):
            await self._look()

    async def _look(self) -> None:
        self._is_dirty = False
        begun_s = trio.current_time()
        globs = self.config.paths
        self._watch.follow(await trio.to_thread.run_sync(find_folders, globs))
        await trio.to_thread.run_sync(self._roster.look, globs)
        now_s = trio.current_time()
        took_s = now_s - begun_s
        self._quiet_until_s = now_s + 2 * took_s
        self._next_look_s = now_s + max(self.config.poll.seconds, 10 * took_s)
        self._book_torn_ends()

    # ── handing over ──

    async def _hand_over(self) -> None:
        """Book and dispatch what was read; a file's position moves when its records were handed on."""
        for chunk in self._chunks:
            count = sum(group.count for group in chunk.piece.groups)
            self._account.received += count + sum(chunk.piece.refused.values())
            self._in_hand += count
            for reason, refused in chunk.piece.refused.items():
                self._account.drop(reason, refused)
        while self._chunks:
            chunk = self._chunks[0]
            if chunk.piece.complaint and (held := self._throttle.admit(chunk.file.path)) is not None:
                log.warning(
                    "refused a line", door=self.source, file=chunk.file.path, reason=chunk.piece.complaint, more=held
                )
            for path, data, count, columns in chunk.piece.groups:
                counted = path if path in self._paths or len(self._paths) < MAX_PATHS else OTHERS
                self._paths[counted] = self._paths.get(counted, 0) + count
                batch = LogBatch(path=path, source=self.source, data=data, count=count, columns=columns)
                self._in_hand -= count
                await self._dispatcher.dispatch(batch, self._account, patience_s=self.config.max_wait.seconds)
            chunk.file.position = chunk.position
            self._chunks.pop(0)
            await trio.lowlevel.checkpoint()
            # However slow consumers are, a new file is opened before it is renamed out of sight.
            await self._look_if_due()

    def _book_torn_ends(self) -> None:
        ended, self._torn_ends = self._roster.torn_ends - self._torn_ends, self._roster.torn_ends
        self._account.received += ended
        self._account.drop("torn_line", ended)

    # ── what is told ──

    def _note(self, event: str, **details: Any) -> None:
        """From the worker thread: kept until the loop can tell it."""
        self._notes.append((event, details))

    def _tell(self) -> None:
        notes, self._notes = self._notes, []
        for event, details in notes:
            log.warning(event, door=self.source, **details)
