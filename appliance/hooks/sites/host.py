"""The service behind the hooks of one package: its processes, the calls into them, and its EXIT callables."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import structlog
import trio

from appliance.config import Hook
from appliance.hooks.failure import OverdueError
from appliance.hooks.steer import Failed, Reject, Retry

from .messages import Call, Callee, Described, Result, Setup, to_text
from .room import Room

__all__ = ["Hosts", "SitesCall", "SitesFigures", "SitesHost"]

log = structlog.get_logger("sites")


class SitesFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One package at one moment."""

    processes: int
    """That run."""
    restarts: int
    exits_done: int
    """EXIT callables that ended well."""
    exits_failed: int
    last_error: str
    """Of an EXIT callable."""


class Hosts:
    """Which package is where: its calls outlive a reload that replaces its processes."""

    def __init__(self) -> None:
        self._hosts: dict[str, SitesHost] = {}
        self._changed = trio.lowlevel.ParkingLot()

    def put(self, name: str, host: SitesHost) -> None:
        self._hosts[name] = host
        self._changed.unpark_all()

    def take_out(self, name: str, host: SitesHost) -> None:
        if self._hosts.get(name) is host:
            del self._hosts[name]

    async def wait_for(self, name: str) -> SitesHost:
        """The one that takes calls, as soon as there is one."""
        while name not in self._hosts:
            await self._changed.park()
        return self._hosts[name]


class SitesHost:
    """See the module. A service of the supervisor.

    Args:
        config: the hook's table.
        described: what the package holds.
        import_path: folders that its modules may be in, besides its own.
        hosts: told when calls can be made, and when they cannot.
        failed: hears of each callable that failed.
    """

    def __init__(
        self,
        config: Hook,
        described: Described,
        *,
        import_path: tuple[str, ...],
        hosts: Hosts,
        failed: Callable[[str], None] | None = None,
    ) -> None:
        self.config = config
        self._described = described
        self._setup = Setup(package=config.sites, logs_path=config.logs_path, import_path=import_path)
        self._hosts = hosts
        self._failed = failed
        self._log = log.bind(sites=config.name)
        self._rooms: dict[str, Room] = {}
        self._stop = trio.Event()
        self._finishing = trio.Lock()
        self._finished = trio.lowlevel.ParkingLot()
        self._is_used = True
        """Its EXIT callables have not run since something of it did."""
        self._done = self._exits_failed = 0
        self._last_error = ""

    @property
    def closing_s(self) -> float:
        """How long its end may take, besides what hooks are doing."""
        return (self.config.exit_timeout.seconds + 1.0) * len(self._described.exits) + 10.0

    def statistics(self) -> SitesFigures:
        return SitesFigures(
            processes=sum(room.is_running for room in self._rooms.values()),
            restarts=sum(max(0, room.restarts) for room in self._rooms.values()),
            exits_done=self._done,
            exits_failed=self._exits_failed,
            last_error=self._last_error,
        )

    def stop(self) -> None:
        self._stop.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Load the package, serve calls until `stop`, run the EXIT callables.

        Cancellation: at once, without them.
        """
        callees = (*self._described.hooks, *self._described.exits)
        async with trio.open_nursery() as nursery:
            modules = dict.fromkeys(callee.module for callee in callees)
            self._rooms = {
                module: Room(self._setup, self._described, nursery, self.config.name, memory=self.config.memory_limit)
                for module in modules
            }
            async with trio.open_nursery() as opening:
                for room in self._rooms.values():
                    opening.start_soon(room.open)
            self._is_used = True
            self._hosts.put(self.config.name, self)
            task_status.started()
            try:
                await self._stop.wait()
            finally:
                self._hosts.take_out(self.config.name, self)
            await self._finish()
            nursery.cancel_scope.cancel()

    async def call(self, callee: str, *, name: str, path: str) -> Result:
        """Call a hook.

        Args:
            callee: its name.
            name: of the folder.
            path: of the folder.

        Raises:
            TimeoutError: it was not finished in its time.
            Failed: its process ended.
            Reject: the package has no such hook any more.
        """
        while self._finishing.locked():
            await self._finished.park()
        number, found = self._find(callee)
        self._is_used = True
        call = Call(is_exit=False, number=number, name=to_text(name), path=to_text(path))
        told = ""
        try:
            result = await self._rooms[found.module].call(call, self.config.timeout.seconds)
            told = result.error if result.outcome == "error" else ""
        except TimeoutError:
            told = f"not finished within {self.config.timeout}"
            raise
        except Failed as exc:
            told = str(exc)
            raise
        finally:
            if told and self._failed is not None:
                self._failed(f"hook {callee} failed on {name!r}: {told}")
        return result

    def _find(self, name: str) -> tuple[int, Callee]:
        for number, callee in enumerate(self._described.hooks):
            if callee.name == name:
                return number, callee
        raise Reject(f"the package has no hook {name!r}")

    async def finish(self) -> None:
        """Run the EXIT callables, in their order and each with its own time, and end the processes. Calls that are
        being made end before; those that come meanwhile wait, and then begin with the package loaded anew.

        Nothing is done if nothing was called since the last time, or when the service ends, which does the same.
        """
        if not self._stop.is_set():
            await self._finish()

    async def _finish(self) -> None:
        try:
            async with self._finishing:
                if not self._is_used:
                    return
                for number, callee in enumerate(self._described.exits):
                    await self._exit(number, callee)
                async with trio.open_nursery() as nursery:
                    for room in self._rooms.values():
                        nursery.start_soon(room.close)
                self._is_used = False
        finally:
            self._finished.unpark_all()

    async def _exit(self, number: int, callee: Callee) -> None:
        call = Call(is_exit=True, number=number)
        try:
            result = await self._rooms[callee.module].call(call, self.config.exit_timeout.seconds)
        except TimeoutError:
            result = Result(outcome="error", error=f"not finished within {self.config.exit_timeout}")
        except Failed as exc:
            result = Result(outcome="error", error=str(exc), trace=exc.trace)
        if result.outcome == "done":
            self._done += 1
            return
        self._exits_failed += 1
        self._last_error = f"{callee.name}: {result.error}"
        self._log.error("exit hook failed", hook=callee.name, error=result.error, trace=result.trace)
        if self._failed is not None:
            self._failed(f"exit hook {self._last_error}")


class SitesCall:
    """The callable of a consumer, an asynchronous one: a hook of the package for one folder.

    Args:
        config: the table of the package.
        callee: the hook's name.
        hosts: where the package is.
    """

    def __init__(self, config: Hook, callee: str, hosts: Hosts) -> None:
        self._config = config
        self._callee = callee
        self._hosts = hosts

    async def __call__(self, record: dict[str, Any]) -> None:
        """Call it for the folder of `record`; its time begins when it does.

        Raises:
            OverdueError: it was not finished in its time.
            Failed: it raised, or its process ended.
            Retry: it asked for another attempt.
            Reject: it rejected the folder.
        """
        host = await self._hosts.wait_for(self._config.name)
        path = str(record["path"])
        try:
            result = await host.call(self._callee, name=name_of(path, self._config.logs_path), path=path)
        except TimeoutError:
            raise OverdueError(f"not finished within {self._config.timeout}") from None
        if result.outcome == "retry":
            raise Retry(result.error, after=result.after_s)
        if result.outcome == "rejected":
            raise Reject(result.error)
        if result.outcome != "done":
            raise Failed(result.error, trace=result.trace)


def name_of(path: str, logs_path: str) -> str:
    """What a hook knows a folder by: the name that leads to it from `logs_path`; its whole path if it is elsewhere."""
    if not logs_path:
        return Path(path).name
    relative = os.path.relpath(path, logs_path)
    return path if Path(relative).parts[0] == os.pardir else relative
