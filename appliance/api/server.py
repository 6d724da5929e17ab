"""The local endpoint, HTTP/1.1 on a Unix socket: documents to read, events to publish and follow, captures,
dead letters and data stores to change, recorded packets to extract.

Who may connect, and with that publish and change, is decided by the socket's permissions. Every connection is bounded
in time and size, and there are never more than a few at once.
"""

from __future__ import annotations

import errno
import math
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import structlog
import trio

from appliance.errors import ApplianceError
from appliance.runtime.backoff import Backoff
from appliance.runtime.logs import Throttle

from .captures import CaptureRoutes
from .events import PATH as EVENTS
from .events import EventsApi
from .evidence import EvidenceRoutes
from .exchange import Answer, Exchange, RefusedError, Request, problem
from .extract import ExtractRoutes
from .hooks import HookRoutes
from .reload import ReloadRoutes
from .stores import StoreRoutes

__all__ = ["ApiFigures", "StatusServer"]

log = structlog.get_logger("api")

REQUEST_TIMEOUT_S = 10.0
GOODBYE_S = 1.0
"""How long a subscriber may take to read what is left when the endpoint ends."""
MAX_CONNECTIONS = 16
SOCKET_MODE = 0o660
_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def _listen(path: Path) -> socket.socket:
    """A listening Unix socket in place of a stale one; the few calls it takes do not block.

    Raises:
        ApplianceError: another process serves it, or the folder cannot be used.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        if path.is_socket():
            _remove_stale(path)
        sock.bind(os.fspath(path))
        path.chmod(SOCKET_MODE)
        sock.listen(MAX_CONNECTIONS)
    except OSError as exc:
        sock.close()
        hint = "set [api] listen to a socket in a folder of yours"
        raise ApplianceError(f"cannot listen on {path}: {exc.strerror or exc}", hint=hint) from exc
    except ApplianceError:
        sock.close()
        raise
    return sock


def _remove_stale(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # with a full backlog, a connect would wait for whoever serves it
        code = probe.connect_ex(os.fspath(path))
    if code not in (errno.ECONNREFUSED, errno.ENOENT):
        raise ApplianceError(f"another process serves {path}", hint="is the appliance running already?")
    path.unlink(missing_ok=True)


class _Place:
    """A socket file of ours: another instance may have put its own there since."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode = path.stat().st_ino

    def leave(self) -> None:
        try:
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()
        except OSError:
            return


class _Bounded(trio.abc.Listener[trio.SocketStream]):
    """Accepts a connection only while there is a place for it; the others wait in the kernel and cost nothing here.
    They wait as well while the process has no descriptor for them, which is told once.
    """

    def __init__(self, listener: trio.SocketListener, places: trio.Semaphore) -> None:
        self._listener, self._places = listener, places
        self._throttle = Throttle()

    async def accept(self) -> trio.SocketStream:
        await self._places.acquire()
        try:
            return await self._accept()
        except BaseException:
            self._places.release()
            raise

    async def _accept(self) -> trio.SocketStream:
        backoff = Backoff(first_s=0.1, longest_s=1.0)
        while True:
            try:
                return await self._listener.accept()
            except OSError as exc:
                if exc.errno not in _NO_ROOM:
                    raise
                if (held := self._throttle.admit("accept")) is not None:
                    log.warning("cannot accept connections, trying again", error=exc.strerror, more=held)
            await trio.sleep(backoff.next_s())

    async def aclose(self) -> None:
        await self._listener.aclose()


class ApiFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The endpoint at one moment."""

    sockets: tuple[str, ...]
    """Where it listens; empty if it is off."""
    connections: int
    requests: int
    """Answered since the start."""
    subscribers: int
    """Those of the connections that follow events."""


class StatusServer:
    """Serves JSON documents by path, events, captures, and dead letters. A service of the supervisor.

    Args:
        sockets: absolute paths of Unix sockets.
        documents: what GET answers, by path; called for each request.
        events: what ``/v1/events`` does; None: there is no such path.
        captures: what ``/v1/captures`` does; None: there is no such path.
        hooks: what ``/v1/hooks`` does; None: there is no such path.
        stores: what ``/v1/stores`` does; None: there is no such path.
        evidence: what ``/v1/evidence`` does; None: there is no such path.
        extract: what ``/v1/extract`` does; None: there is no such path.
        reloads: what ``/v1/reload`` does; None: there is no such path.
        is_optional: go on without a socket that cannot be used, with a warning: nobody asked for it by name.
    """

    def __init__(
        self,
        sockets: tuple[str, ...],
        documents: Mapping[str, Callable[[], bytes]],
        *,
        events: EventsApi | None = None,
        captures: CaptureRoutes | None = None,
        hooks: HookRoutes | None = None,
        stores: StoreRoutes | None = None,
        evidence: EvidenceRoutes | None = None,
        extract: ExtractRoutes | None = None,
        reloads: ReloadRoutes | None = None,
        is_optional: bool = False,
    ) -> None:
        self.sockets = sockets
        self._is_optional = is_optional
        self._documents = documents
        self._events = events
        self._extract = extract
        self._routes: list[CaptureRoutes | HookRoutes | StoreRoutes | EvidenceRoutes | ReloadRoutes] = [
            each for each in (captures, hooks, stores, evidence, reloads) if each is not None
        ]
        self._places = trio.Semaphore(MAX_CONNECTIONS)
        self._served: list[str] = []
        self._connections = self._requests = 0
        self._stopped = trio.Event()

    def statistics(self) -> ApiFigures:
        return ApiFigures(
            sockets=tuple(self._served),
            connections=self._connections,
            requests=self._requests,
            subscribers=self._events.subscribers if self._events else 0,
        )

    def stop(self) -> None:
        self._stopped.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        places: list[_Place] = []
        listeners: list[trio.SocketListener] = []
        try:
            for name in self.sockets:
                path = Path(name)
                try:
                    sock = _listen(path)
                except ApplianceError as exc:
                    if not self._is_optional:
                        raise
                    log.warning("no status endpoint: 'broappliance status' will not work", error=str(exc))
                    continue
                listeners.append(trio.SocketListener(trio.socket.from_stdlib_socket(sock)))
                places.append(_Place(path))
                self._served.append(name)
            async with trio.open_nursery() as nursery:
                if listeners:
                    bounded = [_Bounded(listener, self._places) for listener in listeners]
                    nursery.start_soon(trio.serve_listeners, self._serve, bounded)
                task_status.started()
                await self._stopped.wait()
                if self._events is not None:
                    with trio.move_on_after(GOODBYE_S):
                        await self._events.close()
                nursery.cancel_scope.cancel()
        finally:
            for listener in listeners:
                listener.socket.close()
            for place in places:
                place.leave()
            self._served = []

    async def _serve(self, stream: trio.SocketStream) -> None:
        self._connections += 1
        try:
            async with stream:
                with trio.move_on_after(REQUEST_TIMEOUT_S) as patience:
                    try:
                        await self._talk(Exchange(stream), patience)
                    except (trio.BrokenResourceError, trio.ClosedResourceError):
                        return
        finally:
            self._connections -= 1
            self._places.release()

    async def _talk(self, exchange: Exchange, patience: trio.CancelScope) -> None:
        """Answer one request. What changes something or extracts, and who follows events, has limits of its own."""
        try:
            request = await exchange.read()
        except RefusedError as exc:
            await exchange.answer(exc.answer)
            return
        if request is None:
            return
        if self._extract is not None and self._extract.owns(request.path):
            self._requests += 1
            patience.deadline = math.inf
            await self._extract.serve(exchange, request)
            return
        routes = next((each for each in self._routes if each.owns(request.path)), None)
        if routes is not None:
            patience.deadline = math.inf
            answer = await routes.answer(request)
            patience.deadline = trio.current_time() + REQUEST_TIMEOUT_S
        else:
            answer = self._answer(request)
        self._requests += 1
        if answer is not None:
            await exchange.answer(answer)
            return
        follower = routes if isinstance(routes, StoreRoutes) else self._events
        assert follower is not None
        patience.deadline = math.inf
        await follower.follow(exchange, request)

    def _answer(self, request: Request) -> Answer | None:
        """The answer, or None if it has no end."""
        if request.path == EVENTS and self._events is not None:
            return self._events.answer(request)
        if request.method not in ("GET", "HEAD"):
            return problem(405, "only GET is served here", allow=("GET", "HEAD"))
        document = self._documents.get(request.path)
        return Answer(200, document()) if document else problem(404, "no such document")
