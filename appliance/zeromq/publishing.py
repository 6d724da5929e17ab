"""What our node publishes, from its check until libzmq has it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from appliance.errors import LocalProtocolError
from appliance.runtime.ledger import Account
from appliance.runtime.outlet import Published
from appliance.wire.zeromq_events import Serializer, encode_event
from appliance.zeek.messages import Event, decode_message, encode_message
from appliance.zeek.schema import as_bytes

from .carrier import Carrier

__all__ = ["WayOut"]

_EVENT_HEAD = encode_message(Event.make("x"))[:20]
"""How every event begins, and no other message: a vector of three, its version, and the number of its kind."""
_LOCAL = "<$>"


class WayOut:
    """See the module.

    Args:
        copies: the account of messages that are published.
    """

    def __init__(self, copies: Account) -> None:
        self._copies = copies
        self._carrier: Carrier | None = None
        self._queued = self._booked = 0
        self._node_id, self._serializer, self._max_message = "", Serializer.BINARY, 0

    @property
    def waiting(self) -> int:
        """Messages that wait for the network."""
        return self._queued - self._booked

    def begin(self, node_id: str, serializer: Serializer, max_message: int) -> None:
        """A new node: who publishes, in which format, and how long an event may be."""
        self._node_id, self._serializer, self._max_message = node_id, serializer, max_message

    def open(self) -> None:
        """The service starts."""
        self._queued = self._booked = 0
        self._copies.add_holder(self._count)

    def attach(self, carrier: Carrier) -> None:
        """Messages go this way until `close`."""
        self._carrier = carrier

    def close(self) -> None:
        """It has ended: what is not sent is lost."""
        self.settle()
        self._copies.drop("shutdown", self.waiting)
        self._booked = self._queued
        self._copies.remove_holder(self._count)
        self._carrier = None

    def _count(self) -> int:
        return self.waiting

    def objection_to(self, topic: str, messages: Sequence[bytes]) -> str:
        """Why these cannot be published on any cluster; empty if they can."""
        try:
            as_bytes(topic)
        except ValueError:
            return "bad_topic"
        if not topic or topic.startswith(_LOCAL):
            return "bad_topic"
        if not all(message.startswith(_EVENT_HEAD) for message in messages):
            return "events_only"
        return "too_large" if any(len(message) > self._max_message for message in messages) else ""

    def publish(self, topic: str, messages: Sequence[bytes]) -> Published:
        """Send events to whoever has subscribed, which is one way for all of them."""
        try:
            self._put([self._encode(topic, message) for message in messages])
        except LocalProtocolError:
            return Published(0, "no_json")
        return Published(1)

    def send_event(self, topic: str, event: Event) -> None:
        """Send one of our own."""
        self._put([encode_event(topic, self._node_id, event, self._serializer)])

    def _encode(self, topic: str, message: bytes) -> tuple[bytes, ...]:
        if self._serializer is Serializer.BINARY:
            return as_bytes(topic), self._node_id.encode(), Serializer.BINARY.value, message
        event = decode_message(message)
        assert isinstance(event, Event)
        return encode_event(topic, self._node_id, event, self._serializer)

    def _put(self, messages: Iterable[tuple[bytes, ...]]) -> None:
        assert self._carrier is not None
        for message in messages:
            self._copies.received += 1
            if self._carrier.send(message):
                self._queued += 1
            else:
                self._copies.drop("overflow", 1)
        self.settle()

    def settle(self) -> None:
        """Book what libzmq has taken."""
        if self._carrier is not None:
            sent = self._carrier.sent
            self._copies.delivered += sent - self._booked
            self._booked = sent
