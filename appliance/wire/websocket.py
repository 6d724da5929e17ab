"""A session with Zeek's WebSocket API, as a client: upgrade, topics, acknowledgement, events both ways, goodbye.

Bytes in, events out, bytes out; time-outs belong to the edge: for the acknowledgement (10 s: a server that takes the
first message for a bad one never sends it), and for silence (three of the server's pings, which come every 5 s).

Source: Zeek, ``src/cluster/websocket/WebSocket.cc``; RFC 6455.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from datetime import tzinfo
from typing import TypeAlias

import msgspec

from appliance.errors import LocalProtocolError, RemoteProtocolError
from appliance.wire.websocket_frames import (
    CloseFrame,
    FrameEvent,
    FrameParser,
    Opcode,
    Ping,
    PongFrame,
    Text,
    WebsocketError,
    encode_frame,
)
from appliance.wire.websocket_messages import Ack, Data, Error, make_data, make_subscriptions, parse_server_message
from appliance.wire.websocket_upgrade import NONCE_BYTES, Upgrade
from appliance.zeek.messages import Event

__all__ = [
    "ACK_TIMEOUT_S",
    "TARGET",
    "Closed",
    "Ignored",
    "Pong",
    "Refused",
    "SessionState",
    "WebsocketEvent",
    "WebsocketSession",
]

TARGET = "/v1/messages/json"
ACK_TIMEOUT_S = 10
_MAX_PENDING = 1 << 20
"""Bytes of answers to pings that wait; a server that asks for more without reading is cut."""
_MAX_SHOWN = 200


class SessionState(enum.Enum):
    """How far we are."""

    UPGRADING = "upgrading"
    SUBSCRIBING = "subscribing"
    """The topics are sent, the acknowledgement has not come."""
    READY = "ready"
    CLOSING = "closing"
    """We have said goodbye."""
    CLOSED = "closed"


class Refused(msgspec.Struct, frozen=True):
    """The server took something for wrong."""

    code: str
    context: str
    is_fatal: bool
    """It was the topics: no acknowledgement will come, and we have said goodbye."""


class Ignored(msgspec.Struct, frozen=True):
    """A message that makes no sense; the session goes on."""

    reason: str
    """What to count it as: ``bad_message``, ``early`` before the acknowledgement, ``second_ack``."""
    detail: str


class Pong(msgspec.Struct, frozen=True):
    """An answer to `WebsocketSession.ping`."""

    data: bytes


class Closed(msgspec.Struct, frozen=True):
    """The end."""

    code: int
    """As in RFC 6455 section 7.4.1; 1006: the connection broke without a goodbye."""
    reason: str


WebsocketEvent: TypeAlias = Ack | Data | Refused | Ignored | Pong | Closed


class WebsocketSession:
    """One connection.

    Args:
        topics: prefixes to subscribe to; they cannot be changed later.
        host: what the Host header says.
        entropy: gives so many unpredictable bytes.
        application: our name and version.
        target: the path.
        authorization: see `Upgrade`.
        zone: of the server's local times, for Zeek up to 7.2; None: it speaks UTC.
        max_message: bytes of a message from the server; a longer one ends the session.
    """

    def __init__(
        self,
        topics: Iterable[str],
        *,
        host: str,
        entropy: Callable[[int], bytes],
        application: str = "",
        target: str = TARGET,
        authorization: str = "",
        zone: tzinfo | None = None,
        max_message: int = 64 << 20,
    ) -> None:
        self._subscriptions = make_subscriptions(topics)
        self._entropy = entropy
        self._zone = zone
        self._upgrade = Upgrade(
            host=host,
            target=target,
            nonce=entropy(NONCE_BYTES),
            application=application,
            authorization=authorization,
        )
        self._parser = FrameParser(max_message=max_message)
        self._outgoing = bytearray(self._upgrade.request)
        self._is_at_end = False
        self.state = SessionState.UPGRADING

    @property
    def is_between_messages(self) -> bool:
        """Whether nothing has come of a message that is not complete."""
        return self._parser.is_between_messages

    # ── bytes ──

    def data_to_send(self) -> bytes:
        """Take what is to be sent."""
        data = bytes(self._outgoing)
        self._outgoing.clear()
        return data

    def receive_data(self, data: bytes) -> None:
        """Take what came; ``b""``: the connection is at its end.

        Raises:
            RemoteProtocolError: the server does not speak WebSocket here; the session is closed.
        """
        self._is_at_end = self._is_at_end or not data
        if self.state is SessionState.CLOSED:
            return
        if self.state is SessionState.UPGRADING:
            try:
                rest = self._upgrade.receive(data)
            except RemoteProtocolError:
                self.state = SessionState.CLOSED
                raise
            if rest is None:
                return
            self.state = SessionState.SUBSCRIBING
            self._send(Opcode.TEXT, self._subscriptions)
            data = rest
        self._parser.feed(data)

    def next_event(self) -> WebsocketEvent | None:
        """What has happened, one after the other; None: more bytes are needed, or it is over.

        Raises:
            RemoteProtocolError: the server broke the protocol; a goodbye is to be sent, and the session is closed.
        """
        while self.state not in (SessionState.UPGRADING, SessionState.CLOSED):
            try:
                frame = self._parser.next_event()
                event = self._take_frame(frame) if frame is not None else None
            except WebsocketError as exc:
                if self.state is not SessionState.CLOSING:
                    self._send(Opcode.CLOSE, exc.code.to_bytes(2))
                self.state = SessionState.CLOSED
                raise
            if frame is None and self._is_at_end:
                self.state = SessionState.CLOSED
                return Closed(1006, "the connection broke")
            if event is not None or frame is None:
                return event
        return None

    def _send(self, opcode: Opcode, payload: bytes) -> None:
        self._outgoing += encode_frame(opcode, payload, self._entropy(4))

    # ── what comes ──

    def _take_frame(self, frame: FrameEvent) -> WebsocketEvent | None:
        match frame:
            case Text(data):
                return self._take_text(data)
            case Ping(data):
                if len(self._outgoing) > _MAX_PENDING:
                    raise WebsocketError("pings faster than answers are read", 1008)
                if self.state is not SessionState.CLOSING:
                    self._send(Opcode.PONG, data)
                return None
            case PongFrame(data):
                return Pong(data)
            case CloseFrame(code, reason):
                if self.state is not SessionState.CLOSING:
                    self._send(Opcode.CLOSE, b"" if code == 1005 else code.to_bytes(2))
                self.state = SessionState.CLOSED
                return Closed(code, reason.decode("utf-8", "backslashreplace"))

    def _take_text(self, data: bytes) -> WebsocketEvent | None:
        if self.state is SessionState.CLOSING:
            return None
        try:
            message = parse_server_message(data, zone=self._zone)
        except RemoteProtocolError as exc:
            return Ignored("bad_message", f"{exc}: {data[:_MAX_SHOWN]!r}")
        is_ready = self.state is SessionState.READY
        match message:
            case Ack(endpoint):
                if is_ready:
                    return Ignored("second_ack", endpoint[:_MAX_SHOWN])
                self.state = SessionState.READY
                return message
            case Data(topic):
                return message if is_ready else Ignored("early", topic[:_MAX_SHOWN])
            case Error(code, context):
                if not is_ready:
                    self.close(1000)
                return Refused(code[:_MAX_SHOWN], context[:_MAX_SHOWN], not is_ready)

    # ── what we say ──

    def publish(self, topic: str, event: Event) -> None:
        """Publish an event. Nobody acknowledges it.

        Raises:
            LocalProtocolError: before the acknowledgement or after the end, or an event that cannot be transmitted.
        """
        if self.state is not SessionState.READY:
            raise LocalProtocolError(f"cannot publish while {self.state.value}")
        self._send(Opcode.TEXT, make_data(topic, event, zone=self._zone))

    def ping(self, data: bytes = b"") -> None:
        """Ask for a sign of life; 125 bytes at most.

        Raises:
            LocalProtocolError: before the upgrade or after the end.
        """
        if self.state not in (SessionState.SUBSCRIBING, SessionState.READY):
            raise LocalProtocolError(f"cannot ping while {self.state.value}")
        self._send(Opcode.PING, data)

    def close(self, code: int = 1000) -> None:
        """Say goodbye; `Closed` follows. Before the upgrade there is nobody to say it to, and it is over at once."""
        if self.state is SessionState.UPGRADING:
            self.state = SessionState.CLOSED
        elif self.state in (SessionState.SUBSCRIBING, SessionState.READY):
            self._send(Opcode.CLOSE, code.to_bytes(2))
            self.state = SessionState.CLOSING
