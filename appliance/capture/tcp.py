"""Streams: we connect, again and again, or we listen for many; each piece or frame of what arrives is a packet.

The end of a stream ends the segments when no connection is left: a file holds whole connections. It never spins: after
an end we connect again with growing delays.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Self

import structlog
import trio

from appliance.config import Capture
from appliance.errors import ApplianceError
from appliance.native.synth import Address
from appliance.runtime.backoff import Backoff
from appliance.runtime.logs import Throttle

from .batch import ChunkBatch
from .connection import Connection
from .figures import SocketFigures
from .framing import make_framing
from .streams import (
    CONNECT_TIMEOUT_S,
    ByteStream,
    accept_stream,
    client_context,
    dial,
    make_listener,
    server_context,
    shown,
)
from .transport import Customer

__all__ = ["TcpTransport"]

log = structlog.get_logger("capture")

CHUNK = 65536
HEALTHY_S = 10.0
"""A connection that lasted so long is no reason to wait longer before the next one."""
DRAIN_S = 1.0
"""How long a stop reads on what a peer keeps sending."""
_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class TcpTransport:
    """A `Transport`.

    Args:
        capture: its table.
        door: for the log.
    """

    def __init__(self, capture: Capture, *, door: str) -> None:
        self._capture = capture
        self._door = door
        self._listener: trio.SocketListener | None = None
        self._tls: ssl.SSLContext | None = None
        self._stopping = trio.Event()
        self._waiting: set[trio.CancelScope] = set()
        """What `stop` interrupts."""
        self._throttle = Throttle()
        self._address = ""
        self._open = self._connected = self._refused = self._number = 0
        self._packets = self._bytes = self._last_ns = 0
        self._drain_until_s = math.inf
        self._turn = trio.Lock()
        """Handlers take one batch at a time, also when they have to wait for room."""

    async def __aenter__(self) -> Self:
        capture = self._capture
        if capture.tls:
            make = server_context if capture.mode == "listen" else client_context
            self._tls = await trio.to_thread.run_sync(make, capture)
        if capture.mode == "listen":
            self._listener = make_listener(capture, door=self._door)
            self._address = shown(self._listener.socket.getsockname()[:2])
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._listener is not None:
            await self._listener.aclose()
            self._listener = None
        self._address = ""

    def stop(self) -> None:
        if not self._stopping.is_set():
            self._drain_until_s = trio.current_time() + DRAIN_S
        self._stopping.set()
        for scope in self._waiting:
            scope.cancel()

    def want_addresses(self, *, wanted: bool) -> None:
        """Each connection knows both of its ends."""

    def statistics(self) -> SocketFigures:
        return SocketFigures(
            address=self._address,
            packets=self._packets,
            bytes=self._bytes,
            last_packet_ns=self._last_ns,
            connections=self._open,
            connected=self._connected,
            refused=self._refused,
        )

    @property
    def kernel_drops(self) -> int:
        return 0  # the peer is held back instead

    @contextlib.contextmanager
    def _until_stopped(self) -> Iterator[trio.CancelScope]:
        with trio.CancelScope() as scope:
            self._waiting.add(scope)
            if self._stopping.is_set():
                scope.cancel()
            try:
                yield scope
            finally:
                self._waiting.discard(scope)

    async def run(self, customer: Customer) -> None:
        if self._listener is None:
            await self._keep_connected(customer)
            return
        async with trio.open_nursery() as nursery:
            backoff = Backoff(first_s=0.1, longest_s=1.0)
            while not self._stopping.is_set():
                stream: trio.SocketStream | None = None
                with self._until_stopped():
                    try:
                        stream = await accept_stream(self._listener, self._capture)
                    except OSError as exc:
                        if exc.errno in _NO_ROOM:
                            self._complain("cannot accept connections, trying again", exc)
                            await trio.sleep(backoff.next_s())
                        continue
                if stream is not None:
                    backoff.reset()
                    nursery.start_soon(self._serve, stream, customer)

    async def _keep_connected(self, customer: Customer) -> None:
        backoff = Backoff(first_s=1.0, longest_s=30.0)
        while not self._stopping.is_set():
            stream: trio.SocketStream | None = None
            began_s = trio.current_time()
            try:
                with self._until_stopped():
                    stream = await dial(self._capture, door=self._door)
            except OSError as exc:
                self._complain("cannot connect, trying again", exc)
            if stream is not None:
                await self._serve(stream, customer)
                if trio.current_time() - began_s >= HEALTHY_S:
                    backoff.reset()
            with trio.move_on_after(backoff.next_s()):
                await self._stopping.wait()

    def _complain(self, event: str, exc: Exception) -> None:
        if (held := self._throttle.admit(event)) is not None:
            # Trio's text of a refused connection names the address again; negative numbers are those of getaddrinfo(3).
            is_plain = isinstance(exc, OSError) and not isinstance(exc, ssl.SSLError) and (exc.errno or 0) > 0
            told = os.strerror(exc.errno or 0) if is_plain and isinstance(exc, OSError) else str(exc)
            log.warning(event, door=self._door, address=shown(self._capture.address), error=told or type(exc).__name__,
                        more=held)  # fmt: skip

    # ── one connection ──

    async def _serve(self, stream: trio.SocketStream, customer: Customer) -> None:
        """Read one connection to its end and close it; whatever goes wrong with it concerns no other."""
        if self._open >= self._capture.max_clients and self._listener is not None:
            self._refused += 1
            self._complain("too many connections", ApplianceError("more than max_clients"))
            await trio.aclose_forcefully(stream)
            return
        self._open += 1
        self._connected += 1
        try:
            peer, local = stream.socket.getpeername()[:2], stream.socket.getsockname()[:2]
            async with await self._secure(stream) as secured:
                if self._listener is None:
                    self._address = shown(peer)
                await self._read(secured, peer, local, customer)
        except (OSError, ssl.SSLError, trio.BrokenResourceError, trio.TooSlowError) as exc:
            self._complain("a connection failed", exc.__cause__ if isinstance(exc.__cause__, OSError) else exc)
        finally:
            self._open -= 1
            if self._listener is None:
                self._address = ""
            if not self._open:
                customer.end_segments()

    async def _secure(self, stream: trio.SocketStream) -> ByteStream:
        if self._tls is None:
            return stream
        is_server = self._listener is not None
        secured = trio.SSLStream(
            stream,
            self._tls,
            server_hostname=None if is_server else self._capture.address[0],
            server_side=is_server,
            https_compatible=True,
        )
        try:
            with self._until_stopped(), trio.fail_after(CONNECT_TIMEOUT_S):
                await secured.do_handshake()
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return secured

    async def _read(self, stream: ByteStream, peer: Address, local: Address, customer: Customer) -> None:
        capture = self._capture
        self._number += 1
        connection = Connection(
            peer,
            local,
            framing=make_framing(capture.framing, int(capture.max_frame)),
            is_dialled=self._listener is None,
            isn=time.time_ns() + self._number,
        )
        await self._hand_on(connection.open(time.time_ns()), customer)
        by_error = True
        try:
            while data := await self._receive(stream):
                await self._hand_on(connection.receive(time.time_ns(), data), customer)
                if connection.error is not None:
                    self._refused += 1
                    customer.refuse("too_large")
                    self._complain("a connection broke its framing", connection.error)
                    break
            else:
                by_error = False
        finally:
            last, is_torn = connection.end(time.time_ns(), by_error=by_error)
            if is_torn:
                customer.refuse("torn_frame")
            with trio.move_on_after(1.0, shield=True):
                await self._hand_on(last, customer)

    async def _hand_on(self, batch: ChunkBatch, customer: Customer) -> None:
        if len(batch):
            self._packets += len(batch)
            self._bytes += batch.bytes
            self._last_ns = time.time_ns()
        async with self._turn:
            await customer.take(batch)

    async def _receive(self, stream: ByteStream) -> bytes:
        """What has come; empty at the end, and after `stop` when nothing more is there."""
        with self._until_stopped():
            return bytes(await stream.receive_some(CHUNK))
        if not isinstance(stream, trio.SocketStream) or trio.current_time() >= self._drain_until_s:
            return b""
        with socket.socket(fileno=stream.socket.fileno()) as plain:
            try:
                return plain.recv(CHUNK, socket.MSG_DONTWAIT)
            except OSError:
                return b""
            finally:
                plain.detach()
