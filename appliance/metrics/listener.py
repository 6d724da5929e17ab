"""``[metrics] listen``: a listener for Prometheus and nothing else, so that a scrape needs no right on the API.

A connection is for one request. Everybody who can reach the address may read, so it is a loopback one by default.
There, what a browser was talked into asking for is refused by the name that it asks for: metrics are not for every web
site. Connections that are slow, or one too many, are cut; the oldest goes first.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable

import h11
import msgspec
import structlog
import trio

from appliance.config import Metrics
from appliance.config.addresses import parse_peer
from appliance.errors import ApplianceError

__all__ = ["ListenerFigures", "MetricsListener"]

log = structlog.get_logger("metrics")

PATH = "/metrics"
PATIENCE_S = 10.0
"""For one request and its answer, as long as Prometheus waits by default."""
MAX_CONNECTIONS = 32
_RECEIVE = 16384
_PLAIN = "text/plain; charset=utf-8"

Read = Callable[[str], Awaitable[tuple[str, bytes]]]
"""From the header ``Accept`` to the content type and the text."""


class ListenerFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The listener at one moment."""

    listening: tuple[str, ...]
    """As bound."""
    connections: int
    requests: int
    """Answered since the start."""
    cut: int
    """Connections that were too slow, or too many."""


class MetricsListener:
    """See the module. A service of the supervisor.

    Args:
        table: where to listen.
        read: makes the answer to a scrape.
    """

    def __init__(self, table: Metrics, read: Read) -> None:
        self._address = table.listen
        self._host, self._port = parse_peer(table.listen)
        self._read = read
        self._listening: tuple[str, ...] = ()
        self._open: dict[trio.CancelScope, None] = {}
        self._requests = self._cut = 0
        self._is_loopback = True
        self._stopped = trio.Event()

    def statistics(self) -> ListenerFigures:
        return ListenerFigures(
            listening=self._listening, connections=len(self._open), requests=self._requests, cut=self._cut
        )

    def stop(self) -> None:
        self._stopped.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        listeners = await self._listen()
        try:
            self._listening = tuple(_name(each.socket.getsockname()) for each in listeners)
            self._is_loopback = all(_is_loopback(each.socket.getsockname()[0]) for each in listeners)
            if not self._is_loopback:
                log.warning("whoever can reach this address can read all metrics", listening=self._listening)
            log.info("metrics are served", listening=self._listening)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.serve_listeners, self._serve, listeners)
                task_status.started()
                await self._stopped.wait()
                nursery.cancel_scope.cancel()
        finally:
            for each in listeners:
                each.socket.close()
            self._listening = ()

    async def _listen(self) -> list[trio.SocketListener]:
        try:
            return await trio.open_tcp_listeners(self._port, host=self._host or None)
        except OSError as exc:
            told = exc.strerror or str(exc)
            raise ApplianceError(f"cannot listen on {self._address} for metrics: {told}") from exc

    async def _serve(self, stream: trio.SocketStream) -> None:
        if len(self._open) >= MAX_CONNECTIONS:
            next(iter(self._open)).cancel()
        async with stream:
            with trio.move_on_after(PATIENCE_S) as scope:
                self._open[scope] = None
                try:
                    await self._talk(stream)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    pass  # whoever asked is gone
                finally:
                    del self._open[scope]
            self._cut += scope.cancelled_caught

    async def _talk(self, stream: trio.SocketStream) -> None:
        connection = h11.Connection(h11.SERVER)
        try:
            request = await _next_request(connection, stream)
        except h11.RemoteProtocolError as exc:
            status, content_type, body = exc.error_status_hint, _PLAIN, b"this is no request\n"
            request = None
        else:
            if request is None:
                return
            status, content_type, body = await self._answer(request)
        headers = [("content-type", content_type), ("content-length", str(len(body))), ("connection", "close")]
        if status == 405:
            headers.append(("allow", "GET, HEAD"))
        data = connection.send(h11.Response(status_code=status, headers=headers)) or b""
        if request is None or request.method != b"HEAD":
            data += connection.send(h11.Data(data=body)) or b""
        self._requests += 1
        await stream.send_all(data)

    async def _answer(self, request: h11.Request) -> tuple[int, str, bytes]:
        fields = {name: value.decode("latin-1") for name, value in request.headers}
        if self._is_loopback and not _is_local_name(fields.get(b"host", "")):
            return 421, _PLAIN, b"ask for localhost, or by address\n"
        if request.target.partition(b"?")[0] != PATH.encode():
            return 404, _PLAIN, b"there is only /metrics\n"
        if request.method not in (b"GET", b"HEAD"):
            return 405, _PLAIN, b"only GET is served here\n"
        content_type, body = await self._read(fields.get(b"accept", ""))
        return 200, content_type, body


async def _next_request(connection: h11.Connection, stream: trio.SocketStream) -> h11.Request | None:
    """The head of a request, of which h11 bounds the size; None if there is no more. A body is left unread."""
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(bytes(await stream.receive_some(_RECEIVE)))
    return event if isinstance(event, h11.Request) else None


def _name(address: tuple[object, ...]) -> str:
    host, port = str(address[0]), address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host.partition("%")[0]).is_loopback


def _is_local_name(host: str) -> bool:
    """Whether a ``Host`` is an address or localhost, which no foreign page can have; HTTP/1.0 has none.

    Source: RFC 6761 §6.3 for localhost.
    """
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() and not host.endswith("]") else host
    name = name.strip("[]").lower().rstrip(".")
    if not name or name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
