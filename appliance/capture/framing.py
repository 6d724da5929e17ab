"""Frames of a stream: lines, or what a length in network order announces. Pure: bytes in, frames out."""

from __future__ import annotations

from typing import Protocol

from appliance.errors import RemoteProtocolError

__all__ = ["Framing", "make_framing"]


class Framing(Protocol):
    """Cuts one direction of one connection into frames."""

    error: RemoteProtocolError | None
    """A frame is longer than allowed: nothing more can be read from this stream."""

    def receive(self, data: bytes) -> list[bytes]:
        """Take what came and return the frames that are whole now, without their delimiters and lengths."""
        ...

    def end(self) -> tuple[list[bytes], int]:
        """The stream is over: the frames that are whole by that, and the bytes that are left of one that is not."""
        ...


class _Chunks:
    """What arrived together is one frame."""

    error: RemoteProtocolError | None = None

    def receive(self, data: bytes) -> list[bytes]:
        return [data] if data else []

    def end(self) -> tuple[list[bytes], int]:
        return [], 0


class _Lines:
    """Each line is a frame, also an empty one; the last one may lack its newline."""

    def __init__(self, max_bytes: int) -> None:
        self.error: RemoteProtocolError | None = None
        self._max_bytes = max_bytes
        self._rest = bytearray()

    def receive(self, data: bytes) -> list[bytes]:
        if self.error is not None:
            return []
        if b"\n" not in data:
            self._rest += data
            lines = []
        else:
            lines = data.split(b"\n")
            lines[0] = bytes(self._rest) + lines[0]
            self._rest = bytearray(lines.pop())
        too_long = next((n for n, line in enumerate(lines) if len(line) > self._max_bytes), len(lines))
        if too_long < len(lines) or len(self._rest) > self._max_bytes:
            self.error = RemoteProtocolError(f"a line of more than {self._max_bytes} bytes")
            self._rest.clear()
        return lines[:too_long]

    def end(self) -> tuple[list[bytes], int]:
        rest, self._rest = bytes(self._rest), bytearray()
        return ([rest] if rest else []), 0


class _Lengths:
    """Each frame follows its length; an empty frame is one, too."""

    def __init__(self, width: int, max_bytes: int) -> None:
        self.error: RemoteProtocolError | None = None
        self._width = width
        self._max_bytes = max_bytes
        self._buffer = bytearray()

    def receive(self, data: bytes) -> list[bytes]:
        if self.error is not None:
            return []
        self._buffer += data
        frames: list[bytes] = []
        at, width = 0, self._width
        while len(self._buffer) - at >= width:
            size = int.from_bytes(self._buffer[at : at + width])
            if size > self._max_bytes:
                self.error = RemoteProtocolError(f"a frame of {size} bytes, at most {self._max_bytes} are allowed")
                self._buffer.clear()
                return frames
            if len(self._buffer) - at - width < size:
                break
            frames.append(bytes(self._buffer[at + width : at + width + size]))
            at += width + size
        del self._buffer[:at]
        return frames

    def end(self) -> tuple[list[bytes], int]:
        left = len(self._buffer)
        self._buffer.clear()
        return [], left


def make_framing(kind: str, max_bytes: int) -> Framing:
    """The framing of that name: ``none``, ``newline``, ``u16be`` or ``u32be``; memory is bounded by `max_bytes`."""
    match kind:
        case "newline":
            return _Lines(max_bytes)
        case "u16be":
            return _Lengths(2, max_bytes)
        case "u32be":
            return _Lengths(4, max_bytes)
    return _Chunks()
