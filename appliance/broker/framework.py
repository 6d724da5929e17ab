"""What Bro's communication framework told of its peerings, as events of our own.

Source: Bro 2.5 to 2.6, ``Broker::incoming_connection_established`` and its like, with Zeek's topic for them.
"""

from __future__ import annotations

import struct

from appliance.model import EventBatch
from appliance.wire.names import EndpointId, endpoint_text
from appliance.zeek.address import PROTOCOLS, Port
from appliance.zeek.messages import Event, encode_message
from appliance.zeek.values import Value

__all__ = ["SOURCE", "broken", "established", "incompatible"]

SOURCE = "broker"
_TOPIC = "<$>/local/data/statuses"
_TCP = PROTOCOLS.index("tcp")


def established(peer: EndpointId, dialed: tuple[str, int] | None, now_ns: int) -> EventBatch:
    """A peering has begun; `dialed` is the address if it was us who dialled."""
    return _tell("established", peer, dialed, now_ns)


def broken(peer: EndpointId, dialed: tuple[str, int] | None, now_ns: int) -> EventBatch:
    """A peering has ended."""
    return _tell("broken", peer, dialed, now_ns)


def incompatible(dialed: tuple[str, int], now_ns: int) -> EventBatch:
    """Who answers at an address does not speak our protocol."""
    return _make("Broker::outgoing_connection_incompatible", _place(dialed), now_ns)


def _tell(what: str, peer: EndpointId, dialed: tuple[str, int] | None, now_ns: int) -> EventBatch:
    # Peers of the native protocol have no names; their IDs stand in for them.
    name = endpoint_text(peer).encode()
    if dialed is None:
        return _make(f"Broker::incoming_connection_{what}", [name], now_ns)
    return _make(f"Broker::outgoing_connection_{what}", [*_place(dialed), name], now_ns)


def _place(dialed: tuple[str, int]) -> list[Value]:
    host, port = dialed
    return [host.encode(), Port(port, _TCP)]


def _make(name: str, args: list[Value], now_ns: int) -> EventBatch:
    payload = encode_message(Event.make(name, *args))
    return EventBatch(
        name=name,
        topic=_TOPIC,
        source=SOURCE,
        data=struct.pack(">I", len(payload)) + payload,
        count=1,
        received_ns=now_ns,
    )
