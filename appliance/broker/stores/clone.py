"""The service of a clone, and of a frontend: a clone that is there only while somebody asks it for something."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from math import inf

import msgspec
import structlog
import trio

from appliance.runtime.stores import StoreError, StoreFailure
from appliance.wire.names import EndpointId
from appliance.wire.stores.clone import Clone, CloneOptions
from appliance.wire.stores.codec import decode_store_message
from appliance.wire.stores.commands import AckClone, Action, PutUnique, StoreMessage
from appliance.wire.stores.content import Content
from appliance.wire.stores.outputs import StoreChange
from appliance.wire.stores.snapshot import Snapshot

from .figures import StoreFigures
from .hub import Loaded, StoreHub

__all__ = ["CloneService"]

log = structlog.get_logger("store")

TICK_S = 0.1
READ_TIMEOUT_S = 5.0
"""How long a read waits for the first content."""
MAX_UNTOLD = 10_000
"""Steps whose changes wait for whoever wants to hear of them; what is beyond is not told."""
LINGER_S = 10.0
"""How long a frontend keeps its copy after it was asked last."""
_WORDS = {
    "no_master": "no master has come",
    "unknown": "the master was lost before it could tell",
}

Told = Callable[[Sequence[StoreChange]], Awaitable[None]]


async def _nobody(changes: Sequence[StoreChange]) -> None:
    """Changes that nobody wants to hear of."""


class _Awaited:
    """A write whose writer waits."""

    __slots__ = ("_has_answer", "_is_settled", "is_inserted", "over", "reason")

    def __init__(self, *, wants_answer: bool) -> None:
        self._has_answer, self._is_settled = not wants_answer, False
        self.is_inserted = True
        self.reason = ""
        self.over = trio.Event()

    def settle(self, reason: str) -> None:
        """The master has it, or why not."""
        if not self.over.is_set():
            self._is_settled, self.reason = True, reason
            self._finish()

    def answer(self, is_inserted: bool) -> None:
        self._has_answer, self.is_inserted = True, is_inserted
        self._finish()

    def _finish(self) -> None:
        if self._is_settled and (self._has_answer or self.reason):
            self.over.set()


class CloneService:
    """See the module. A service of the supervisor, and a `StoreTaker`.

    Args:
        name: of the store.
        hub: the way to the master.
        options: intervals and bounds.
        is_frontend: have a copy only when it is needed.
        told: called in the loop with changes.
    """

    is_master = False
    has_deadlines = False

    def __init__(
        self,
        name: str,
        *,
        hub: StoreHub,
        options: CloneOptions = CloneOptions(),  # noqa: B008 - it is frozen
        is_frontend: bool = False,
        told: Told = _nobody,
    ) -> None:
        self.name = name
        self._hub, self._options, self._is_frontend, self._told = hub, options, is_frontend, told
        self._core: Clone | None = None
        self._is_open = False
        self._wanted = trio.Event()
        self._asked_s = -inf
        self._users = 0
        self._changed = trio.lowlevel.ParkingLot()
        self._dirty = trio.lowlevel.ParkingLot()
        self._awaited: dict[int, _Awaited] = {}
        self._put_changes, self._get_changes = trio.open_memory_channel[tuple[StoreChange, ...]](MAX_UNTOLD)
        self._untold = 0
        self._stopped = trio.Event()
        self._was_attached = False

    # ── the service ──

    def configure(self, options: CloneOptions) -> None:
        """Take over other intervals."""
        self._options = options
        if self._core is not None:
            self._core.options = options

    async def wait_closed(self) -> None:
        """Wait for the end of `run`."""
        while self._is_open:
            await self._changed.park()

    def stop(self) -> None:
        self._stopped.set()
        self._wanted.set()
        self._dirty.unpark_all()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Follow the master until `stop`.

        Raises:
            ValueError: there is another clone of that name in this process.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tell)
            self._is_open = True
            task_status.started()
            try:
                while not self._stopped.is_set():
                    if self._is_frontend:
                        await self._wanted.wait()
                    if not self._stopped.is_set():
                        await self._follow()
                        self._wanted = trio.Event()
            finally:
                self._is_open = False
                self._changed.unpark_all()
            nursery.cancel_scope.cancel()

    async def _follow(self) -> None:
        """Have a copy, as long as it is needed."""
        core = self._core = Clone(self._hub.new_entity, self._options)
        try:
            with self._hub.joined(self):
                self._flush(core)
                due_s = trio.current_time() + TICK_S
                while not self._stopped.is_set() and self._is_needed():
                    with trio.move_on_at(due_s):
                        await self._dirty.park()
                    if trio.current_time() >= due_s:
                        due_s = max(due_s + TICK_S, trio.current_time())
                        core.tick()
                    self._flush(core)
        finally:
            self._core = None
            for awaited in self._awaited.values():
                awaited.settle("unknown")
            self._changed.unpark_all()

    def _is_needed(self) -> bool:
        return not self._is_frontend or self._users > 0 or trio.current_time() - self._asked_s < LINGER_S

    async def _tell(self) -> None:
        async for changes in self._get_changes:
            await self._told(changes)

    def _flush(self, core: Clone) -> None:
        """Pass on everything that the core has to say."""
        self._hub.send(self.name, core.take())
        for fate in core.fates:
            if (awaited := self._awaited.get(fate.ticket)) is not None:
                awaited.settle(fate.reason)
        core.fates.clear()
        for ticket, is_inserted in core.results:
            if (awaited := self._awaited.get(ticket)) is not None:
                awaited.answer(is_inserted)
        core.results.clear()
        if core.changes:
            try:
                self._put_changes.send_nowait(tuple(core.changes))
            except trio.WouldBlock:
                self._untold += len(core.changes)
            core.changes.clear()
        if core.is_attached is not self._was_attached:
            self._was_attached = core.is_attached
            if core.is_attached:
                log.info("a store follows its master", store=self.name, entries=len(core.content))
            else:
                log.warning("a store has lost its master", store=self.name)
        self._changed.unpark_all()

    def statistics(self) -> StoreFigures:
        core = self._core
        role = "frontend" if self._is_frontend else "clone"
        if core is None:
            return StoreFigures(name=self.name, role=role, state="idle" if self._is_open else "closed")
        return StoreFigures(
            name=self.name,
            role=role,
            state="attached" if core.is_attached else "lost",
            entries=len(core.content),
            unsettled=core.unsettled,
            resyncs=core.resyncs,
            untold=self._untold,
            refused=dict(core.refused),
        )

    # ── what the hub says ──

    def take(self, message: StoreMessage) -> None:
        if self._core is not None:
            self._core.receive(message)
            self._dirty.unpark_all()

    def load(self, payload: bytes) -> Loaded:
        message = decode_store_message(payload)
        core, command = self._core, message.command
        if core is None or not isinstance(command, AckClone) or not core.expects(message):
            return message, None
        snapshot = Snapshot(command, core.content, message.sender)
        # What is large goes here, in the thread, and not in the loop.
        return msgspec.structs.replace(message, command=AckClone(command.offset, command.heartbeat, ())), snapshot

    def take_loaded(self, loaded: Loaded) -> None:
        if self._core is not None:
            self._core.receive(*loaded)
            self._dirty.unpark_all()

    @property
    def is_busy(self) -> bool:
        return False

    async def wait_room(self) -> None:
        """It never is."""

    def lose(self, endpoint: EndpointId) -> None:
        if self._core is not None:
            self._core.lose(endpoint)
            self._dirty.unpark_all()

    def found(self) -> None:
        """A master that is another one than ours was is a reason not to wait any longer for ours."""
        core = self._core
        if core is None or core.is_attached:
            return
        masters = self._hub.masters(self.name)
        if core.master is None:
            core.ask()
        elif masters and core.master.endpoint not in masters:
            core.restart()
        self._dirty.unpark_all()

    def moved(self) -> None:
        if self._core is not None:
            self._core.restart()
            self._dirty.unpark_all()

    # ── what this process wants ──

    async def content(self) -> Content:
        """The copy.

        Raises:
            StoreError: there is none that can be trusted.
        """
        core = await self._wait(lambda core: core.is_synchronised, READ_TIMEOUT_S)
        if core.is_stale:
            raise StoreError(StoreFailure.STALE, self.name, "there has been no master for too long")
        return core.content

    async def write(self, action: Action) -> bool:
        """Do something; returns when the master has it.

        Returns:
            Of `PutUnique`: whether it was inserted. Else True.

        Raises:
            StoreError: why not.
        """
        core = await self._wait(lambda _: True, READ_TIMEOUT_S)
        ticket = core.write(action)
        if ticket is None:
            raise StoreError(StoreFailure.OVERFLOW, self.name, "too much waits for the master")
        awaited = self._awaited[ticket] = _Awaited(wants_answer=isinstance(action, PutUnique))
        self._users += 1
        try:
            self._dirty.unpark_all()
            await awaited.over.wait()
            if awaited.reason:
                raise StoreError(StoreFailure(awaited.reason), self.name, _WORDS[awaited.reason])
            return awaited.is_inserted
        finally:
            self._users -= 1
            self._asked_s = trio.current_time()
            del self._awaited[ticket]

    async def _wait(self, condition: Callable[[Clone], bool], timeout_s: float) -> Clone:
        self._asked_s = trio.current_time()
        core = self._core
        if core is not None and condition(core):  # nearly always, and then there is nothing to wait for
            await trio.lowlevel.checkpoint_if_cancelled()
            return core
        self._users += 1
        try:
            self._wanted.set()
            with trio.move_on_after(timeout_s):
                while self._is_open or self._core is not None:
                    core = self._core
                    if core is not None and condition(core):
                        await trio.lowlevel.checkpoint_if_cancelled()
                        return core
                    await self._changed.park()
                raise StoreError(StoreFailure.CLOSED, self.name, "it is not open")
            raise StoreError(StoreFailure.STALE, self.name, f"no master has answered within {timeout_s:g} s")
        finally:
            self._users -= 1
