"""Whether a node's sockets are connected to the proxy, from libzmq's own event stream.

Source: zmq_socket_monitor(3). A socket that connects tries again for ever by itself, and says nothing of it otherwise.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable

import msgspec
import zmq

from appliance.runtime.dialing import Reach

__all__ = ["LINK_EVENTS", "NOT_YET", "Link", "LinkState"]

_FAILURES = {
    int(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL): "the handshake failed",
    int(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL): "what answers does not speak ZeroMQ, or encrypts where we do not",
    int(zmq.EVENT_HANDSHAKE_FAILED_AUTH): "our key is refused",
}
NOT_YET = "not connected yet"
PATIENCE_S = 10.0
"""libzmq tries each second; whoever is there, but has to be started anew, needs some seconds more."""
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
    down_s: float
    """For how long it has not been there; 0 if it is."""
    is_overdue: bool
    """Whether that is longer than `PATIENCE_S`."""

    @property
    def told(self) -> str:
        """It in words, with the reason."""
        return f"{self.endpoint}: {self.last_error}"


class Link:
    """The connection of one socket. Pure, but for the clock that it is given.

    Args:
        endpoint: where to.
        clock_s: monotonic time; a link is fed by a thread that knows no other.
    """

    def __init__(self, endpoint: str, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._reach = Reach(PATIENCE_S, clock_s=clock_s)
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
            down_s=self._reach.down_s,
            is_overdue=self._reach.is_overdue,
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
        self._reach.note(is_there=self._is_connected)
        return before != (self._is_connected, self._error)
