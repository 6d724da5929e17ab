"""The endpoint: sockets, connections within bounds, and behind them the table as an HTTP server.

Sockets are bound before anything else. What serves them is imported when all the rest runs, or when somebody connects
before that: it takes as long as several doors. Connections wait until it is there.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
import trio

from appliance.config import Api
from appliance.errors import ApplianceError, ConfigError
from appliance.runtime.streams import host_port

from .credentials import Credentials
from .events import EventsApi
from .exchange import Answer
from .peers import Rights, credentials_of
from .pool import Pool
from .roles import NOBODY, Identity
from .sockets import Bounded, Place, listen_tcp, listen_unix
from .table import Endpoint
from .whereabouts import Whereabouts

if TYPE_CHECKING:
    from .serving import Works

__all__ = ["GOODBYE_S", "IDLE_S", "MAX_CONNECTIONS", "ApiFigures", "ApiServer"]

log = structlog.get_logger("api")

IDLE_S = 10.0
"""How long a connection may take to bring a request."""
GOODBYE_S = 1.0
"""How long a subscriber may take to read what is left when the endpoint ends."""
MAX_CONNECTIONS = 32
"""On Unix sockets, and as many on TCP: whoever is far away takes no place from those who are here."""
_SERVING = f"{__package__}.serving"
"""Imports hypercorn and Starlette."""


class ApiFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The endpoint at one moment."""

    sockets: tuple[str, ...]
    """Where it listens; empty if it is off."""
    connections: int
    requests: int
    """Since the start."""
    subscribers: int
    """Those of the connections that follow events."""
    cut: int = 0
    """Connections that did nothing and had to make room."""


class ApiServer:
    """Serves a table of endpoints. A service of the supervisor.

    Args:
        table: where to listen, and who may.
        endpoints: what there is.
        events: those who follow events are let go in peace at the end; None: there are none.
        told_in: a file that gets the paths of the sockets; None: nobody is told.
        credentials: of those who come over TCP; None: what the table names.
        name: of the host, under which the endpoint is reached besides ``[api] hosts``.
        is_optional: go on without a socket that cannot be used, with a warning: nobody asked for it by name.
        ready: when this is set there is time to import what serves; None: at once.
    """

    def __init__(
        self,
        table: Api,
        endpoints: Sequence[Endpoint],
        *,
        events: EventsApi | None = None,
        told_in: Path | None = None,
        credentials: Credentials | None = None,
        name: str = "",
        is_optional: bool = False,
        ready: trio.Event | None = None,
    ) -> None:
        self.endpoints = endpoints
        self.credentials = credentials or Credentials(table)
        self._table = table
        self._is_optional = is_optional
        self._events = events
        self._whereabouts = Whereabouts(told_in)
        self._hosts = frozenset(map(str.lower, (name, *table.hosts))) - {""}
        self._near, self._far = Pool(MAX_CONNECTIONS), Pool(MAX_CONNECTIONS)
        self._served: list[str] = []
        self._requests = 0
        self._stopped = trio.Event()
        self._ready = ready
        self._is_wanted = trio.Event()
        self._works: Works | None = None
        self._is_loaded = trio.Event()

    def statistics(self) -> ApiFigures:
        return ApiFigures(
            sockets=tuple(self._served),
            connections=self._near.count + self._far.count,
            requests=self._requests,
            subscribers=self._events.subscribers if self._events else 0,
            cut=self._near.cut + self._far.cut,
        )

    def stop(self) -> None:
        self._stopped.set()

    async def read_again(self) -> tuple[str, ...]:
        """Tokens and the certificate as they are now, for requests and connections from now on. Returns the keys of the
        files that are not what they were.
        """
        try:
            return await self.credentials.read()
        except ConfigError as exc:
            log.error("the old tokens and the old certificate go on", error=str(exc))
            return ()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        places: list[Place] = []
        listeners: list[tuple[trio.SocketListener, Rights | None]] = []
        try:
            await self.credentials.read()
            for address in self._table.listen:
                await self._listen(address, listeners, places)
            self._whereabouts.tell(self._served)
            async with trio.open_nursery() as nursery:
                for listener, rights in listeners:
                    nursery.start_soon(self._accept, listener, rights)
                task_status.started()
                if listeners:
                    nursery.start_soon(self._load)
                    nursery.start_soon(self._wait_ready)
                await self._stopped.wait()
                if self._events is not None:
                    with trio.move_on_after(GOODBYE_S):
                        await self._events.close()
                nursery.cancel_scope.cancel()
        finally:
            self._whereabouts.forget()
            for listener, _ in listeners:
                listener.socket.close()
            for place in places:
                place.leave()
            self._served = []

    async def _listen(
        self, address: str, listeners: list[tuple[trio.SocketListener, Rights | None]], places: list[Place]
    ) -> None:
        if not address.startswith("unix:"):
            for listener in await listen_tcp(address):
                listeners.append((listener, None))
                self._served.append(host_port(*listener.socket.getsockname()[:2]))
                log.info("the API is served", address=self._served[-1], tls=self.credentials.context is not None)
            return
        name = address.removeprefix("unix:")
        group = self._table.group or self._table.operate_group
        try:
            sock = listen_unix(Path(name), group)
        except ApplianceError as exc:
            if not self._is_optional:
                raise
            log.warning("no status endpoint: 'broappliance status' will not work", error=str(exc))
            return
        listeners.append((trio.SocketListener(trio.socket.from_stdlib_socket(sock)), self._rights(name)))
        places.append(Place(Path(name)))
        self._served.append(name)

    def _rights(self, name: str) -> Rights:
        group = self._table.operate_group
        try:
            return Rights.of(name, group)
        except KeyError:
            raise ApplianceError(f"[api] operate_group: there is no group {group!r}") from None

    async def _wait_ready(self) -> None:
        if self._ready is not None:
            await self._ready.wait()
        self._is_wanted.set()

    async def _load(self) -> None:
        """Import what serves, in a thread unless it is there already: everybody else goes on."""
        await self._is_wanted.wait()
        if _SERVING not in sys.modules:
            await trio.to_thread.run_sync(import_module, _SERVING, abandon_on_cancel=True)
        self._works = self._make_works()
        self._is_loaded.set()

    def _make_works(self) -> Works:
        from .serving import Works

        return Works(self.endpoints, hosts=self._hosts, identify=self._identify, counted=self._counted, idle_s=IDLE_S)

    def _counted(self) -> None:
        self._requests += 1

    def _identify(self, state: Mapping[str, Any], headers: Mapping[str, str]) -> Identity | Answer:
        who: Identity = state["peer"]
        return self.credentials.identify(who, headers) if who.challenge else who

    async def _accept(self, listener: trio.SocketListener, rights: Rights | None) -> None:
        pool = self._far if rights is None else self._near
        bounded = Bounded(listener, pool.places, pool.make_room)
        await trio.serve_listeners(partial(self._serve, rights, pool), [bounded])

    async def _serve(self, rights: Rights | None, pool: Pool, stream: trio.SocketStream) -> None:
        with pool.serving():
            try:
                self._is_wanted.set()
                await self._is_loaded.wait()
                assert self._works is not None
                context = self.credentials.context if rights is None else None
                await self._works.serve(stream, context, _identify(stream, rights), pool)
            finally:
                await trio.aclose_forcefully(stream)


def _identify(stream: trio.SocketStream, rights: Rights | None) -> Identity:
    try:
        if rights is None:
            return Identity(name="", address=host_port(*stream.socket.getpeername()[:2]), challenge=True)
        return rights.identify(credentials_of(stream.socket))  # type: ignore[arg-type]  # has what a socket has
    except OSError:
        return NOBODY
