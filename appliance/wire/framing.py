"""Frames: a 32-bit length, then as many bytes, before, during and after the handshake.

Source: Broker, ``internal/connector.cc``; the C++ Actor Framework below it, ``net/length_prefix_framing.hpp``.
"""

from __future__ import annotations

import struct

from appliance.errors import LocalProtocolError, RemoteProtocolError

__all__ = ["HEADER_BYTES", "MAX_PAYLOAD_BYTES", "FrameReader", "make_frame"]

HEADER_BYTES = 4
MAX_PAYLOAD_BYTES = 2_147_483_642
"""The largest payload that Broker takes from a sender; one byte more, and it drops the connection."""

_LENGTH = struct.Struct(">I")
_TLS_RECORDS = (0x1503, 0x1603)  # alert or handshake, and the major version: what a peer begins with that speaks TLS
_TLS_HINT = "it looks like TLS: one side has it on, the other off"


def make_frame(payload: bytes) -> bytes:
    """A payload with its length before it.

    Raises:
        LocalProtocolError: more than Broker takes.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise LocalProtocolError(f"a frame of {len(payload)} bytes, more than Broker takes")
    return _LENGTH.pack(len(payload)) + payload


class FrameReader:
    """Cuts a stream into payloads.

    Nothing is reserved for a frame before its bytes arrive. A reader that has raised stays as it is: every further
    `next_frame` raises again.

    Args:
        max_frame: the largest payload in bytes that is taken.
    """

    def __init__(self, *, max_frame: int) -> None:
        self._max_frame = max_frame
        self._buffer = bytearray()
        self._start = 0

    @property
    def held_bytes(self) -> int:
        """Bytes that were fed and not taken."""
        return len(self._buffer) - self._start

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream."""
        # Once for each feed instead of once for each frame: what was taken from the front costs a move of the rest.
        del self._buffer[: self._start]
        self._start = 0
        self._buffer += data

    def next_frame(self) -> bytes | None:
        """The payload of the next frame, which may be empty; None if its end has not arrived.

        Raises:
            RemoteProtocolError: a frame announces more than is taken; its bytes need not have arrived.
        """
        if self.held_bytes < HEADER_BYTES:
            return None
        (length,) = _LENGTH.unpack_from(self._buffer, self._start)
        if length > self._max_frame:
            message = f"a frame of {length} bytes where at most {self._max_frame} are taken"
            raise RemoteProtocolError(message, hint=_TLS_HINT if length >> 16 in _TLS_RECORDS else "")
        begin = self._start + HEADER_BYTES
        if len(self._buffer) < begin + length:
            return None
        self._start = begin + length
        return bytes(self._buffer[begin : self._start])

    def take_rest(self) -> bytes:
        """Everything that was fed and not taken; it belongs to whoever reads on."""
        rest = bytes(self._buffer[self._start :])
        self._buffer.clear()
        self._start = 0
        return rest
