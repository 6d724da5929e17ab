"""Events and subscriptions as they are on ZeroMQ sockets."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import RemoteProtocolError
from appliance.wire.zeromq_events import (
    Serializer,
    Subscription,
    encode_event,
    encode_subscription,
    parse_event,
    parse_subscription,
)
from appliance.zeek.messages import Event
from appliance.zeek.values import Count
from tests.wire.golden import GOLDEN

# What the specification of the backend gives for ``Cluster::hello("ap-1", "zq_1")``.
HELLO = bytes.fromhex(
    "0e030200000000000000010200000000000000010e02050e436c75737465723a3a68656c6c6f0e02050461702d3105047a715f31"
)


def test_hello_byte_for_byte() -> None:
    """A reference vector."""
    event = Event.make("Cluster::hello", b"ap-1", b"zq_1")
    frames = encode_event("zeek.cluster.nodeid.x.", "zq_1", event)
    assert frames == (b"zeek.cluster.nodeid.x.", b"zq_1", b"broker-bin-v1", HELLO)
    assert parse_event(frames).decode() == event


def test_every_recorded_event_is_written_as_it_was() -> None:
    """Those of a real manager and worker, read and written again."""
    lines = gzip.decompress((GOLDEN / "zeromq/cluster.jsonl.gz").read_bytes()).splitlines()
    recorded = [
        [bytes.fromhex(frame) for frame in entry["frames"]]
        for entry in map(json.loads, lines)
        if entry["socket"] == "sub"
    ]
    assert len(recorded) > 20
    for frames in recorded:
        message = parse_event(frames)
        assert list(encode_event(message.topic, message.sender, message.decode())) == frames


@pytest.mark.parametrize("serializer", Serializer)
def test_both_serialisers(serializer: Serializer) -> None:
    """The same event comes out of either."""
    event = Event.make("My::event", Count(1), 1.0, b"\xff", timestamp=None)
    assert parse_event(encode_event("t", "n", event, serializer)).decode() == event


@pytest.mark.parametrize(
    ("frames", "told"),
    [
        ([b"t", b"n", b"broker-bin-v1"], "3 frames"),
        ([b"t", b"n", b"broker-bin-v2", b""], "unknown serialiser b'broker-bin-v2'"),
        ([], "0 frames"),
    ],
)
def test_messages_that_are_none(frames: list[bytes], told: str) -> None:
    """Refused before anything in them is looked at."""
    with pytest.raises(RemoteProtocolError, match=told):
        parse_event(frames)


@given(st.sampled_from(Serializer), st.binary(max_size=60))
@settings(deadline=None)
def test_any_payload_is_an_event_or_a_mistake(serializer: Serializer, payload: bytes) -> None:
    """Nothing else comes out of it."""
    message = parse_event([b"t", b"n", serializer.value, payload])
    with pytest.raises(RemoteProtocolError):
        message.decode()


@given(st.binary(max_size=20), st.booleans())
@settings(deadline=None)
def test_subscriptions(topic: bytes, is_on: bool) -> None:
    """One byte and the topic, whatever it is."""
    frame = bytes([is_on]) + topic
    found = parse_subscription(frame)
    assert found == Subscription(topic.decode("utf-8", "surrogateescape"), is_on)
    assert encode_subscription(found) == frame
    assert parse_subscription(b"\2" + topic) is None
    assert parse_subscription(b"") is None
