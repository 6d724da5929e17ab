"""The thread that owns the two sockets of a node: it reads whatever comes, whatever the loop is doing.

The proxy of a Zeek cluster waits for a subscriber that does not read, and everybody with it
(``listen_xpub_nodrop``). So the sockets belong to a thread that does nothing but drain them into bounded queues: what
the loop does not take in time is dropped here, and counted, and nobody else notices.

Events are read from an XSUB socket and written to an XPUB socket. Subscriptions go the other way: ours are sent on the
XSUB, those of all nodes, our own included, are read from the XPUB.

Source: Zeek, ``src/cluster/backend/zeromq/ZeroMQ.cc``.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import msgspec
import trio
import zmq

from appliance.errors import ApplianceError

from .inbox import Inbox
from .links import LINK_EVENTS, Link, LinkState
from .monitor import open_monitor

__all__ = ["Carrier", "CurveKeys", "Sockets", "open_carrier"]

ROUND = 1000
"""Messages from each socket before the other ones are looked at."""
RETRY_MS = 10
"""How soon an event is offered again that libzmq had no room for: an XPUB does not tell when it has."""
LINGER_S = 0.5
"""How long an end may take to get rid of what is to be sent. Zeek's ``linger_ms``."""
HWM = 10_000
"""Messages that libzmq holds for each direction, beyond those that we hold."""
MAX_CONTROLS = 65_536
"""Subscriptions and urgent messages that may wait; a cluster has some hundreds."""
MAX_CONTROL_BYTES = 64 << 20
LARGEST_MESSAGE = 16 << 20
"""Bytes of a frame that are received in any case: the connection is everybody's, and a little too much is counted."""
_RECONNECT_MS = 100
_RECONNECT_MAX_MS = 1000
_KEEPALIVE_S = 10


class CurveKeys(msgspec.Struct, frozen=True):
    """What a socket that connects needs to encrypt; each 40 characters of Z85."""

    server: bytes
    """Public key of who is connected to."""
    public: bytes
    """Ours."""
    secret: bytes


class Sockets(msgspec.Struct, frozen=True, kw_only=True):
    """What the sockets are made from."""

    read: str
    """The proxy's XPUB."""
    write: str
    """The proxy's XSUB."""
    urgent: bytes
    """Messages on topics that begin with this do not stand in line with the others."""
    max_message: int
    """Bytes of an event. What is far longer costs the connection before a byte of it is stored."""
    queue: int
    """Messages that may wait for the loop, and as many for the network."""
    queue_bytes: int
    keys: CurveKeys | None = None


class Carrier:
    """See the module; made by `open_carrier`.

    Attributes:
        events: what is read, but for what is urgent.
        controls: urgent messages, subscriptions (messages of one frame), and nothing at all (an empty message) when a
            connection has changed.
    """

    def __init__(self, sockets: Sockets) -> None:
        self._sockets = sockets
        self.events = Inbox(max_messages=sockets.queue, max_bytes=sockets.queue_bytes)
        self.controls = Inbox(max_messages=MAX_CONTROLS, max_bytes=MAX_CONTROL_BYTES)
        self._reading, self._writing = Link(sockets.read), Link(sockets.write)
        self._lock = threading.Lock()
        self._subscriptions: deque[bytes] = deque()
        self._outgoing: deque[Sequence[bytes]] = deque()
        self._outgoing_bytes = 0
        self._sent = 0
        self._stopping = False
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.opened = trio.Event()

    # ── for the loop ──

    @property
    def links(self) -> tuple[LinkState, LinkState]:
        """The connections: for reading, for writing."""
        return self._reading.state, self._writing.state

    @property
    def sent(self) -> int:
        """Messages that libzmq has taken, since the start."""
        return self._sent

    def subscribe(self, frame: bytes) -> None:
        """Send a subscription, or the end of one, as its frame."""
        with self._lock:
            self._subscriptions.append(frame)
        self._wake()

    def send(self, frames: Sequence[bytes]) -> bool:
        """Queue a message; False if there is no room for it."""
        size = sum(map(len, frames))
        with self._lock:
            if self._outgoing and (
                len(self._outgoing) >= self._sockets.queue or self._outgoing_bytes + size > self._sockets.queue_bytes
            ):
                return False
            self._outgoing.append(frames)
            self._outgoing_bytes += size
        self._wake()
        return True

    def stop(self) -> None:
        """Let the thread send what waits, for a moment, and end."""
        self._stopping = True
        self._wake()

    def _wake(self) -> None:
        with suppress(BlockingIOError):
            os.eventfd_write(self._wake_fd, 1)

    # ── the thread ──

    def run(self, token: trio.lowlevel.TrioToken) -> None:
        """Open the sockets, tell that, serve until `stop`, close them.

        Raises:
            ApplianceError: an endpoint is none.
        """
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        context.setsockopt(zmq.BLOCKY, 0)
        try:
            reader = self._open(context, zmq.XSUB, self._sockets.read)
            writer = self._open(context, zmq.XPUB, self._sockets.write)
            watched = {
                reader: (open_monitor(reader, context, events=LINK_EVENTS), self._reading),
                writer: (open_monitor(writer, context, events=LINK_EVENTS), self._writing),
            }
            reader.connect(self._sockets.read)
            writer.connect(self._sockets.write)
            token.run_sync_soon(self.opened.set)
            self._serve(reader, writer, list(watched.values()))
            is_connected = all(link.is_connected for link in self.links)
            for sock, (pair, _) in watched.items():
                sock.disable_monitor()
                pair.close(0)
            for sock in (reader, writer):
                sock.close(int(LINGER_S * 1000) if is_connected else 0)
        except zmq.ZMQError as exc:
            raise ApplianceError(
                f"cannot open sockets for {self._sockets.read} and {self._sockets.write}: {exc}"
            ) from exc
        finally:
            context.destroy()

    def _open(self, context: zmq.Context[zmq.Socket[bytes]], kind: int, endpoint: str) -> zmq.Socket[bytes]:
        sock = context.socket(kind)
        sock.setsockopt(zmq.IPV6, int("[" in endpoint))
        sock.setsockopt(zmq.RCVHWM, HWM if kind == zmq.XSUB else 0)
        sock.setsockopt(zmq.SNDHWM, HWM)
        sock.setsockopt(zmq.MAXMSGSIZE, max(LARGEST_MESSAGE, 2 * self._sockets.max_message))
        sock.setsockopt(zmq.RECONNECT_IVL, _RECONNECT_MS)
        sock.setsockopt(zmq.RECONNECT_IVL_MAX, _RECONNECT_MAX_MS)
        sock.setsockopt(zmq.TCP_KEEPALIVE, 1)
        sock.setsockopt(zmq.TCP_KEEPALIVE_IDLE, _KEEPALIVE_S)
        sock.setsockopt(zmq.TCP_KEEPALIVE_INTVL, _KEEPALIVE_S)
        sock.setsockopt(zmq.TCP_KEEPALIVE_CNT, 3)
        if kind == zmq.XPUB:
            sock.setsockopt(zmq.XPUB_VERBOSE, 1)  # so that a proxy which starts anew shows itself
            sock.setsockopt(zmq.XPUB_NODROP, 1)
        if (keys := self._sockets.keys) is not None:
            sock.setsockopt(zmq.CURVE_SERVERKEY, keys.server)
            sock.setsockopt(zmq.CURVE_PUBLICKEY, keys.public)
            sock.setsockopt(zmq.CURVE_SECRETKEY, keys.secret)
        return sock

    def _serve(
        self, reader: zmq.Socket[bytes], writer: zmq.Socket[bytes], watched: list[tuple[zmq.Socket[bytes], Link]]
    ) -> None:
        poller = zmq.Poller()
        for each in (reader, writer, *(pair for pair, _ in watched)):
            poller.register(each, zmq.POLLIN)
        poller.register(self._wake_fd, zmq.POLLIN)
        end_s = 0.0
        while True:
            is_stuck = not self._write(reader, writer)
            if self._stopping:
                end_s = end_s or time.monotonic() + LINGER_S
                if not is_stuck or time.monotonic() >= end_s:
                    return
            ready = dict(poller.poll(RETRY_MS if is_stuck else None))
            if self._wake_fd in ready:
                with suppress(BlockingIOError):
                    os.eventfd_read(self._wake_fd)
            if reader in ready:
                self._read_events(reader)
            if writer in ready:
                self._read_subscriptions(writer)
            for pair, link in watched:
                if pair in ready:
                    self._read_link(pair, link)

    def _write(self, reader: zmq.Socket[bytes], writer: zmq.Socket[bytes]) -> bool:
        """Send what waits; returns whether all of it is sent."""
        while self._subscriptions:
            reader.send(self._subscriptions.popleft())
        sent = 0
        try:
            while self._outgoing:
                writer.send_multipart(self._outgoing[0], zmq.NOBLOCK)
                sent += 1
                with self._lock:
                    self._outgoing_bytes -= sum(map(len, self._outgoing.popleft()))
        except zmq.Again:
            return False
        finally:
            self._sent += sent
            if sent:
                self.controls.wake()
        return True

    def _read_events(self, reader: zmq.Socket[bytes]) -> None:
        urgent = self._sockets.urgent
        with suppress(zmq.Again):
            for _ in range(ROUND):
                frames = reader.recv_multipart(zmq.NOBLOCK)
                is_urgent = bool(urgent) and frames[0].startswith(urgent)
                (self.controls if is_urgent else self.events).put(frames)

    def _read_subscriptions(self, writer: zmq.Socket[bytes]) -> None:
        with suppress(zmq.Again):
            for _ in range(ROUND):
                frames = writer.recv_multipart(zmq.NOBLOCK)
                if len(frames) == 1:
                    self.controls.put(frames)

    def _read_link(self, pair: zmq.Socket[bytes], link: Link) -> None:
        has_changed = False
        with suppress(zmq.Again):
            while True:
                has_changed |= link.feed(pair.recv_multipart(zmq.NOBLOCK))
        if has_changed:
            self.controls.put([])

    def close(self) -> None:
        """When the thread has ended."""
        os.close(self._wake_fd)


@asynccontextmanager
async def open_carrier(sockets: Sockets) -> AsyncIterator[Carrier]:
    """A carrier whose sockets are open; nobody need be connected.

    Raises:
        ApplianceError: an endpoint is none.

    Cancellation: ends like the context, within `LINGER_S`.

    Resource handling: everything is closed at the end.
    """
    carrier = Carrier(sockets)
    token = trio.lowlevel.current_trio_token()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_run_thread, carrier, token)
            try:
                await carrier.opened.wait()
                yield carrier
            finally:
                carrier.stop()
    finally:
        carrier.close()


async def _run_thread(carrier: Carrier, token: trio.lowlevel.TrioToken) -> None:
    # A limiter of its own: those of Trio's threads may all be busy with disks.
    await trio.to_thread.run_sync(carrier.run, token, limiter=trio.CapacityLimiter(1))
