"""The door of finished files and folders: what appears in a folder is handed on once, when it is finished.

Events of the kernel say when a file was closed or renamed; whatever they miss is found by looking. Things that nobody
says are finished are those that stay as they are for a while.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import msgspec
import structlog
import trio

from appliance.config import Watch
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.journal.journal import Journal
from appliance.runtime.ledger import Account
from appliance.runtime.logs import Throttle
from appliance.runtime.receipts import Receipts

from . import finish
from .handing import Handing
from .inotify import FolderEvents, Happened
from .look import Listing, Rules, Seen, look, look_at
from .memory import Memory, Thing
from .ripening import Ripening

__all__ = ["WatchDoor", "WatchFigures"]

log = structlog.get_logger("watch")

BATCH = 1024
"""Things that are looked at in one go."""
BLIND_POLL_S = 1.0
"""How often everything is looked at where the kernel does not tell what happens."""
SHARE = 10
"""Looking takes at most one part in so many of the time."""
MAX_ROUNDS = 4
"""How often a tree is looked at again because folders appeared in it meanwhile; the next look finds what is left."""
SHOWN = 16


class WatchFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One watch at one moment."""

    unfinished: int
    """Things that may still be written."""
    ready: int
    """Finished ones that wait for room at a consumer, or for a consumer."""
    handed_on: int
    """Those that consumers work on."""
    remembered: int
    """Those that are in the folder and need not be handed on again."""
    failed: tuple[str, ...]
    """Some of those that a consumer has given up."""
    is_told: bool
    """Whether the kernel tells what happens; if not, the folder is looked at every second."""
    troubles: tuple[str, ...]
    """What cannot be read, and why."""


class WatchDoor:
    """See the module. A service of the supervisor.

    Args:
        config: the table.
        account: what was handed on.
        dispatcher: knows who wants it.
        receipts: tell what became of it.
        journal: keeps what is known.
    """

    def __init__(
        self, config: Watch, *, account: Account, dispatcher: Dispatcher, receipts: Receipts, journal: Journal
    ) -> None:
        self.config = config
        self.source = f"watch.{config.name}"
        self._receipts = receipts
        self._memory = Memory(journal, config.name)
        self._handing = Handing(config, account=account, dispatcher=dispatcher, memory=self._memory, wake=self._wake)
        self._events = FolderEvents()
        self._throttle = Throttle()
        self._ripening = Ripening(config.settle.seconds)
        self._troubles: tuple[str, ...] = ()
        self._next_look_s = -math.inf
        self._is_loaded = self._stopping = self._is_woken = False
        self._waiting: trio.CancelScope | None = None
        self._rules = self._make_rules()

    def _make_rules(self) -> Rules:
        config = self.config
        return Rules(
            root=config.directory, what=config.what, match=config.match, recursive=config.recursive,
            marker=config.marker,
        )  # fmt: skip

    # ── what others may call ──

    def statistics(self) -> WatchFigures:
        things = self._memory.things
        failed = [relative for relative, thing in things.items() if thing.has_failed]
        return WatchFigures(
            unfinished=len(self._ripening),
            ready=self._handing.waiting,
            handed_on=len(self._handing.out),
            remembered=len(things),
            failed=tuple(failed[:SHOWN]),
            is_told=self._events.is_complete,
            troubles=self._troubles,
        )

    def stop(self) -> None:
        self._stopping = True
        self._wake()

    def apply(self, config: Watch) -> bool:
        """Take over a new table while watching, unless it is about another folder."""
        if (config.directory, config.what) != (self.config.directory, self.config.what):
            return False
        self.config = self._handing.config = config
        self._rules = self._make_rules()
        self._ripening = Ripening(config.settle.seconds)
        self._handing.ready.clear()
        self._next_look_s = -math.inf
        self._wake()
        return True

    def release(self) -> None:
        """The watch is taken out of the file: nobody listens any more."""
        self._receipts.unlisten(self.source)

    # ── the service ──

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        if not self._is_loaded:
            await self._memory.load()
            self._handing.recall()
            self._is_loaded = True
        self._receipts.listen(self.source, self._handing.hear)  # to the end: consumers outlive their doors
        self._events.open(self._rules.root)
        try:
            await self._look()
            if self._troubles:
                log.warning("cannot look into a folder yet", door=self.source, trouble=self._troubles[0])
            task_status.started()
            while not self._stopping:
                await self._take_events()
                if self._events.has_missed or trio.current_time() >= self._next_look_s:
                    await self._look()
                await self._check_due()
                await self._handing.hand_on()
                await self._clear_away()
                await self._sleep()
        finally:
            self._events.close()

    async def _sleep(self) -> None:
        await trio.lowlevel.checkpoint()
        times = [self._next_look_s, self._handing.next_s]
        if self._ripening.next_s is not None:
            times.append(self._ripening.next_s)
        with trio.move_on_at(min(times)) as self._waiting:
            if not (self._stopping or self._is_woken):
                await self._events.wait()
        self._waiting = None
        self._is_woken = False

    def _wake(self) -> None:
        self._is_woken = True
        if self._waiting is not None:
            self._waiting.cancel()

    # ── what is there ──

    async def _look(self) -> None:
        """Look at everything."""
        began_s = trio.current_time()
        self._events.has_missed = False
        listing = await self._look_below(None)
        self._troubles = listing.troubles
        self._events.keep_only(set(listing.folders))
        for seen in listing.things.values():
            self._consider(seen, is_finished=False)
        if listing.root_inode and not listing.troubles:
            self._prune(listing)
        took_s = trio.current_time() - began_s
        poll_s = self.config.poll.seconds
        if not self._events.is_complete:
            poll_s = min(poll_s, BLIND_POLL_S)
        self._next_look_s = trio.current_time() + max(poll_s, SHARE * took_s)

    async def _look_below(self, start: str | None) -> Listing:
        """Look at a tree, and watch all of it before that, so that nothing happens unseen in between."""
        for _ in range(MAX_ROUNDS):
            listing = await trio.to_thread.run_sync(look, self._rules, start)
            if not any([self._events.add(folder) for folder in listing.folders]):  # noqa: C419 - each of them
                break
        return listing

    def _prune(self, listing: Listing) -> None:
        """Forget things that are gone; not if another disk is there, or none is mounted."""
        memory = self._memory
        if listing.root_inode != memory.root_inode:
            if memory.things and not listing.things:
                return
            memory.set_root(listing.root_inode)
        for relative in [each for each in memory.things if each not in listing.things]:
            self._forget(relative)
        if self.config.on_success != "keep" or self.config.failed:
            # After a restart, or when it did not work.
            self._handing.over.extend(each for each in memory.things if memory.things[each].is_over)

    def _forget(self, relative: str) -> None:
        self._ripening.forget(relative)
        self._handing.forget(relative)

    def _consider(self, seen: Seen, *, is_finished: bool) -> None:
        """A thing as it is now."""
        thing = self._memory.things.get(seen.relative)
        if thing is not None and thing.is_same(seen, by_content=self._rules.what == "files"):
            return
        if self._rules.marker and self._rules.what == "folders":
            is_finished = seen.is_marked
        ready = self._handing.ready
        # What is closed without a byte in it is a name that somebody has only reserved.
        if (is_finished and seen.size) or ready.get(seen.relative) == seen:
            self._ripening.forget(seen.relative)
            ready[seen.relative] = seen
        else:
            ready.pop(seen.relative, None)
            self._ripening.see(seen, trio.current_time())

    # ── what happens ──

    async def _take_events(self) -> None:
        happened = self._events.take()
        for begin in range(0, len(happened), BATCH):
            await self._take_some(happened[begin : begin + BATCH])

    async def _take_some(self, happened: list[Happened]) -> None:
        wanted: dict[str, bool] = {}
        """What may be looked for, and whether it is said to be finished."""
        folders: dict[str, None] = {}
        for each in happened:
            if each.is_gone:
                self._note_gone(each)
                wanted.pop(each.path, None)
                folders.pop(each.path, None)
            elif self._rules.what == "folders" and not each.is_folder:
                parent = each.path.rpartition("/")[0]
                wanted.setdefault(parent, False)
            elif each.is_folder != (self._rules.what == "folders"):
                folders[each.path] = None
            else:
                wanted[each.path] = wanted.get(each.path, False) or each.is_finished
                if each.is_folder:
                    folders[each.path] = None
        found = await trio.to_thread.run_sync(self._look_at_each, list(wanted))
        for path, seen in found.items():
            if seen is not None:
                self._consider(seen, is_finished=wanted[path])
        for path in folders:
            if found.get(path) is None:
                await self._enter(path)

    def _note_gone(self, event: Happened) -> None:
        self._forget(self._rules.relative(event.path))
        if event.is_folder:
            self._events.forget_below(event.path)

    async def _enter(self, path: str) -> None:
        """A folder appeared that is none of what is looked for."""
        name = path.rpartition("/")[2]
        if self._rules.enters(name):
            listing = await self._look_below(path)
            for seen in listing.things.values():
                self._consider(seen, is_finished=False)
        elif self._rules.what == "folders" and self._rules.wants(name):
            self._events.add(path)  # it is one with the first file in it
            seen_now = await trio.to_thread.run_sync(look_at, self._rules, path)
            if seen_now is not None:
                self._consider(seen_now, is_finished=False)

    def _look_at_each(self, paths: list[str]) -> dict[str, Seen | None]:
        return {path: look_at(self._rules, path) for path in paths}

    async def _check_due(self) -> None:
        """Look again at what has had its time to settle."""
        now_s = trio.current_time()
        while due := self._ripening.take_due(now_s, BATCH):
            paths = [f"{self._rules.root}/{relative}" for relative in due]
            found = await trio.to_thread.run_sync(self._look_at_each, paths)
            for relative, seen in zip(due, found.values(), strict=True):
                settled = self._ripening.confirm(relative, seen, trio.current_time())
                if settled is None:
                    continue
                if self._rules.what == "folders" and self._rules.marker and not settled.is_marked:
                    self._ripening.see(settled, trio.current_time())
                else:
                    self._handing.ready[relative] = settled

    # ── clearing away ──

    async def _clear_away(self) -> None:
        """Delete or move what everybody is done with, as the table says."""
        over = self._handing.over
        while over:
            relative = over.popleft()
            thing = self._memory.things.get(relative)
            if thing is None or not thing.is_over:
                continue
            if (action := self._action(relative, thing)) is None:
                continue
            try:
                await trio.to_thread.run_sync(action)
            except OSError as exc:
                if (held := self._throttle.admit(str(exc.errno))) is not None:
                    log.error("cannot clear away, trying again later", door=self.source, file=relative,
                              error=str(exc), more=held)  # fmt: skip
            else:
                # Only what was known of it: under its name another one may be on its way already.
                if self._memory.things.get(relative) is thing:
                    self._memory.forget(relative)

    def _action(self, relative: str, thing: Thing) -> Callable[[], None] | None:
        if thing.has_failed:
            into = self.config.failed
        elif self.config.on_success == "delete":
            return partial(finish.delete, self._rules, relative, thing)
        else:
            into = self.config.archive if self.config.on_success == "archive" else ""
        return partial(finish.move, self._rules, relative, thing, into=into) if into else None
