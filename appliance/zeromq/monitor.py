"""Who is connected to a bound socket, from libzmq's own event stream.

Source: zmq_socket_monitor(3): a PAIR socket, two frames an event; the first is a 16-bit event and a 32-bit value.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable

import msgspec
import trio
import zmq

__all__ = ["PeerFigures", "PeerMonitor", "open_monitor"]

_HANDSHAKE_FAILED = (
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
EVENTS = zmq.EVENT_ACCEPTED | zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | _HANDSHAKE_FAILED
"""Not EVENT_ACCEPT_FAILED: without free descriptors libzmq repeats it as fast as it can."""


def open_monitor(
    sock: zmq.Socket[bytes], context: zmq.Context[zmq.Socket[bytes]], *, events: int = EVENTS
) -> zmq.Socket[bytes]:
    """The PAIR socket that tells what happens to `sock`. The caller first disables the monitor, then closes it.

    Its queue has no bound. libzmq's I/O thread waits while it is full, and holds a lock meanwhile that disabling the
    monitor needs: whoever connects a thousand times while nobody reads would stop all traffic, and then us for ever.
    """
    address = f"inproc://monitor-{sock.fileno()}"
    sock.monitor(address, events)
    pair: zmq.Socket[bytes] = context.socket(zmq.PAIR)
    pair.setsockopt(zmq.RCVHWM, 0)
    pair.connect(address)
    return pair


class PeerFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Connections of a bound socket; `accepted` is the sum of the others and of those in their handshake."""

    connected: int
    """Peers that finished the ZeroMQ handshake and are still there."""
    accepted: int
    """Connections since the start."""
    disconnected: int
    """Peers that went, whose machine no longer answered, or whose connection ended with the socket."""
    cut: int
    """Peers that libzmq put out: a frame larger than the limit, or no ZeroMQ protocol. What they had sent is lost."""
    failed: int
    """Connections that were no ZeroMQ peer."""


class PeerMonitor:
    """Counts peers of one socket. Feed it events, or let `run` read them.

    libzmq neither says whose handshake succeeded, nor why a connection ended. The first is guessed: the youngest, for
    a peer needs milliseconds, and who is silent is put out after 30 s. The second is asked of the connection itself,
    through a second descriptor that is kept as long as it lasts: if it is still open, it was not the peer who ended it.

    Args:
        report_cut: called for each peer that was put out.
    """

    def __init__(self, report_cut: Callable[[], None] = lambda: None) -> None:
        self._report_cut = report_cut
        self._greeting: dict[int, socket.socket | None] = {}
        self._connected: dict[int, socket.socket | None] = {}
        self._accepted = self._disconnected = self._cut = self._failed = 0
        self._is_failing = False
        self.changed = trio.lowlevel.ParkingLot()

    def statistics(self) -> PeerFigures:
        return PeerFigures(
            connected=len(self._connected),
            accepted=self._accepted,
            disconnected=self._disconnected,
            cut=self._cut,
            failed=self._failed,
        )

    def feed(self, frames: list[bytes]) -> None:
        """Take in one event; a message that is none is ignored."""
        if not frames or len(frames[0]) != 6:
            return
        event, value = struct.unpack("=HI", frames[0])
        if event == zmq.EVENT_ACCEPTED:
            self._end(value)  # it would be the descriptor's former connection, whose end we missed
            self._accepted += 1
            self._greeting[value] = _duplicate(value)
        elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._promote()
        elif event & _HANDSHAKE_FAILED:
            self._is_failing = True  # the next event is its disconnection
        elif event == zmq.EVENT_DISCONNECTED:
            self._end(value)
            self._is_failing = False
        self.changed.unpark_all()

    def _promote(self) -> None:
        if self._greeting:
            fd, witness = self._greeting.popitem()
            self._connected[fd] = witness

    def _end(self, fd: int) -> None:
        if fd in self._greeting:
            self._failed += 1
            _close(self._greeting.pop(fd))
        elif fd in self._connected:
            witness = self._connected.pop(fd)
            if self._is_failing:  # so it was another one whose handshake had succeeded
                self._failed += 1
                self._promote()
            elif witness is not None and _is_open(witness):
                self._cut += 1
                self._report_cut()
            else:
                self._disconnected += 1
            _close(witness)

    def forget(self) -> None:
        """The socket was closed: nobody is connected any more."""
        self._disconnected += len(self._connected)
        self._failed += len(self._greeting)
        for witness in (*self._connected.values(), *self._greeting.values()):
            _close(witness)
        self._connected.clear()
        self._greeting.clear()
        self._is_failing = False
        self.changed.unpark_all()

    async def run(self, pair: zmq.Socket[bytes]) -> None:
        """Read events from the monitor's PAIR socket until cancelled. The caller closes it."""
        while True:
            try:
                for _ in range(256):
                    self.feed(pair.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                await trio.lowlevel.wait_readable(pair.fileno())  # edge-triggered: only ever after Again
            else:
                await trio.lowlevel.checkpoint()


def _duplicate(fd: int) -> socket.socket | None:
    """A second descriptor for a connection of libzmq's; None if there is none left, or the connection has gone."""
    try:
        copy = os.dup(fd)
    except OSError:
        return None
    try:
        return socket.socket(fileno=copy)
    except OSError:  # gone, and its number is a file's by now
        os.close(copy)
        return None


def _is_open(connection: socket.socket) -> bool:
    """Whether the peer did not end it: it can still send, or something is unread."""
    try:
        return bool(connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except OSError as exc:
        return exc.errno == errno.EAGAIN


def _close(witness: socket.socket | None) -> None:
    if witness is not None:
        witness.close()
