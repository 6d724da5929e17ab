"""One connection: hypercorn's HTTP/1.1 and ASGI on a stream of ours.

What differs from hypercorn's own server: HTTP/1.1 alone, refusals of what is no request are problem details, a client
that takes nothing is cut, sending can be cancelled, and a body that nobody reads blocks nobody.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import h11
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import MAX_RECV, TCPServer
from hypercorn.trio.worker_context import WorkerContext

from .exchange import problem
from .sockets import has_unread

__all__ = ["HEAD_BYTES", "Connection", "make_config"]

HEAD_BYTES = 16 << 10
"""Of a request's line and headers."""
STALL_S = 60.0
"""A client that takes nothing for so long is cut, whatever it was that waits for it."""
LINGER_S = 1.0
"""How long a client that is still sending may take to read why it was refused."""
LINGER_BYTES = 4 << 20
"""And how much of it is thrown away."""
_WHOLE = frozenset({h11.DONE, h11.MUST_CLOSE, h11.CLOSED})
_BROKEN = (trio.BrokenResourceError, trio.ClosedResourceError)


def make_config(idle_s: float) -> Config:
    """What hypercorn is to do.

    Args:
        idle_s: how long a connection may take to bring the head of a request.
    """
    config = Config()
    config.keep_alive_timeout = idle_s
    config.h11_max_incomplete_size = HEAD_BYTES
    config.include_server_header = False
    config.errorlog = None
    return config


class _Http11(H11Protocol):
    async def _check_protocol(self, event: h11.Request) -> None:
        """No way to HTTP/2: it would need limits of its own."""

    async def _send_error_response(self, status_code: int) -> None:
        answer = problem(status_code, "this is no request")
        headers = [
            (b"content-type", answer.content_type.encode()),
            (b"content-length", b"%d" % len(answer.body)),
            (b"connection", b"close"),
        ]
        await self._send_h11_event(h11.Response(status_code=status_code, headers=headers))
        await self._send_h11_event(h11.Data(data=answer.body))
        await self._send_h11_event(h11.EndOfMessage())


class _Tasks(TaskGroup):
    async def spawn_app(self, app: Any, config: Config, scope: Any, send: Any) -> Callable[[Any], Awaitable[None]]:
        """As its base, but what comes for an application that has ended is thrown away instead of waited with."""
        into, out = trio.open_memory_channel[Any](config.max_app_queue_size)

        async def run() -> None:
            try:
                with out:
                    await app(scope, out.receive, send, None, None)
            finally:
                await send(None)

        async def put(event: Any) -> None:
            try:
                await into.send(event)
            except trio.BrokenResourceError:
                return

        assert self._nursery is not None
        self._nursery.start_soon(run)
        return put


class Connection(TCPServer):
    """See the module.

    Args:
        app: takes scope, receive, send, and two more that it leaves alone.
        config: from `make_config`.
        context: of all connections of the server.
        stream: on which nothing was read yet.
        state: goes into each scope.
    """

    def __init__(
        self,
        app: Callable[..., Awaitable[None]],
        config: Config,
        context: WorkerContext,
        stream: trio.abc.Stream,
        *,
        state: dict[str, Any],
        is_tls: bool,
    ) -> None:
        super().__init__(app, config, context, state, stream)  # type: ignore[arg-type]  # any stream will do
        self._is_tls = is_tls
        self._is_torn = self._is_closing = self._is_at_end = False
        self._reading = trio.CancelScope()
        self.idle_since: float | None = trio.current_time()
        """Since when the head of a request is waited for; None: a request is being answered."""

    @property
    def has_unread(self) -> bool:
        """Whether the client has sent something that was not read yet."""
        return has_unread(self.stream)

    async def run(self) -> None:
        """Serve requests until either side ends the connection; closes the stream."""
        try:
            async with _Tasks() as tasks:
                self._task_group = tasks
                self._http = _Http11(
                    self.app,
                    self.config,
                    self.context,
                    tasks,
                    self.state,  # type: ignore[arg-type]
                    self._is_tls,
                    None,
                    None,
                    self.protocol_send,
                )
                self.protocol = self._http  # type: ignore[assignment]  # hypercorn's would choose among several
                await self.idle_task.restart(tasks, self._idle_timeout)
                await self._read_data()
                await self.idle_task.stop()
        except* (OSError, *_BROKEN):
            pass
        finally:
            await trio.aclose_forcefully(self.stream)

    async def protocol_send(self, event: Event) -> None:
        """Do what the protocol wants to have sent."""
        if isinstance(event, RawData):
            await self._send_raw(event.data)
        elif isinstance(event, Closed):
            await self._close()
            await self.protocol.handle(Closed())
        elif isinstance(event, Updated):
            if event.idle and not (self._is_torn or self._is_at_end):
                self.idle_since = trio.current_time()
                await self.idle_task.restart(self._task_group, self._idle_timeout)
            elif event.idle:
                await self.protocol_send(Closed())
            else:
                self.idle_since = None
                await self.idle_task.stop()

    async def _send_raw(self, data: bytes) -> None:
        async with self.send_lock:
            if self._is_torn:
                return
            self._is_torn = True  # until all of it is sent
            try:
                with trio.move_on_after(STALL_S):
                    await self.stream.send_all(data)
                    self._is_torn = False
            except _BROKEN:
                pass
        if self._is_torn:
            await self._close()
            await self.protocol.handle(Closed())

    async def _read_data(self) -> None:
        while not self._is_closing:
            data: bytes | bytearray = b""
            with trio.CancelScope() as self._reading:
                try:
                    data = await self.stream.receive_some(MAX_RECV)
                except _BROKEN:
                    break
            if not data:
                break
            await self.protocol.handle(RawData(bytes(data)))
        self._is_at_end = True  # nothing more comes: the answer under way is the last one
        await self.protocol.handle(Closed())

    async def _close(self) -> None:
        """Close; a client that is still sending can read the answer first."""
        if self._is_closing:
            return
        self._is_closing = True
        with trio.move_on_after(LINGER_S):
            if not self._is_torn:
                try:
                    await self.stream.send_eof()  # TLS has none
                except (*_BROKEN, trio.BusyResourceError, AttributeError):
                    pass
                if self._http.connection.their_state not in _WHOLE:
                    await self._drain()
            await self.stream.aclose()

    async def _drain(self) -> None:
        """Throw away what is still sent: closing now would take the answer away from the client, too."""
        self._reading.cancel()
        left = LINGER_BYTES
        while left > 0:
            try:
                data = await self.stream.receive_some(MAX_RECV)
                left = left - len(data) if data else 0
            except trio.BusyResourceError:
                await trio.lowlevel.checkpoint()
            except _BROKEN:
                return
