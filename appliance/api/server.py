"""The endpoint: sockets, connections within bounds, and behind them the table as an HTTP server.

Sockets are bound before anything else; what serves them is imported afterwards, so that nobody waits for it at start.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
import trio

from appliance.errors import ApplianceError

from .events import EventsApi
from .exchange import Answer
from .peers import Rights, credentials_of
from .roles import NOBODY, Identity
from .sockets import Bounded, Place, listen_unix
from .table import Endpoint

if TYPE_CHECKING:
    from hypercorn.config import Config
    from hypercorn.trio.worker_context import WorkerContext

    from .connection import Connection
    from .gate import Gate

__all__ = ["IDLE_S", "MAX_CONNECTIONS", "ApiFigures", "ApiServer"]

log = structlog.get_logger("api")

IDLE_S = 10.0
"""How long a connection may take to bring a request."""
GOODBYE_S = 1.0
"""How long a subscriber may take to read what is left when the endpoint ends."""
MAX_CONNECTIONS = 32


class ApiFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The endpoint at one moment."""

    sockets: tuple[str, ...]
    """Where it listens; empty if it is off."""
    connections: int
    requests: int
    """Since the start."""
    subscribers: int
    """Those of the connections that follow events."""


class ApiServer:
    """Serves a table of endpoints. A service of the supervisor.

    Args:
        sockets: absolute paths of Unix sockets.
        endpoints: what there is.
        events: those who follow events are let go in peace at the end; None: there are none.
        group: of the sockets; its members may read. Empty: that of new files.
        operate_group: its members may operate, too; empty: only the owner may, and root.
        hosts: names under which the endpoint is reached.
        is_optional: go on without a socket that cannot be used, with a warning: nobody asked for it by name.
    """

    def __init__(
        self,
        sockets: tuple[str, ...],
        endpoints: Sequence[Endpoint],
        *,
        events: EventsApi | None = None,
        group: str = "",
        operate_group: str = "",
        hosts: Sequence[str] = (),
        is_optional: bool = False,
    ) -> None:
        self.sockets = sockets
        self.endpoints = endpoints
        self._is_optional = is_optional
        self._events = events
        self._group, self._operate_group = group or operate_group, operate_group
        self._hosts = frozenset(map(str.lower, hosts))
        self._places = trio.Semaphore(MAX_CONNECTIONS)
        self._served: list[str] = []
        self._connections: set[Connection] = set()
        self._count = self._requests = 0
        self._stopped = trio.Event()
        self._works: _Works | None = None
        self._is_loaded = trio.Event()

    def statistics(self) -> ApiFigures:
        return ApiFigures(
            sockets=tuple(self._served),
            connections=self._count,
            requests=self._requests,
            subscribers=self._events.subscribers if self._events else 0,
        )

    def stop(self) -> None:
        self._stopped.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        places: list[Place] = []
        listeners: list[tuple[trio.SocketListener, Rights]] = []
        try:
            for name in self.sockets:
                path = Path(name)
                try:
                    sock = listen_unix(path, self._group)
                except ApplianceError as exc:
                    if not self._is_optional:
                        raise
                    log.warning("no status endpoint: 'broappliance status' will not work", error=str(exc))
                    continue
                listeners.append((trio.SocketListener(trio.socket.from_stdlib_socket(sock)), self._rights(name)))
                places.append(Place(path))
                self._served.append(name)
            async with trio.open_nursery() as nursery:
                for listener, rights in listeners:
                    nursery.start_soon(self._accept, listener, rights)
                task_status.started()
                if listeners:
                    nursery.start_soon(self._load)
                await self._stopped.wait()
                if self._events is not None:
                    with trio.move_on_after(GOODBYE_S):
                        await self._events.close()
                nursery.cancel_scope.cancel()
        finally:
            for listener, _ in listeners:
                listener.socket.close()
            for place in places:
                place.leave()
            self._served = []

    def _rights(self, name: str) -> Rights:
        try:
            return Rights.of(name, self._operate_group)
        except KeyError:
            raise ApplianceError(f"[api] operate_group: there is no group {self._operate_group!r}") from None

    async def _load(self) -> None:
        """Import what serves, in a thread unless it is there already: what has started meanwhile goes on."""
        if "hypercorn" not in sys.modules:
            await trio.to_thread.run_sync(self._make_works, abandon_on_cancel=True)
        self._works = self._make_works()
        self._is_loaded.set()

    def _make_works(self) -> _Works:
        from hypercorn.trio.worker_context import WorkerContext

        from .application import make_application, with_openapi
        from .connection import Connection, make_config
        from .gate import Gate

        app = make_application(with_openapi(self.endpoints))
        gate = Gate(app, hosts=self._hosts, identify=self._identify, counted=self._counted)
        return _Works(gate=gate, config=make_config(IDLE_S), context=WorkerContext, connection=Connection)

    def _counted(self) -> None:
        self._requests += 1

    def _identify(self, state: Mapping[str, Any], headers: Mapping[str, str]) -> Identity | Answer:
        del headers
        who: Identity = state["peer"]
        return who

    async def _accept(self, listener: trio.SocketListener, rights: Rights) -> None:
        async def serve(stream: trio.SocketStream) -> None:
            await self._serve(stream, rights)

        await trio.serve_listeners(serve, [Bounded(listener, self._places)])

    async def _serve(self, stream: trio.SocketStream, rights: Rights) -> None:
        self._count += 1
        try:
            await self._is_loaded.wait()
            assert self._works is not None
            await self._works.serve(stream, {"peer": _identify(stream, rights)}, self._connections)
        finally:
            self._count -= 1
            self._places.release()
            await trio.aclose_forcefully(stream)


def _identify(stream: trio.SocketStream, rights: Rights) -> Identity:
    try:
        return rights.identify(credentials_of(stream.socket))  # type: ignore[arg-type]  # has what a socket has
    except OSError:
        return NOBODY


class _Works:
    """What serves connections, once it is imported."""

    def __init__(
        self, *, gate: Gate, config: Config, context: Callable[[None], WorkerContext], connection: type[Connection]
    ) -> None:
        self._gate, self._config, self._context, self._connection = gate, config, context, connection

    async def serve(self, stream: trio.abc.Stream, state: dict[str, Any], connections: set[Connection]) -> None:
        made = self._connection(self._gate, self._config, self._context(None), stream, state=state, is_tls=False)
        connections.add(made)
        try:
            await made.run()
        finally:
            connections.discard(made)
