"""The service of a master: its content on the disk before anybody hears of it, a step at a time."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import structlog
import trio

from appliance.errors import LocalProtocolError, RemoteProtocolError
from appliance.runtime.logs import Throttle
from appliance.runtime.stores import StoreError, StoreFailure
from appliance.wire.names import EndpointId
from appliance.wire.stores.codec import decode_store_message
from appliance.wire.stores.commands import Action, StoreMessage
from appliance.wire.stores.content import Content
from appliance.wire.stores.master import Master, Step
from appliance.wire.stores.operations import TypeClashError
from appliance.wire.stores.outputs import StoreChange

from .backend import Backend
from .figures import StoreFigures
from .hub import Loaded, StoreHub

__all__ = ["MasterService"]

log = structlog.get_logger("store")

TICK_S = 0.1
RETRY_S = 1.0
MAX_PENDING = 50_000
"""Commands that may have come and are not on the disk; whoever sends more waits."""

_REFUSALS = {
    "type_clash": "somebody wrote what does not go with the type of a value",
    "bad_value": "somebody added to a value that cannot be read, or what cannot be read",
    "snapshot_too_large": "a clone is refused: the content is larger than max_message",
    "lost_by_writer": "a writer has lost what it wrote",
}
"""Reasons of commands without effect that somebody has to know → what is said."""

Told = Callable[[Sequence[StoreChange]], Awaitable[None]]


async def _nobody(changes: Sequence[StoreChange]) -> None:
    """Changes that nobody wants to hear of."""


class MasterService:
    """See the module. A service of the supervisor, and a `StoreTaker`.

    Args:
        name: of the store.
        backend: where the content is kept.
        hub: the way to the clones.
        expire_after_ns: lifetime of values that are put without one.
        max_snapshot: bytes; clones of a larger content are refused.
        told: called in the loop with changes that are kept.
        clock_ns: wall time.
    """

    is_master = True
    has_deadlines = True

    def __init__(
        self,
        name: str,
        backend: Backend,
        *,
        hub: StoreHub,
        expire_after_ns: int | None = None,
        max_snapshot: int = 64 << 20,
        told: Told = _nobody,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.name = name
        self.expire_after_ns = expire_after_ns
        self._backend, self._hub, self._told, self._clock_ns = backend, hub, told, clock_ns
        self._max_snapshot = max_snapshot
        self._core: Master | None = None
        self._throttle = Throttle()
        self._dirty = trio.lowlevel.ParkingLot()
        self._kept = trio.lowlevel.ParkingLot()
        self._stopped = trio.Event()
        self._began = self._done = 0
        """Steps: how many were taken from the core, and how many of them are kept."""
        self._pending = 0
        self._is_failing = False
        self._said: Counter[str] = Counter()
        self._conflict: tuple[EndpointId, ...] = ()

    # ── the service ──

    def configure(self, *, expire_after_ns: int | None, max_snapshot: int) -> None:
        """Take over other limits: for what is put and asked from now on."""
        self.expire_after_ns, self._max_snapshot = expire_after_ns, max_snapshot
        if self._core is not None:
            self._core.expire_after_ns, self._core.max_snapshot = expire_after_ns, max_snapshot

    async def wait_closed(self) -> None:
        """Wait for the end of `run`."""
        while self._core is not None:
            await self._kept.park()

    def stop(self) -> None:
        self._stopped.set()
        self._dirty.unpark_all()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until `stop`.

        Raises:
            OSError: the file cannot be opened.
            ValueError: there is another master of that name in this process.
        """
        content = await trio.to_thread.run_sync(lambda: Content(self._backend.open()))
        try:
            core = self._core = Master(
                self._hub.new_entity(),
                content,
                expire_after_ns=self.expire_after_ns,
                max_snapshot=self._max_snapshot,
            )
            core.tick(self._clock_ns())  # what is over already nobody sees
            with self._hub.joined(self):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._tick, core)
                    task_status.started()
                    await self._pump(core)
                    nursery.cancel_scope.cancel()
        finally:
            self._core = None
            self._kept.unpark_all()
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._backend.close)

    async def _tick(self, core: Master) -> None:
        due_s = trio.current_time()
        while True:
            due_s = max(due_s + TICK_S, trio.current_time())
            await trio.sleep_until(due_s)
            core.tick(self._clock_ns())
            self._dirty.unpark_all()
            self._say_refused(core)

    def _say_refused(self, core: Master) -> None:
        """Those who wrote what cannot be done are told nothing by the protocol."""
        for reason, words in _REFUSALS.items():
            count = core.refused[reason] - self._said[reason]
            if count and self._throttle.admit(reason) is not None:
                self._said[reason] += count
                log.warning(words, store=self.name, commands=count)

    async def _pump(self, core: Master) -> None:
        """Keep, then tell; what comes meanwhile is the next step."""
        while True:
            step = core.take()
            if step is None:
                if self._stopped.is_set():
                    return
                await self._dirty.park()
                continue
            self._began += 1
            pending, self._pending = self._pending, 0
            await self._keep(step, pending)
            self._done += 1
            self._kept.unpark_all()
            try:
                await self._hub.send_all(self.name, step.messages)
            except LocalProtocolError as exc:
                log.error("cannot send what a store has to say", store=self.name, error=str(exc))
            if step.changes:
                await self._told(step.changes)

    async def _keep(self, step: Step, pending: int) -> None:
        if not (step.changes and self._backend.is_durable):
            return
        while True:
            try:
                await trio.to_thread.run_sync(partial(self._backend.keep, step.changes))
            except OSError as exc:
                self._is_failing = True
                if (held := self._throttle.admit("keep")) is not None:
                    log.error("cannot keep what changed, trying on", store=self.name, error=str(exc), more=held)
                await trio.sleep(RETRY_S)
            else:
                if self._is_failing:
                    self._is_failing = False
                    log.info("changes are kept again", store=self.name, commands=pending)
                return

    def statistics(self) -> StoreFigures:
        core = self._core
        if core is None:
            return StoreFigures(name=self.name, role="master", state="closed")
        return StoreFigures(
            name=self.name,
            role="master",
            state="failing" if self._is_failing else "open",
            entries=len(core.content),
            clones=len(core.clones),
            writers=len(core.writers),
            unsettled=self._pending,
            refused=dict(core.refused),
            conflicts=len(self._conflict),
        )

    # ── what the hub says ──

    def take(self, message: StoreMessage) -> None:
        if self._core is not None:
            self._pending += 1
            self._core.receive(message, self._clock_ns())
            self._dirty.unpark_all()

    def load(self, payload: bytes) -> Loaded:
        return decode_store_message(payload), None

    def take_loaded(self, loaded: Loaded) -> None:
        self.take(loaded[0])

    @property
    def is_busy(self) -> bool:
        return self._pending >= MAX_PENDING and self._core is not None

    async def wait_room(self) -> None:
        while self.is_busy:
            await self._kept.park()

    def lose(self, endpoint: EndpointId) -> None:  # noqa: ARG002 - a `StoreTaker` has it
        """It may come back, and goes on where it was."""
        self.found()

    def found(self) -> None:
        before, self._conflict = self._conflict, self._hub.masters(self.name)
        if set(self._conflict) - set(before):
            log.error(
                "a peer is a master of this store, too: clones follow whichever answers first",
                store=self.name,
                peers=len(self._conflict),
            )

    def moved(self) -> None:
        if self._core is not None:
            self._core.rename(self._hub.new_entity())

    # ── what this process wants ──

    @property
    def me(self) -> Master:
        """The master itself.

        Raises:
            StoreError: it is not open.
        """
        if self._core is None:
            raise StoreError(StoreFailure.CLOSED, self.name, "it is not open")
        return self._core

    async def content(self) -> Content:
        """What is in it now."""
        await trio.lowlevel.checkpoint()
        return self.me.content

    async def write(self, action: Action) -> bool:
        """Do something; returns when that is kept.

        Returns:
            Whether it had an effect.

        Raises:
            StoreError: why not.
        """
        core = self.me
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            has_effect = core.apply(action, self._clock_ns())
        except TypeClashError as exc:
            raise StoreError(StoreFailure.TYPE_CLASH, self.name, str(exc)) from exc
        except (RemoteProtocolError, LocalProtocolError) as exc:
            raise StoreError(StoreFailure.BAD_VALUE, self.name, str(exc)) from exc
        self._dirty.unpark_all()
        if not self._backend.is_durable:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return has_effect
        wanted = self._began + 1
        while self._done < wanted and self._core is core:
            await self._kept.park()
        if self._done < wanted:
            raise StoreError(StoreFailure.UNKNOWN, self.name, "it was closed before the change was kept")
        return has_effect
