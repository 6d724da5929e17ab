"""Node messages: what peers exchange after the handshake, both ways.

Source: Broker, ``internal/wire_format.cc`` (writer), ``broker/envelope.cc`` (reader).
"""

from __future__ import annotations

import enum
import functools
import struct

import msgspec

from appliance.errors import LocalProtocolError, RemoteProtocolError
from appliance.wire.framing import HEADER_BYTES, MAX_PAYLOAD_BYTES
from appliance.wire.names import CONTROL_TOPIC, ID_BYTES, LOCAL_PREFIX, NIL, EndpointId, endpoint_text
from appliance.zeek.schema import as_bytes, as_text

__all__ = [
    "CONTROL_TOPIC",
    "DEFAULT_TTL",
    "ENVELOPE_BYTES",
    "LOCAL_PREFIX",
    "NIL",
    "EndpointId",
    "MessageKind",
    "NodeMessage",
    "data_frame",
    "encode_node_message",
    "endpoint_text",
    "kind_number",
    "parse_node_message",
]

DEFAULT_TTL = 16
"""What Broker writes, whatever came; nothing looks at it."""

ENVELOPE_BYTES = 37
_KIND_OFFSET = 32
_ENVELOPE = struct.Struct(">16s16sBHH")
_FRAME = struct.Struct(">I16s16sBHH")
_MAX_TOPIC_BYTES = 0xFFFF


class MessageKind(enum.IntEnum):
    """What a node message carries."""

    DATA = 1
    COMMAND = 2
    ROUTING_UPDATE = 3
    PING = 4
    PONG = 5


class NodeMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One message between two peers."""

    sender: EndpointId
    """The last endpoint on the way, not the first."""
    receiver: EndpointId = NIL
    """The one endpoint that shall get it, or `NIL`."""
    kind: MessageKind = MessageKind.DATA
    ttl: int = DEFAULT_TTL
    topic: str
    payload: bytes


_KINDS = {int(kind): kind for kind in MessageKind}


def kind_number(frame_payload: bytes) -> int | None:
    """The number of a message's kind, known or not; None if the message ends before it."""
    return frame_payload[_KIND_OFFSET] if len(frame_payload) > _KIND_OFFSET else None


def parse_node_message(frame_payload: bytes) -> NodeMessage:
    """Read a message. Topic and payload may be empty; what the payload says is not looked at.

    Raises:
        RemoteProtocolError: too short, a topic beyond the end, or of no kind that there is.
    """
    if len(frame_payload) < ENVELOPE_BYTES:
        raise RemoteProtocolError(f"a message of {len(frame_payload)} bytes, shorter than its envelope")
    sender, receiver, number, ttl, length = _ENVELOPE.unpack_from(frame_payload)
    kind = _KINDS.get(number)
    if kind is None:
        raise RemoteProtocolError(f"a message of unknown kind {number}")
    end = ENVELOPE_BYTES + length
    if end > len(frame_payload):
        raise RemoteProtocolError(f"a topic of {length} bytes in a message that ends before it")
    topic = as_text(frame_payload[ENVELOPE_BYTES:end])
    return NodeMessage(
        sender=sender, receiver=receiver, kind=kind, ttl=ttl, topic=topic, payload=bytes(frame_payload[end:])
    )


def encode_node_message(message: NodeMessage) -> bytes:
    """Write a message, its frame included.

    Raises:
        LocalProtocolError: an ID that is not one, or nobody as sender; a topic that is empty, too long or local to an
            endpoint; an empty payload, other than in a pong; more than a frame holds.
    """
    # Whoever asks with an empty ping can read the empty answer; Broker before 2.8 cannot read an empty anything else.
    if not message.payload and message.kind != MessageKind.PONG:
        raise LocalProtocolError("a message without payload, which older Brokers refuse")
    header = _make_header(
        message.sender, message.receiver, message.kind, message.ttl, message.topic, len(message.payload)
    )
    return header + message.payload


def data_frame(
    me: EndpointId, topic: str, payload: bytes, *, receiver: EndpointId = NIL, ttl: int = DEFAULT_TTL
) -> bytes:
    """A message that publishes a value, its frame included.

    Args:
        me: who sends.
        topic: where.
        payload: the value in Broker's binary format.
        receiver: the one endpoint that shall get it, or `NIL`.
        ttl: 0 to 65535.

    Raises:
        LocalProtocolError: as `encode_node_message`.
    """
    if not payload:
        raise LocalProtocolError("a message without payload, which older Brokers refuse")
    return _make_header(me, receiver, MessageKind.DATA, ttl, topic, len(payload)) + payload


def _make_header(
    sender: EndpointId, receiver: EndpointId, kind: MessageKind, ttl: int, topic: str, payload_bytes: int
) -> bytes:
    """Length, envelope and topic."""
    packed = _pack_topic(topic)
    if len(sender) != ID_BYTES or len(receiver) != ID_BYTES or sender == NIL:
        raise LocalProtocolError("a message from or to an endpoint ID that is none")
    if not 0 <= ttl <= 0xFFFF:
        raise LocalProtocolError(f"a TTL of {ttl}")
    size = ENVELOPE_BYTES + len(packed) + payload_bytes
    if size > MAX_PAYLOAD_BYTES:
        raise LocalProtocolError(f"a message of {size} bytes, more than Broker takes")
    return _FRAME.pack(size, sender, receiver, kind, ttl, len(packed)) + packed


@functools.lru_cache(maxsize=256)
def _pack_topic(topic: str) -> bytes:
    """The bytes of a topic that may be sent."""
    try:
        packed = as_bytes(topic)
    except ValueError as exc:
        raise LocalProtocolError(f"a topic that cannot be transmitted: {exc}") from exc
    if not packed:
        raise LocalProtocolError("an empty topic, which older Brokers refuse")
    if len(packed) > _MAX_TOPIC_BYTES:
        raise LocalProtocolError(f"a topic of {len(packed)} bytes, more than {_MAX_TOPIC_BYTES}")
    if topic.startswith(LOCAL_PREFIX):
        raise LocalProtocolError(f"{topic!r} is a topic on which an endpoint talks to itself")
    return packed


assert _FRAME.size == HEADER_BYTES + ENVELOPE_BYTES
