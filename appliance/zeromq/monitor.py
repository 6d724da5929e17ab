"""Who is connected to a bound socket, from libzmq's own event stream.

Source: zmq_socket_monitor(3): a PAIR socket, two frames an event; the first is a 16-bit event and a 32-bit value.
"""

from __future__ import annotations

import struct

import msgspec
import trio
import zmq

__all__ = ["PeerFigures", "PeerMonitor"]

EVENTS = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_ACCEPTED
    | zmq.EVENT_ACCEPT_FAILED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_CLOSED
)
_FAILED = (
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_ACCEPT_FAILED
)


class PeerFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Connections of a bound socket."""

    connected: int
    """Peers that finished the ZeroMQ handshake and are still there."""
    accepted: int
    """Connections since the start."""
    disconnected: int
    failed: int
    """Connections that were no ZeroMQ peer, or could not be accepted."""


class PeerMonitor:
    """Counts peers of one socket. Feed it events, or let `run` read them."""

    def __init__(self) -> None:
        self._connected: set[int] = set()
        self._accepted = self._disconnected = self._failed = 0
        self.changed = trio.lowlevel.ParkingLot()

    def statistics(self) -> PeerFigures:
        return PeerFigures(
            connected=len(self._connected),
            accepted=self._accepted,
            disconnected=self._disconnected,
            failed=self._failed,
        )

    def feed(self, frames: list[bytes]) -> None:
        """Take in one event; a message that is none is ignored."""
        if not frames or len(frames[0]) != 6:
            return
        event, value = struct.unpack("=HI", frames[0])
        if event == zmq.EVENT_ACCEPTED:
            self._accepted += 1
        elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._connected.add(value)
        elif event == zmq.EVENT_DISCONNECTED:
            self._disconnected += 1
            self._connected.discard(value)
        elif event & _FAILED:
            self._failed += 1
        self.changed.unpark_all()

    def forget(self) -> None:
        """The socket was closed: nobody is connected any more."""
        self._connected.clear()
        self.changed.unpark_all()

    async def run(self, pair: zmq.Socket[bytes]) -> None:
        """Read events from the monitor's PAIR socket until cancelled. The caller closes it."""
        while True:
            try:
                for _ in range(256):
                    self.feed(pair.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                await trio.lowlevel.wait_readable(pair.fd)  # edge-triggered: only ever after Again
            else:
                await trio.lowlevel.checkpoint()
