"""WebSocket frames as a client sends and receives them.

Text is not checked to be UTF-8: Zeek puts the bytes of its strings into text frames as they are. Libraries that follow
the standard there end the connection for it, as wsproto 1.3 with code 1007: so these frames are our own.

Source: RFC 6455 sections 5 and 7.4.
"""

from __future__ import annotations

import enum
import struct
from typing import TypeAlias

import msgspec

from appliance.errors import RemoteProtocolError

__all__ = [
    "CloseFrame",
    "FrameEvent",
    "FrameParser",
    "Opcode",
    "Ping",
    "PongFrame",
    "Text",
    "WebsocketError",
    "encode_frame",
]

MASK_BYTES = 4
_CONTROL_BYTES = 125
_FIN, _RESERVED, _OPCODE = 0x80, 0x70, 0x0F
_LENGTH_16, _LENGTH_64 = 126, 127
_HEAD = 10
"""Bytes of the longest head of a frame without mask."""


class Opcode(enum.IntEnum):
    """Types of frames."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class WebsocketError(RemoteProtocolError):
    """The server broke the protocol.

    Args:
        message: how.
        code: what to close the connection with.
    """

    def __init__(self, message: str, code: int = 1002) -> None:
        super().__init__(message)
        self.code = code


class Text(msgspec.Struct, frozen=True):
    """A whole message, of one or more frames."""

    data: bytes


class Ping(msgspec.Struct, frozen=True):
    """To be answered with the same data."""

    data: bytes


class PongFrame(msgspec.Struct, frozen=True):
    """An answer to a ping of ours, or a sign of life."""

    data: bytes


class CloseFrame(msgspec.Struct, frozen=True):
    """The server says goodbye."""

    code: int
    """1005: it gives none."""
    reason: bytes


FrameEvent: TypeAlias = Text | Ping | PongFrame | CloseFrame


def encode_frame(opcode: Opcode, payload: bytes, mask: bytes) -> bytes:
    """A whole message in one frame.

    Args:
        opcode: of it.
        payload: of a control frame 125 bytes at most.
        mask: 4 unpredictable bytes; the standard demands new ones for each frame.

    Raises:
        ValueError: a payload that is too long, or a mask that is none.
    """
    size = len(payload)
    if len(mask) != MASK_BYTES or (opcode >= Opcode.CLOSE and size > _CONTROL_BYTES):
        raise ValueError("a frame that cannot be")
    head = struct.pack("B", _FIN | opcode)
    if size <= _CONTROL_BYTES:
        head += struct.pack("B", 0x80 | size)
    elif size <= 0xFFFF:
        head += struct.pack(">BH", 0x80 | _LENGTH_16, size)
    else:
        head += struct.pack(">BQ", 0x80 | _LENGTH_64, size)
    key = (mask * (size // MASK_BYTES + 1))[:size]
    masked = (int.from_bytes(payload) ^ int.from_bytes(key)).to_bytes(size)
    return head + mask + masked


class FrameParser:
    """Takes bytes of any size, gives messages and control frames.

    Args:
        max_message: bytes of a message; nothing is kept of a longer one.
    """

    def __init__(self, *, max_message: int) -> None:
        self._max_message = max_message
        self._buffer = bytearray()
        self._message = bytearray()
        self._is_in_message = False

    @property
    def is_between_messages(self) -> bool:
        """Whether nothing has come of a message that is not complete."""
        return not self._buffer and not self._is_in_message

    def feed(self, data: bytes) -> None:
        """Take what came."""
        self._buffer += data

    def next_event(self) -> FrameEvent | None:
        """The next one, or None if more bytes are needed.

        Raises:
            WebsocketError: the server broke the protocol, or a message is too long. There is nothing after that.
        """
        while True:
            frame = self._next_frame()
            if frame is None:
                return None
            opcode, is_final, payload = frame
            if opcode >= Opcode.CLOSE:
                return _control(opcode, payload)
            self._message += payload
            self._is_in_message = not is_final
            if is_final:
                message = bytes(self._message)
                self._message.clear()
                return Text(message)

    def _next_frame(self) -> tuple[Opcode, bool, bytes] | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        first, second = buffer[0], buffer[1]
        opcode = self._check_head(first, second)
        size, start = second, 2
        if second == _LENGTH_16:
            start = 4
        elif second == _LENGTH_64:
            start = _HEAD
        if len(buffer) < start:
            return None
        if start > 2:
            size = int.from_bytes(buffer[2:start])
            if size <= (_CONTROL_BYTES if start == 4 else 0xFFFF):
                raise WebsocketError("a length that is longer than it needs to be")
        if opcode < Opcode.CLOSE and len(self._message) + size > self._max_message:
            raise WebsocketError(f"a message of more than {self._max_message} bytes", 1009)
        end = start + size
        if len(buffer) < end:
            return None
        payload = bytes(buffer[start:end])
        del buffer[:end]
        return opcode, bool(first & _FIN), payload

    def _check_head(self, first: int, second: int) -> Opcode:
        if first & _RESERVED:
            raise WebsocketError("a frame of an extension that nobody agreed on")
        if second & 0x80:
            raise WebsocketError("a server must not mask its frames")
        try:
            opcode = Opcode(first & _OPCODE)
        except ValueError:
            raise WebsocketError(f"a frame of unknown type {first & _OPCODE}") from None
        if opcode >= Opcode.CLOSE:
            if second > _CONTROL_BYTES or not first & _FIN:
                raise WebsocketError("a control frame in pieces or too long")
        elif (opcode is Opcode.CONTINUATION) != self._is_in_message:
            raise WebsocketError("a frame that neither begins a message nor continues one")
        elif opcode is Opcode.BINARY:
            raise WebsocketError("a binary message, where only text is spoken", 1003)
        return opcode


def _control(opcode: Opcode, payload: bytes) -> FrameEvent:
    if opcode is Opcode.PING:
        return Ping(payload)
    if opcode is Opcode.PONG:
        return PongFrame(payload)
    if not payload:
        return CloseFrame(1005, b"")
    code = int.from_bytes(payload[:2])
    if len(payload) < 2 or not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
        raise WebsocketError("a goodbye with a code that is none")
    return CloseFrame(code, payload[2:])
