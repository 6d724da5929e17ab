"""The server's side of a WebSocket, which enforces what a client must do."""

from __future__ import annotations

import base64
import hashlib
import itertools
import struct
from collections.abc import Callable

from appliance.wire.websocket import WebsocketEvent, WebsocketSession
from appliance.wire.websocket_frames import Opcode

NONCE = bytes(range(16))


def make_entropy() -> Callable[[int], bytes]:
    """The same bytes in every run, and never a mask twice."""
    numbers = itertools.count(0xA1B2C3D4)
    return lambda size: NONCE if size == 16 else next(numbers).to_bytes(size)


def make_session(*topics: str, **options: object) -> WebsocketSession:
    return WebsocketSession(topics, host="127.0.0.1:27759", entropy=make_entropy(), **options)  # type: ignore[arg-type]


def server_frame(payload: bytes, opcode: int = Opcode.TEXT, *, is_final: bool = True) -> bytes:
    """A frame as servers send them: not masked."""
    head = bytes([0x80 * is_final | opcode])
    size = len(payload)
    if size <= 125:
        return head + bytes([size]) + payload
    if size <= 0xFFFF:
        return head + struct.pack(">BH", 126, size) + payload
    return head + struct.pack(">BQ", 127, size) + payload


def answer_to(request: bytes, *, status: bytes = b"101 Switching Protocols") -> bytes:
    """The upgrade that a request asks for; the request must be a right one."""
    head, end, rest = request.partition(b"\r\n\r\n")
    assert end
    assert rest == b""
    lines = head.split(b"\r\n")
    assert lines[0] == b"GET /v1/messages/json HTTP/1.1"
    headers = {key.lower(): value for key, _, value in (line.partition(b": ") for line in lines[1:])}
    assert headers[b"upgrade"] == b"websocket"
    assert headers[b"connection"] == b"Upgrade"
    assert headers[b"sec-websocket-version"] == b"13"
    assert headers[b"host"] == b"127.0.0.1:27759"
    key = headers[b"sec-websocket-key"]
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    upgrade = [b"Upgrade: WebSocket", b"Connection: Upgrade", b"Sec-WebSocket-Accept: " + accept]
    return b"\r\n".join([b"HTTP/1.1 " + status, *upgrade, b"", b""])


def client_frames(data: bytes) -> list[tuple[int, bytes]]:
    """What a client has sent, unmasked; every frame must be whole and masked with a mask of its own."""
    found, masks, at = [], set(), 0
    while at < len(data):
        first, second = data[at], data[at + 1]
        assert first & 0xF0 == 0x80
        assert second & 0x80
        size, at = second & 0x7F, at + 2
        wide = {126: 2, 127: 8}.get(size, 0)
        if wide:
            size, at = int.from_bytes(data[at : at + wide]), at + wide
        mask, payload = data[at : at + 4], data[at + 4 : at + 4 + size]
        assert len(payload) == size
        assert mask not in masks
        masks.add(mask)
        found.append((first & 0xF, bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))))
        at += 4 + size
    return found


def events_of(session: WebsocketSession) -> list[WebsocketEvent]:
    return list(iter(session.next_event, None))


def connect(*topics: str, **options: object) -> WebsocketSession:
    """A session whose topics are sent."""
    session = make_session(*topics, **options)
    session.receive_data(answer_to(session.data_to_send()))
    return session


ACK = b'{"type":"ack","endpoint":"e","version":"8.0.10"}'


def ready(*topics: str, **options: object) -> WebsocketSession:
    """A session whose topics are acknowledged."""
    session = connect(*topics, **options)
    session.receive_data(server_frame(ACK))
    events_of(session)
    session.data_to_send()
    return session
