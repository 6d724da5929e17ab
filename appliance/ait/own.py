"""Captures of a script's own, without an appliance around them.

The calls are those of `CaptureControl`, but nothing is remembered: the script says what runs. Services are supervised
as in the appliance: one that fails is started again, and never ends another one.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import trio

from appliance.capture.capturer import SocketCapture
from appliance.capture.disks import Disks
from appliance.capture.figures import CaptureFigures
from appliance.capture.handler import Surroundings
from appliance.config import Capture, CaptureGroup, address_of
from appliance.model import Segment
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.ledger import Ledger
from appliance.runtime.supervisor import Handle, Supervisor

__all__ = ["OwnCaptures", "make_surroundings"]

DRAIN_S = 10.0
"""How long a socket may take to write what it has when it is stopped."""


def make_surroundings(root: Path) -> Surroundings:
    """What captures find around them that are nobody's: no consumers, books of their own, quarantine below `root`."""
    return Surroundings(
        ledger=Ledger(),
        dispatcher=Dispatcher(),
        disks=Disks(),
        host=socket.gethostname().partition(".")[0],
        state_dir=root,
        clock_ns=time.time_ns,
    )


class _Running(msgspec.Struct, kw_only=True):
    """One socket."""

    capture: Capture
    service: SocketCapture | None = None
    """None until `OwnCaptures.run`."""
    handle: Handle | None = None


class OwnCaptures:
    """See the module.

    Args:
        root: absolute; see `make_surroundings`.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._around: Surroundings | None = None
        self._sockets: dict[str, _Running] = {}
        self._supervisor: Supervisor | None = None
        self._lock = trio.Lock()
        self._stopping = trio.Event()

    # ── life ──

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Capture until cancelled.

        Raises:
            Exception: a socket that was asked for before could not be opened; none is open then.

        Cancellation: what has arrived is written and the files are finished, for which each socket has ten seconds.
        """
        self._stopping = trio.Event()
        async with trio.open_nursery() as nursery:
            try:
                await nursery.start(self._serve)
                task_status.started()
                await trio.sleep_forever()
            finally:
                self._stopping.set()

    async def _serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Shielded, so that a cancellation becomes a stop."""
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                self._supervisor = Supervisor(nursery)
                try:
                    for running in self._sockets.values():
                        await self._open(running)
                    task_status.started()
                    await self._stopping.wait()
                finally:
                    await self._close(list(self._sockets.values()))
                    self._supervisor = None

    async def _open(self, running: _Running) -> None:
        assert self._supervisor is not None
        self._around = self._around or make_surroundings(self._root)
        running.service = SocketCapture(CaptureGroup((running.capture,)), around=self._around)
        running.handle = await self._supervisor.start(f"capture.{running.capture.name}", running.service)

    async def _close(self, sockets: Sequence[_Running]) -> None:
        async with trio.open_nursery() as nursery:
            for running in sockets:
                if running.handle is not None:
                    nursery.start_soon(running.handle.stop, DRAIN_S)
        for running in sockets:
            if running.service is not None:
                running.service.release()
            running.handle = running.service = None

    # ── what there is ──

    def captures(self) -> tuple[Capture, ...]:
        """The tables in effect."""
        return tuple(running.capture for running in self._sockets.values())

    def statistics(self) -> dict[str, CaptureFigures]:
        """Figures of each socket that runs, by the name of its capture."""
        running = ((name, each.service) for name, each in self._sockets.items())
        return {name: service.statistics() for name, service in running if service is not None}

    # ── changes ──

    async def start(self, capture: Capture) -> None:
        """Add handlers, to the socket of that address or with a new one; before `run` they only wait for it.

        Raises:
            ValueError: the address is captured with another `conn_type`, or there is such a handler.
            Exception: the socket cannot be opened; nothing has changed.
        """
        async with self._lock:
            other = self._at(capture)
            if other is None:
                await self._add_socket(capture)
                return
            if other.capture.conn_type != capture.conn_type:
                raise ValueError(f"{list(capture.address)} is captured as {other.capture.conn_type!r} already")
            if taken := {h.name for h in other.capture.handler} & {h.name for h in capture.handler}:
                raise ValueError(f"{list(capture.address)} has a handler {min(taken)!r} already")
            for handler in capture.handler:
                if other.service is not None:
                    await other.service.add_handler(handler)
                other.capture = msgspec.structs.replace(other.capture, handler=(*other.capture.handler, handler))

    def _at(self, capture: Capture) -> _Running | None:
        wanted = address_of(capture)
        same = (each for each in self._sockets.values() if wanted and address_of(each.capture) == wanted)
        return next(same, None)

    async def _add_socket(self, capture: Capture) -> None:
        number = 1
        name = capture.name
        while name in self._sockets:
            number += 1
            name = f"{capture.name}-{number}"
        running = _Running(capture=msgspec.structs.replace(capture, name=name))
        if self._supervisor is not None:
            await self._open(running)
        self._sockets[name] = running

    async def stop(self, name: str) -> int:
        """Stop every handler of that name and wait for its files; a socket without handlers is closed.

        Returns:
            How many handlers were stopped.
        """
        async with self._lock:
            count = 0
            for running in list(self._sockets.values()):
                kept = tuple(handler for handler in running.capture.handler if handler.name != name)
                if len(kept) == len(running.capture.handler):
                    continue
                count += len(running.capture.handler) - len(kept)
                if not kept:
                    await self._forget(running)
                    continue
                running.capture = msgspec.structs.replace(running.capture, handler=kept)
                if running.service is not None:
                    await running.service.remove_handler(name)
            return count

    async def stop_socket(self, conn_type: str, address: tuple[str, int]) -> int:
        """Stop all handlers at an address; as `stop`."""
        async with self._lock:
            count = 0
            for running in list(self._sockets.values()):
                if (running.capture.conn_type, running.capture.address) == (conn_type, address):
                    count += len(running.capture.handler)
                    await self._forget(running)
            return count

    async def _forget(self, running: _Running) -> None:
        del self._sockets[running.capture.name]
        await self._close([running])

    async def rotate(self, name: str) -> list[Segment]:
        """End the open segments of the handlers of that name; returns those that had one, finished.

        Raises:
            KeyError: there is no such handler.
            OSError: a segment cannot be finished.
        """
        segments: list[Segment] = []
        owners = [
            each for each in self._sockets.values() if any(handler.name == name for handler in each.capture.handler)
        ]
        if not owners:
            raise KeyError(name)
        for running in owners:
            if running.service is not None:
                segments += await running.service.rotate(name)
        return segments
