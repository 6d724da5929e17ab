"""Frames made of events that wait: what a peer's intake makes of them, and what cannot be sent."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import LocalProtocolError
from appliance.native import RunKind, frame_events
from appliance.zeek.messages import Event, encode_message
from appliance.zeek.values import Value
from tests.zeek.strategies import values

from .broker_wire import EVENT, ME, PEER, PRINT, envelope, framed, make

VECTOR = bytes.fromhex(
    "0000005b5746d8ee36445bd29f54d5a44c26c2a100000000000000000000000000000000010010000b2f746f7069632f74657374"
    "0e030200000000000000010200000000000000010e020504706f6e670e0202000000000000002a05026869"
)
"""`pong(count 42, string "hi")` on `/topic/test`, as Broker writes it."""


def batch(*messages: bytes) -> bytes:
    return b"".join(map(framed, messages))


def test_frames_are_those_of_broker() -> None:
    """One node message for each event, with our ID as sender, and nobody or somebody as the receiver."""
    assert frame_events(PEER, "/topic/test", batch(VECTOR[52:])) == VECTOR
    payloads = [EVENT, PRINT, b"x"]
    assert frame_events(PEER, "a/topic", batch(*payloads)) == batch(
        *(envelope(payload, topic="a/topic") for payload in payloads)
    )
    assert frame_events(PEER, b"\xff", batch(EVENT), ttl=3, receiver=ME) == framed(
        envelope(EVENT, topic=b"\xff", ttl=3, receiver=ME)
    )
    assert frame_events(PEER, "\udcff", batch(EVENT)) == framed(envelope(EVENT, topic=b"\xff"))


def test_no_events_are_no_frames() -> None:
    """An empty batch is empty."""
    assert frame_events(PEER, "t", b"") == b""


@given(st.lists(st.lists(values, max_size=3), min_size=1, max_size=20), st.binary(min_size=1, max_size=9))
@settings(deadline=None)
def test_a_peer_gets_the_same_batch(calls: list[list[Value]], topic: bytes) -> None:
    """What was framed here is one run at the other end, byte for byte."""
    data = batch(*(encode_message(Event.make("My::event", *call)) for call in calls))
    run = (RunKind.EVENTS, topic.decode("utf-8", "surrogateescape"), "My::event", len(calls), data, 16, False)
    assert make().feed(frame_events(PEER, topic, data)) == [run]


def test_the_longest_topic() -> None:
    """Its length has 16 bits."""
    topic = "t" * 65535
    assert frame_events(PEER, topic, batch(EVENT)) == framed(envelope(EVENT, topic=topic))
    for wrong in (topic + "t", "", b""):
        with pytest.raises(LocalProtocolError, match="a topic of"):
            frame_events(PEER, wrong, batch(EVENT))


@pytest.mark.parametrize(
    "data",
    [b"\0", b"\0\0\0", struct.pack(">I", 2) + b"x", batch(EVENT) + b"\0\0\0\1", batch(EVENT)[:-1], batch(EVENT, b"")],
    ids=bytes.hex,
)
def test_what_is_no_batch(data: bytes) -> None:
    """It is cut off, or has a message without a content, which old Zeeks refuse."""
    with pytest.raises(LocalProtocolError, match="cut off"):
        frame_events(PEER, "t", data)


def test_what_has_no_place_in_the_envelope() -> None:
    """IDs have 16 bytes, a TTL has 16 bits."""
    for ttl in (-1, 65536):
        with pytest.raises(ValueError, match="a TTL of"):
            frame_events(PEER, "t", batch(EVENT), ttl=ttl)
    with pytest.raises(ValueError, match="an endpoint ID of 3 bytes"):
        frame_events(b"abc", "t", batch(EVENT))
    with pytest.raises(ValueError, match="an endpoint ID of 0 bytes"):
        frame_events(PEER, "t", batch(EVENT), receiver=b"")
