"""Node messages: Broker's bytes, the edges of the envelope, and what we never send."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import LocalProtocolError, RemoteProtocolError
from appliance.wire.node_messages import (
    DEFAULT_TTL,
    NIL,
    MessageKind,
    NodeMessage,
    data_frame,
    encode_node_message,
    endpoint_text,
    kind_number,
    parse_node_message,
)
from appliance.zeek.messages import Event, decode_message
from appliance.zeek.values import Count, Vector
from tests.wire.harness import ids, topics
from tests.wire.vectors import NODE_MESSAGES, A, B

messages = st.builds(
    NodeMessage,
    sender=ids,
    receiver=ids | st.just(NIL),
    kind=st.sampled_from(MessageKind),
    ttl=st.integers(0, 0xFFFF),
    topic=topics.filter(bool),
    payload=st.binary(min_size=1, max_size=30),
)


@pytest.mark.parametrize("name", NODE_MESSAGES)
def test_vectors_both_ways(name: str) -> None:
    """Broker's bytes are read, and written."""
    message, text = NODE_MESSAGES[name]
    assert encode_node_message(message).hex() == text
    assert parse_node_message(bytes.fromhex(text)[4:]) == message


@pytest.mark.parametrize("name", ["data-foobar", "event-pong"])
def test_fast_path_writes_the_same_bytes(name: str) -> None:
    """What publishes makes what the general writer makes."""
    message, text = NODE_MESSAGES[name]
    assert data_frame(message.sender, message.topic, message.payload, receiver=message.receiver).hex() == text


def test_event_in_an_envelope_is_read_to_its_arguments() -> None:
    """From the frame down to a count and a string."""
    payload = parse_node_message(bytes.fromhex(NODE_MESSAGES["event-pong"][1])[4:]).payload
    assert decode_message(payload) == Event("pong", Vector([Count(42), b"hi"]))


@given(messages)
def test_message_survives_the_way(message: NodeMessage) -> None:
    """Every field comes back, also a topic that is not UTF-8."""
    frame = encode_node_message(message)
    assert parse_node_message(frame[4:]) == message
    if message.kind is MessageKind.DATA:
        fast = data_frame(message.sender, message.topic, message.payload, receiver=message.receiver, ttl=message.ttl)
        assert fast == frame


def envelope(kind: int, topic_length: int, rest: bytes) -> bytes:
    return A + NIL + bytes((kind,)) + (16).to_bytes(2) + topic_length.to_bytes(2) + rest


@pytest.mark.parametrize("size", [0, 1, 16, 32, 36])
def test_message_shorter_than_its_envelope_is_refused(size: int) -> None:
    """37 bytes are the least."""
    with pytest.raises(RemoteProtocolError, match=f"a message of {size} bytes"):
        parse_node_message(envelope(1, 0, b"")[:size])


def test_topic_beyond_the_end_is_refused() -> None:
    """A topic may fill the message, but not exceed it."""
    assert parse_node_message(envelope(1, 3, b"abc")).topic == "abc"
    for length in (4, 0xFFFF):
        with pytest.raises(RemoteProtocolError, match=f"a topic of {length} bytes"):
            parse_node_message(envelope(1, length, b"abc"))


@pytest.mark.parametrize("kind", [0, *range(6, 256)])
def test_message_of_no_kind_is_refused(kind: int) -> None:
    """There are five kinds; the handshake's numbers are not among them."""
    with pytest.raises(RemoteProtocolError, match=f"unknown kind {kind}"):
        parse_node_message(envelope(kind, 3, b"abc"))
    assert kind_number(envelope(kind, 3, b"abc")) == kind


@pytest.mark.parametrize("kind", MessageKind)
def test_topic_and_payload_may_arrive_empty(kind: MessageKind) -> None:
    """An envelope alone is a message; what its emptiness means is for others to say."""
    message = parse_node_message(envelope(kind, 0, b""))
    assert (message.kind, message.topic, message.payload, message.ttl) == (kind, "", b"", DEFAULT_TTL)


def test_number_of_a_kind_that_is_not_there() -> None:
    """A message that ends before it has none."""
    assert kind_number(bytes(32)) is None
    assert kind_number(bytes(33)) == 0


def test_what_older_brokers_refuse_is_never_sent() -> None:
    """No empty topic, no empty payload; only a pong may give an empty ping back."""
    with pytest.raises(LocalProtocolError, match="without payload"):
        data_frame(A, "topic", b"")
    with pytest.raises(LocalProtocolError, match="empty topic"):
        data_frame(A, "", b"\0")
    for kind in MessageKind:
        message = NodeMessage(sender=A, receiver=B, kind=kind, topic="<$>", payload=b"")
        if kind is MessageKind.PONG:
            assert parse_node_message(encode_node_message(message)[4:]) == message
        else:
            with pytest.raises(LocalProtocolError, match="without payload"):
                encode_node_message(message)


def test_topic_at_its_limit() -> None:
    """65,535 bytes fit, and bytes are what counts."""
    assert parse_node_message(data_frame(A, "x" * 0xFFFF, b"\0")[4:]).topic == "x" * 0xFFFF
    for topic in ("x" * 0x10000, "é" * 0x8000):
        with pytest.raises(LocalProtocolError, match="a topic of 65536 bytes"):
            data_frame(A, topic, b"\0")


@pytest.mark.parametrize("topic", ["<$>/local/data/errors", "<$>/local/", "\ud800"])
def test_topic_that_must_not_leave(topic: str) -> None:
    """Zeek would believe what comes on a local topic."""
    with pytest.raises(LocalProtocolError):
        data_frame(A, topic, b"\0")


@pytest.mark.parametrize(
    "message",
    [
        NodeMessage(sender=NIL, topic="t", payload=b"\0"),
        NodeMessage(sender=A[1:], topic="t", payload=b"\0"),
        NodeMessage(sender=A, receiver=b"", topic="t", payload=b"\0"),
        NodeMessage(sender=A, topic="t", payload=b"\0", ttl=-1),
        NodeMessage(sender=A, topic="t", payload=b"\0", ttl=0x10000),
    ],
)
def test_envelope_that_cannot_be_written_is_our_mistake(message: NodeMessage) -> None:
    """A message from nobody, a wrong ID, a TTL that does not fit."""
    with pytest.raises(LocalProtocolError):
        encode_node_message(message)


class _Huge(bytes):
    """Claims to be as long as nothing that fits into a test."""

    def __len__(self) -> int:
        return 1 << 31


def test_message_that_broker_would_not_take_is_not_made() -> None:
    """The frame as a whole must stay below 2 GiB."""
    with pytest.raises(LocalProtocolError, match="more than Broker takes"):
        data_frame(A, "topic", _Huge(b"\0"))


@given(st.binary(max_size=80), st.integers(0, 7))
def test_any_bytes_are_a_message_or_are_refused(data: bytes, kind: int) -> None:
    """There is no third way."""
    for payload in (data, data[:32] + bytes((kind,)) + data[33:]):
        try:
            message = parse_node_message(payload)
        except RemoteProtocolError:
            continue
        assert message.payload == payload[len(payload) - len(message.payload) :]
        assert 37 + len(message.topic.encode("utf-8", "surrogateescape")) + len(message.payload) == len(payload)


def test_text_of_an_id_is_that_of_a_uuid() -> None:
    """The same 16 bytes in order, lower case."""
    assert endpoint_text(A) == "5746d8ee-3644-5bd2-9f54-d5a44c26c2a1"
    with pytest.raises(ValueError, match="16"):
        endpoint_text(A[1:])
