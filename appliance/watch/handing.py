"""Handing finished things on: to every consumer that wants them, as far as there is room, and what became of them.

A thing is remembered when all of its consumers have it on their disk, or are done with it. After a crash everything
else is handed on again, so nothing is lost.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import islice

import structlog
import trio

from appliance.config import Watch
from appliance.model import FileReady, FolderReady
from appliance.runtime.backoff import Backoff
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.intake import ConsumerQueue
from appliance.runtime.ledger import Account
from appliance.runtime.receipts import Fate

from .look import Seen
from .memory import Memory, Thing

__all__ = ["Handing"]

log = structlog.get_logger("watch")

MAX_OUT = 1024
"""Things that consumers may have at a time; the others wait here, where they cost nothing."""
ROOM_S = 0.25
"""Until a full queue is looked at again."""
NOBODY_S = 5.0
"""Until somebody is looked for who wants it."""


class Handing:
    """See the module.

    Args:
        config: the table.
        account: what was handed on.
        dispatcher: knows who wants it.
        memory: of what was handed on.
        wake: called when there is something to do.
    """

    def __init__(
        self, config: Watch, *, account: Account, dispatcher: Dispatcher, memory: Memory, wake: Callable[[], None]
    ) -> None:
        self.config = config
        self.source = f"watch.{config.name}"
        self.ready: dict[str, Seen] = {}
        """Finished things that nobody has yet."""
        self.over: deque[str] = deque()
        """Things with which everybody is done."""
        self.out: set[str] = set()
        """Things that consumers work on."""
        self._account = account
        self._dispatcher = dispatcher
        self._memory = memory
        self._wake = wake
        self._lost: dict[str, dict[str, float]] = {}
        """Things that consumers have lost, and when each of them gets it again."""
        self._durable: set[str] = set()
        self._backoffs: dict[str, Backoff] = {}
        self._room_s = math.inf

    @property
    def waiting(self) -> int:
        """Things that wait for room at a consumer, or for a consumer."""
        return len(self.ready) + len(self._lost)

    @property
    def next_s(self) -> float:
        """When there is something to do, though nothing happens."""
        return min((self._room_s, *(at_s for each in self._lost.values() for at_s in each.values())))

    def recall(self) -> None:
        """Begin with what the memory knows."""
        self.out = {relative for relative, thing in self._memory.things.items() if not thing.is_over}

    def forget(self, relative: str) -> None:
        """A thing is gone."""
        self._memory.forget(relative)
        self.out.discard(relative)
        self.ready.pop(relative, None)
        self._lost.pop(relative, None)
        self._backoffs.pop(relative, None)

    # ── out ──

    async def hand_on(self) -> None:
        """Hand on what there is room for, and remember it when it is safe."""
        self._room_s = math.inf
        handed: dict[str, None] = {}
        for relative in list(islice(self.ready, max(0, MAX_OUT - len(self.out)))):
            if not self._hand_on_new(relative, self.ready[relative]):
                break
            handed[relative] = None
        for relative in list(self._lost):
            if self._hand_on_again(relative):
                handed[relative] = None
        if handed:
            await self._memory.wait_stored()
            self._remember(handed)

    def _remember(self, handed: Iterable[str]) -> None:
        """What was handed to durable queues is on the disk now."""
        for relative in handed:
            if (thing := self._memory.things.get(relative)) is not None:
                for consumer in self._durable & thing.consumers.keys():
                    if thing.consumers[consumer] == "offered" and consumer not in self._lost.get(relative, ()):
                        thing.consumers[consumer] = "kept"
                self._memory.save(relative)

    def _make_item(self, relative: str, thing: Thing | Seen, files: int = 0) -> FileReady | FolderReady:
        make = FileReady if self.config.what == "files" else partial(FolderReady, files=files)
        return make(
            watch=self.config.name, source=self.source, path=f"{self.config.directory}/{relative}", relative=relative,
            disk_size=thing.size, mtime_ns=thing.mtime_ns, inode=thing.inode,
        )  # fmt: skip

    def _hand_on_new(self, relative: str, seen: Seen) -> bool:
        """Hand a thing to everybody who wants it, unless somebody has no room, or there is nobody."""
        item = self._make_item(relative, seen, seen.files)
        queues = self._dispatcher.route(item)
        if not queues or not all(queue.has_room(item) for queue in queues):
            self._room_s = trio.current_time() + (ROOM_S if queues else NOBODY_S)
            return False
        thing = Thing(inode=seen.inode, size=seen.size, mtime_ns=seen.mtime_ns, consumers={})
        del self.ready[relative]
        self._lost.pop(relative, None)
        self._memory.things[relative] = thing
        self.out.add(relative)
        self._put(item, thing, queues)
        return True

    def _hand_on_again(self, relative: str) -> bool:
        """Hand a thing once more to those who have lost it, whose time has come, and who have room."""
        thing, lost = self._memory.things[relative], self._lost[relative]
        item = self._make_item(relative, thing)
        queues = {queue.account.name: queue for queue in self._dispatcher.route(item)}
        now_s = trio.current_time()
        ready: list[ConsumerQueue] = []
        for consumer in [each for each, at_s in lost.items() if at_s <= now_s]:
            if consumer not in queues:  # it is gone, and what it had in memory with it
                del lost[consumer]
                del thing.consumers[consumer]
                self._settle(relative, thing)
            elif queues[consumer].has_room(item):
                del lost[consumer]
                ready.append(queues[consumer])
            else:
                lost[consumer] = now_s + ROOM_S
        if not lost:
            del self._lost[relative]
        self._put(item, thing, ready)
        return bool(ready)

    def _put(self, item: FileReady | FolderReady, thing: Thing, queues: Sequence[ConsumerQueue]) -> None:
        if not queues:
            return
        self._account.received += 1
        self._account.delivered += 1
        for queue in queues:
            consumer = queue.account.name
            thing.consumers[consumer] = "offered"
            (self._durable.add if queue.is_durable else self._durable.discard)(consumer)
            queue.put_nowait(item)

    # ── what became of it ──

    def hear(self, item: FileReady | FolderReady, consumer: str, fate: Fate) -> None:
        """A consumer has settled a thing, in this moment: what is saved here is written together with that."""
        thing = self._memory.things.get(item.relative)
        if thing is None or consumer not in thing.consumers:
            return
        if (thing.inode, thing.size, thing.mtime_ns) != (item.inode, item.disk_size, item.mtime_ns):
            return  # it was replaced, and the new one was handed on, too
        is_kept = consumer in self._durable or thing.consumers[consumer] in ("kept", "failed")
        if fate == "done":
            thing.consumers[consumer] = "done"
        elif fate == "lost" or (not is_kept and thing.attempts < self.config.attempts):
            thing.attempts += fate == "failed"
            thing.consumers[consumer] = "offered"
            pause = self._backoffs.setdefault(item.relative, Backoff(first_s=1.0, longest_s=300.0))
            self._lost.setdefault(item.relative, {})[consumer] = trio.current_time() + pause.next_s()
            self._wake()
        else:
            thing.consumers[consumer] = "failed"
            log.warning("a hook has given up", door=self.source, file=item.path, hook=consumer)
        self._settle(item.relative, thing)

    def _settle(self, relative: str, thing: Thing) -> None:
        """Write what is known now; what everybody is done with may be cleared away."""
        self._memory.save(relative)
        if thing.is_over:
            self.out.discard(relative)
            self._backoffs.pop(relative, None)
            self.over.append(relative)
            self._wake()
