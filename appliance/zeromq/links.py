"""Whether a node's sockets are connected to the proxy, from libzmq's own event stream.

Source: zmq_socket_monitor(3). A socket that connects tries again for ever by itself, and says nothing of it otherwise.
"""

from __future__ import annotations

import struct

import msgspec
import zmq

__all__ = ["LINK_EVENTS", "NOT_YET", "Link", "LinkState"]

_FAILURES = {
    int(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL): "the handshake failed",
    int(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL): "what answers does not speak ZeroMQ, or encrypts where we do not",
    int(zmq.EVENT_HANDSHAKE_FAILED_AUTH): "our key is refused",
}
NOT_YET = "not connected yet"
LINK_EVENTS = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CONNECT_RETRIED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)


class LinkState(msgspec.Struct, frozen=True, kw_only=True):
    """One connection at one moment."""

    endpoint: str
    is_connected: bool
    connects: int
    """How often it was made."""
    attempts: int
    """To make it, since it was last there."""
    last_error: str
    """Why it is not there, as far as libzmq says; empty if it is."""


class Link:
    """The connection of one socket. Pure.

    Args:
        endpoint: where to.
    """

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._is_connected = False
        self._connects = self._attempts = 0
        self._error = NOT_YET

    @property
    def state(self) -> LinkState:
        return LinkState(
            endpoint=self._endpoint,
            is_connected=self._is_connected,
            connects=self._connects,
            attempts=self._attempts,
            last_error=self._error,
        )

    def feed(self, frames: list[bytes]) -> bool:
        """Take in one event; returns whether the connection came, went, or failed for another reason than before."""
        if not frames or len(frames[0]) != 6:
            return False
        event, _ = struct.unpack("=HI", frames[0])
        before = (self._is_connected, self._error)
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._is_connected, self._error = True, ""
            self._connects += 1
            self._attempts = 0
        elif event in _FAILURES:
            self._error = _FAILURES[event]
        elif event == zmq.EVENT_DISCONNECTED:
            if self._is_connected:
                self._error = "the connection ended"
            self._is_connected = False
        elif event == zmq.EVENT_CONNECT_RETRIED:
            self._attempts += 1
            if not self._connects and self._attempts == 1:
                self._error = "nobody answers"
        return before != (self._is_connected, self._error)
