"""A bound ZeroMQ socket and its monitor, opened and closed in the right order, and the loop that drains it.

``ZMQ_FD`` is edge-triggered: the descriptor tells of news, not of a state. So it may be waited for only right after the
socket was found empty, and only one task may touch the socket.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager

import structlog
import trio
import zmq

from .admission import Admission
from .endpoint import bind, is_public
from .monitor import PeerMonitor, open_monitor

__all__ = ["Listener", "open_listener"]

log = structlog.get_logger("zmq")

STOP_PATIENCE_S = 1.0
"""How long a stop follows peers that never pause; then they are cut, and only what has arrived is handed on."""


class Listener:
    """A bound socket; made by `open_listener`."""

    def __init__(self, sock: zmq.Socket[bytes]) -> None:
        self.sock = sock
        self.bound: list[str] = []
        """Endpoints as bound."""
        self._stopping = False
        self._waiting: trio.CancelScope | None = None

    def stop(self) -> None:
        """Ask `drain` to end."""
        self._stopping = True
        if self._waiting is not None:
            self._waiting.cancel()

    async def drain(self, take_some: Callable[[], Awaitable[bool]]) -> None:
        """Call `take_some` whenever there may be messages, until `stop`; then until the socket is empty once.

        Args:
            take_some: receives a bounded number of messages and hands them on; returns whether the socket was empty.
        """
        fd = self.sock.fileno()
        while not self._stopping:
            if not await take_some():
                await trio.lowlevel.checkpoint()
            elif not self._stopping:
                with trio.CancelScope() as self._waiting:
                    await trio.lowlevel.wait_readable(fd)
                self._waiting = None
        cut_at = trio.current_time() + STOP_PATIENCE_S
        while not await take_some():
            await trio.lowlevel.checkpoint()
            if trio.current_time() >= cut_at:
                cut_at = math.inf
                for endpoint in self.bound:
                    self.sock.unbind(endpoint)  # ends its connections, too; what libzmq has received can still be read


@asynccontextmanager
async def open_listener(
    kind: int,
    endpoints: Iterable[str],
    *,
    monitor: PeerMonitor,
    configure: Callable[[zmq.Socket[bytes]], None],
    admission: Admission | None = None,
) -> AsyncIterator[Listener]:
    """Bind a socket and watch its peers.

    Args:
        kind: ``zmq.SUB`` or ``zmq.PULL``.
        endpoints: where to bind.
        monitor: is told of the peers.
        configure: sets the socket's options before it is bound.
        admission: who may connect, for an encrypted socket; None: everybody.

    Raises:
        ApplianceError: an endpoint cannot be bound.

    Resource handling: everything is closed at the end, in an order that leaves nobody asleep.
    """
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        sock = context.socket(kind)
        sock.setsockopt(zmq.LINGER, 0)
        configure(sock)
        pair = open_monitor(sock, context)
        helpers = [pair]
        if admission is not None:
            helpers.append(admission.open(context))
        listener = Listener(sock)
        try:
            for endpoint in endpoints:
                listener.bound.append(bind(sock, endpoint))
                if is_public(endpoint) and not sock.getsockopt(zmq.CURVE_SERVER):
                    log.warning("anybody who reaches this address can send records", bind=endpoint)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(monitor.run, pair)
                if admission is not None:
                    nursery.start_soon(admission.run, helpers[-1])
                yield listener
                nursery.cancel_scope.cancel()
        finally:
            # Waiters first: closing a descriptor under them would leave them asleep for ever.
            for each in (*helpers, sock):
                trio.lowlevel.notify_closing(each.fileno())
            sock.disable_monitor()
            for each in (*helpers, sock):
                each.close(0)
            monitor.forget()
    finally:
        context.destroy(linger=0)
