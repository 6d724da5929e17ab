"""Frames between the appliance and a worker process: a length, 32 bits in network order, and so many bytes."""

from __future__ import annotations

from appliance.errors import RemoteProtocolError

__all__ = ["HEADER_BYTES", "MAX_FRAME", "FrameDecoder", "frame"]

HEADER_BYTES = 4
MAX_FRAME = 16 << 20
"""Bytes of one message that a worker may send."""


def frame(body: bytes) -> bytes:
    """`body` with its length before it."""
    return len(body).to_bytes(HEADER_BYTES) + body


class FrameDecoder:
    """Cuts what a stream delivers into frames.

    Args:
        max_frame: bytes of one.
    """

    def __init__(self, *, max_frame: int = MAX_FRAME) -> None:
        self._max_frame = max_frame
        self._pending = bytearray()
        self._is_broken = False

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that are complete with `data`.

        Raises:
            RemoteProtocolError: a frame is announced that is too long. So does every further call.
        """
        self._pending += data
        found: list[bytes] = []
        at = 0
        while not self._is_broken and len(self._pending) - at >= HEADER_BYTES:
            begin = at + HEADER_BYTES
            length = int.from_bytes(self._pending[at:begin])
            if length > self._max_frame:
                self._is_broken = True
            elif len(self._pending) - begin < length:
                break
            else:
                at = begin + length
                found.append(bytes(self._pending[begin:at]))
        del self._pending[:at]
        if self._is_broken and not found:
            raise RemoteProtocolError(f"a message of more than {self._max_frame} bytes")
        return found
