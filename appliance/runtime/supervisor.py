"""The supervisor: services as tasks of one nursery, each with a state, restarted with back-off when they fail.

A crash of one service never stops another. The first start is different: an error there goes to whoever started the
service, because a mistake in the configuration must be told at once and not retried for ever.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from typing import Protocol

import msgspec
import structlog
import trio

from appliance.errors import ApplianceError, ConfigError, PrivilegeError

from .backoff import Backoff

__all__ = ["Handle", "Service", "ServiceFigures", "State", "Supervisor", "leaf_of"]

log = structlog.get_logger("supervisor")

HEALTHY_S = 60.0
"""A service that ran this long has recovered: its next failure starts with the shortest delay again."""
START_TIMEOUT_S = 30.0


class Service(Protocol):
    """Something that the supervisor runs. After a failure `run` is called again on the same object."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Open everything, call ``task_status.started()``, work until `stop` asks to end, close everything.

        Resource handling: all that `run` opened is closed when it returns, raises or is cancelled.
        """
        ...

    def stop(self) -> None:
        """Ask `run` to finish what it holds and return. May be called more than once, and before `run`."""
        ...


class State(enum.Enum):
    """Where a service is in its life."""

    STARTING = "starting"
    RUNNING = "running"
    BACKING_OFF = "backing-off"
    STOPPED = "stopped"
    FAILED = "failed"


class ServiceFigures(msgspec.Struct, frozen=True, kw_only=True):
    """A supervised service at one moment."""

    name: str
    state: str
    """starting, running, backing-off, stopped or failed."""
    since_s: float
    """Seconds in this state."""
    restarts: int
    last_error: str
    """Empty if it never failed."""


def leaf_of(exc: BaseException) -> BaseException:
    """The first exception inside nested groups, which is what a person wants to read."""
    while isinstance(exc, BaseExceptionGroup):
        exc = exc.exceptions[0]
    return exc


def describe(exc: BaseException) -> str:
    """One line for people: our errors speak for themselves, others are named by their type."""
    leaf = leaf_of(exc)
    if isinstance(leaf, ApplianceError | OSError):
        return str(leaf)
    return f"{type(leaf).__name__}: {leaf}"


class Handle:
    """A service under supervision. Made by `Supervisor.start`."""

    def __init__(self, name: str, service: Service, backoff: Backoff, changed: Callable[[], None]) -> None:
        self.name = name
        self.service = service
        self.backoff = backoff
        self.restarts = 0
        self.last_error = ""
        self.scope = trio.CancelScope()
        self.stop_requested = trio.Event()
        self.finished = trio.Event()
        self._changed = changed
        self.state = State.STARTING
        self._since = trio.current_time()

    def enter(self, state: State) -> None:
        self.state = state
        self._since = trio.current_time()
        self._changed()

    def request_stop(self) -> None:
        """Ask the service to end by itself; see `Service.stop`."""
        self.stop_requested.set()
        self.service.stop()

    async def stop(self, timeout_s: float) -> bool:
        """Ask the service to end, cancel it after `timeout_s`; returns whether it ended by itself."""
        self.request_stop()
        with trio.move_on_after(timeout_s):
            await self.finished.wait()
            return not self.scope.cancelled_caught
        self.scope.cancel()
        await self.finished.wait()
        return False

    def statistics(self) -> ServiceFigures:
        return ServiceFigures(
            name=self.name,
            state=self.state.value,
            since_s=round(trio.current_time() - self._since, 3),
            restarts=self.restarts,
            last_error=self.last_error,
        )


class Supervisor:
    """Starts and restarts services in `nursery`.

    Args:
        nursery: where the services live.
        make_backoff: restart delays; one for each service.
        changed: called after every change of state.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        *,
        make_backoff: Callable[[], Backoff] = Backoff,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._nursery = nursery
        self._make_backoff = make_backoff
        self._changed = changed

    async def start(self, name: str, service: Service) -> Handle:
        """Start `service` and wait until it is ready.

        Raises:
            Exception: whatever its first start raised; it is then not running.
            TimeoutError: it was not ready within `START_TIMEOUT_S`.

        Cancellation: the service is cancelled, too, if it was not ready yet.
        """
        handle = Handle(name, service, self._make_backoff(), self._changed)
        await self._nursery.start(self._supervise, handle)
        return handle

    async def _supervise(self, handle: Handle, *, task_status: trio.TaskStatus[None]) -> None:
        try:
            with handle.scope:
                await self._attempt(handle, task_status)
                while handle.state is State.BACKING_OFF:
                    with trio.move_on_after(handle.backoff.next_s()):
                        await handle.stop_requested.wait()
                        break
                    await self._attempt(handle, None)
        finally:
            if handle.state is not State.FAILED:
                handle.enter(State.STOPPED)
            handle.finished.set()

    async def _attempt(self, handle: Handle, first: trio.TaskStatus[None] | None) -> None:
        """Run the service once; the handle's state tells what comes next.

        Raises:
            Exception: what the first start raised; `first` is the one who waits for it.
        """
        handle.enter(State.STARTING)
        ready_at = math.inf
        failure: BaseException | None = None
        try:
            async with trio.open_nursery() as nursery:
                with trio.move_on_after(START_TIMEOUT_S) as patience:
                    await nursery.start(handle.service.run, name=handle.name)
                if patience.cancelled_caught:
                    raise TimeoutError(f"{handle.name} was not ready within {START_TIMEOUT_S:.0f} s")
                ready_at = trio.current_time()
                handle.enter(State.RUNNING)
                if first is not None:
                    first.started()
            if not handle.stop_requested.is_set():
                raise RuntimeError("the service ended although nobody asked it to")
        except* Exception as group:
            # One that is cancelled may fail on its way out: the failure ends here, the cancellation goes on.
            failure = leaf_of(group)
            handle.last_error = describe(failure)
            if first is None or ready_at < math.inf:  # else whoever started it tells
                known = isinstance(failure, ApplianceError | OSError)
                error = None if known else failure
                log.warning("service failed", service=handle.name, error=handle.last_error, exc_info=error)
        await trio.lowlevel.checkpoint_if_cancelled()
        if failure is None or handle.stop_requested.is_set():
            return
        if trio.current_time() - ready_at >= HEALTHY_S:
            handle.backoff.reset()
        if first is not None and ready_at == math.inf:
            handle.enter(State.FAILED)
            raise failure
        if isinstance(failure, ConfigError | PrivilegeError):
            handle.enter(State.FAILED)
            log.error("service is not restarted, only a person can mend this", service=handle.name)
        else:
            handle.restarts += 1
            handle.enter(State.BACKING_OFF)
