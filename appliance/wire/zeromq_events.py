"""What Zeek's nodes say to each other over ZeroMQ: events in four frames, and subscriptions in one.

Source: Zeek, ``src/cluster/backend/zeromq/ZeroMQ.cc``; ``src/cluster/serializer/broker/Serializer.cc``.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

import msgspec

from appliance.errors import RemoteProtocolError
from appliance.zeek.json_values import decode_json, encode_json
from appliance.zeek.messages import Event, decode_message, encode_message, make_value, parse_message
from appliance.zeek.schema import as_bytes, as_text

__all__ = [
    "EventMessage",
    "Serializer",
    "Subscription",
    "encode_event",
    "encode_subscription",
    "parse_event",
    "parse_subscription",
]

_FRAMES = 4
_SUBSCRIBE, _UNSUBSCRIBE = b"\1", b"\0"


class Serializer(enum.Enum):
    """``Cluster::event_serializer``, by the name in the third frame. A Zeek takes the one that it is set to."""

    BINARY = b"broker-bin-v1"
    JSON = b"broker-json-v1"


class EventMessage(msgspec.Struct, frozen=True):
    """An event as it is on its way."""

    topic: str
    sender: str
    """ID of the node that published it: our own messages come back to us."""
    serializer: Serializer
    payload: bytes

    def decode(self) -> Event:
        """The event in it.

        Raises:
            RemoteProtocolError: there is none.
        """
        if self.serializer is Serializer.BINARY:
            message = decode_message(self.payload)
        else:
            message = parse_message(decode_json(self.payload))
        if not isinstance(message, Event):
            raise RemoteProtocolError("a message that is no event")
        return message


class Subscription(msgspec.Struct, frozen=True):
    """Somebody begins or ends to listen."""

    topic: str
    is_on: bool


def parse_event(frames: Sequence[bytes]) -> EventMessage:
    """Read a message without what is in it: whoever is not interested in its topic need not decode it.

    Raises:
        RemoteProtocolError: not four frames, or a serialiser that we do not know.
    """
    if len(frames) != _FRAMES:
        raise RemoteProtocolError(f"a message of {len(frames)} frames instead of {_FRAMES}")
    topic, sender, name, payload = frames
    try:
        serializer = Serializer(bytes(name))
    except ValueError:
        raise RemoteProtocolError(f"an unknown serialiser {bytes(name[:40])!r}") from None
    return EventMessage(as_text(bytes(topic)), as_text(bytes(sender)), serializer, bytes(payload))


def encode_event(
    topic: str, sender: str, event: Event, serializer: Serializer = Serializer.BINARY
) -> tuple[bytes, ...]:
    """The four frames of an event.

    Raises:
        LocalProtocolError: a value that cannot be transmitted.
    """
    payload = encode_message(event) if serializer is Serializer.BINARY else encode_json(make_value(event))
    return as_bytes(topic), as_bytes(sender), serializer.value, payload


def parse_subscription(frame: bytes) -> Subscription | None:
    """Read what comes on a node's XPUB socket; None if it is something else than a subscription.

    Source: ZMTP 3.1, section subscriptions, as libzmq shows them (``zmq_socket(3)``, ZMQ_XPUB).
    """
    if frame[:1] not in (_SUBSCRIBE, _UNSUBSCRIBE):
        return None
    return Subscription(as_text(frame[1:]), frame[:1] == _SUBSCRIBE)


def encode_subscription(subscription: Subscription) -> bytes:
    """What to send on a node's XSUB socket."""
    return (_SUBSCRIBE if subscription.is_on else _UNSUBSCRIBE) + as_bytes(subscription.topic)
