"""What peers say to each other once the handshake is over, apart from plain data on the fast path.

A message that makes no sense is ignored, with a reason, and the connection goes on: only a peer that asks for more
than it takes is cut off.

Source: Broker, ``internal/core_actor.cc``, ``internal/peering.cc``, ``broker/envelope.cc``.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable
from typing import TypeAlias

import msgspec

from appliance.errors import LocalProtocolError, RemoteProtocolError
from appliance.wire.filters import PrefixSet, decode_filter, encode_filter, minimal
from appliance.wire.names import CONTROL_TOPIC, LOCAL_PREFIX, NIL, EndpointId
from appliance.wire.node_messages import (
    MessageKind,
    NodeMessage,
    encode_node_message,
    kind_number,
    parse_node_message,
)

__all__ = [
    "BYE_PREFIX",
    "Command",
    "Data",
    "FilterChanged",
    "IgnoreReason",
    "Ignored",
    "PingAnswered",
    "Pong",
    "Session",
    "SessionEvent",
]

BYE_PREFIX = b"BYE"
"""A ping that begins so is a farewell: whoever sent it goes when the pong has come."""

_BYE_NUMBER = struct.Struct("<Q")  # of the host in Broker; nobody but its sender reads it
_MAX_PENDING_BYTES = 1 << 20
_KINDS = frozenset(MessageKind)
_HANDSHAKE_KINDS = range(6, 13)


class IgnoreReason(enum.StrEnum):
    """Why a message was ignored."""

    BAD_MESSAGE = "bad_message"
    """Too short, a topic beyond the end, or data without a value."""
    UNKNOWN_TYPE = "unknown_type"
    LATE_HANDSHAKE = "late_handshake"
    BAD_SENDER = "bad_sender"
    """Nobody or ourselves as sender; of a control message, anybody but the peer."""
    FOREIGN_RECEIVER = "foreign_receiver"
    LOCAL_TOPIC = "local_topic"
    """On a topic on which only we talk to ourselves."""
    BAD_FILTER = "bad_filter"
    OWN_ROUTING_UPDATE = "own_routing_update"
    """A routing update in our own name."""


class Data(msgspec.Struct, frozen=True):
    """A published value."""

    topic: str
    payload: bytes
    ttl: int
    is_unicast: bool
    """Sent to us alone, whether we subscribed or not."""


class Command(msgspec.Struct, frozen=True):
    """A message of a data store."""

    topic: str
    payload: bytes


class FilterChanged(msgspec.Struct, frozen=True):
    """The peer wants other topics from now on."""

    prefixes: tuple[str, ...]


class PingAnswered(msgspec.Struct, frozen=True):
    """A ping came; the pong is to be sent."""

    is_bye: bool
    """Whether the peer is about to leave. It closes the connection; we go on as before."""


class Pong(msgspec.Struct, frozen=True):
    """The answer to a ping."""

    payload: bytes


class Ignored(msgspec.Struct, frozen=True):
    """A message that was left alone."""

    reason: IgnoreReason


SessionEvent: TypeAlias = Data | Command | FilterChanged | PingAnswered | Pong | Ignored
"""What a message turned out to be."""


class Session:
    """One peering after its handshake.

    Args:
        me: our ID.
        peer: the peer's.
        peer_filter: what the peer wants, from the handshake.
        bye_number: what makes our farewell recognisable; only the same peering ever sees it.
    """

    def __init__(self, me: EndpointId, peer: EndpointId, *, peer_filter: Iterable[str], bye_number: int = 1) -> None:
        self._me = me
        self._peer = peer
        self._bye = BYE_PREFIX + _BYE_NUMBER.pack(bye_number)
        self._is_bye_said = False
        self._is_bye_answered = False
        self._filter_update = b""
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self.peer_filter = PrefixSet(peer_filter)
        """What the peer wants now."""

    @property
    def is_bye_answered(self) -> bool:
        """Whether the peer has answered our farewell: everything before it has arrived, and the connection may end."""
        return self._is_bye_answered

    def receive(self, frame_payload: bytes) -> SessionEvent | None:
        """Take one message.

        Args:
            frame_payload: a frame without its length.

        Returns:
            What it is; None for an empty frame, which says nothing.

        Raises:
            RemoteProtocolError: the peer pings on and does not take the answers; the connection must end.
        """
        if not frame_payload:
            return None
        number = kind_number(frame_payload)
        if number is not None and number not in _KINDS:
            is_late = number in _HANDSHAKE_KINDS
            return Ignored(IgnoreReason.LATE_HANDSHAKE if is_late else IgnoreReason.UNKNOWN_TYPE)
        try:
            message = parse_node_message(frame_payload)
        except RemoteProtocolError:
            return Ignored(IgnoreReason.BAD_MESSAGE)
        reason = self._object(message)
        return self._hear(message) if reason is None else Ignored(reason)

    def data_to_send(self) -> bytes:
        """Everything that was queued since the last call: whole frames."""
        data = self._filter_update + b"".join(self._pending)
        self._filter_update = b""
        self._pending.clear()
        self._pending_bytes = 0
        return data

    def update_filter(self, prefixes: Iterable[str]) -> None:
        """Tell the peer what we want from now on; takes the place of an update that was not sent yet.

        Args:
            prefixes: all that we want, not only what is new.

        Raises:
            LocalProtocolError: an entry that is not text.
        """
        # What leaves here must be well-formed: a Broker that cannot read it ends all its peerings for good.
        try:
            payload = encode_filter(minimal(prefixes))
        except ValueError as exc:
            raise LocalProtocolError(f"a topic that cannot be transmitted: {exc}") from exc
        self._filter_update = self._make_control(MessageKind.ROUTING_UPDATE, payload)

    def ping(self, payload: bytes) -> None:
        """Ask the peer for a sign of life: a `Pong` with the same payload.

        Raises:
            LocalProtocolError: an empty payload, or one that begins like a farewell.
        """
        if payload.startswith(BYE_PREFIX):
            raise LocalProtocolError(f"a ping that begins with {BYE_PREFIX!r} is a farewell")
        self._queue(self._make_control(MessageKind.PING, payload))

    def say_bye(self) -> None:
        """Tell the peer that we go; once is enough. Then go on until `is_bye_answered`."""
        if not self._is_bye_said:
            self._is_bye_said = True
            self._queue(self._make_control(MessageKind.PING, self._bye))

    def _object(self, message: NodeMessage) -> IgnoreReason | None:
        """Why a message is not for us, or not from who it says."""
        if message.kind is MessageKind.ROUTING_UPDATE and message.sender == self._me:
            return IgnoreReason.OWN_ROUTING_UPDATE
        if message.kind in (MessageKind.DATA, MessageKind.COMMAND):
            # Broker passes on what somebody else wrote into it, so nobody else is taken for an impostor here.
            if message.sender in (NIL, self._me):
                return IgnoreReason.BAD_SENDER
            if message.topic.startswith(LOCAL_PREFIX):
                return IgnoreReason.LOCAL_TOPIC
        elif message.sender != self._peer:
            return IgnoreReason.BAD_SENDER
        return None if message.receiver in (NIL, self._me) else IgnoreReason.FOREIGN_RECEIVER

    def _hear(self, message: NodeMessage) -> SessionEvent:
        topic, payload = message.topic, message.payload
        match message.kind:
            case MessageKind.DATA if not payload:
                return Ignored(IgnoreReason.BAD_MESSAGE)
            case MessageKind.DATA:
                return Data(topic, payload, message.ttl, message.receiver != NIL)
            case MessageKind.COMMAND:
                return Command(topic, payload)
            case MessageKind.ROUTING_UPDATE:
                return self._hear_routing_update(payload)
            case MessageKind.PING:
                return self._hear_ping(payload)
            case MessageKind.PONG:
                self._is_bye_answered |= self._is_bye_said and payload == self._bye
                return Pong(payload)

    def _hear_routing_update(self, payload: bytes) -> SessionEvent:
        try:
            prefixes = decode_filter(payload)
        except RemoteProtocolError:
            return Ignored(IgnoreReason.BAD_FILTER)
        self.peer_filter = PrefixSet(prefixes)
        return FilterChanged(prefixes)

    def _hear_ping(self, payload: bytes) -> SessionEvent:
        if self._pending_bytes > _MAX_PENDING_BYTES:
            raise RemoteProtocolError("the peer pings on without taking the answers")
        self._queue(self._make_control(MessageKind.PONG, payload))
        return PingAnswered(payload.startswith(BYE_PREFIX))

    def _make_control(self, kind: MessageKind, payload: bytes) -> bytes:
        return encode_node_message(
            NodeMessage(sender=self._me, receiver=self._peer, kind=kind, topic=CONTROL_TOPIC, payload=payload)
        )

    def _queue(self, frame: bytes) -> None:
        self._pending.append(frame)
        self._pending_bytes += len(frame)
