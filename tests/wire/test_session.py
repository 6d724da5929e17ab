"""A peering after its handshake: what counts, what is ignored and why, pings, filters, farewell."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import LocalProtocolError, RemoteProtocolError
from appliance.wire.filters import encode_filter, minimal
from appliance.wire.node_messages import NIL, MessageKind, NodeMessage, parse_node_message
from appliance.wire.session import (
    Command,
    Data,
    FilterChanged,
    Ignored,
    IgnoreReason,
    PingAnswered,
    Pong,
    Session,
    SessionEvent,
)
from tests.wire.harness import frames_of, topics
from tests.wire.vectors import NODE_MESSAGES, A, B, C

ME, PEER = B, A


def session() -> Session:
    return Session(ME, PEER, peer_filter=("old/",))


def message(
    kind: int, *, sender: bytes = PEER, receiver: bytes = NIL, topic: str = "t", payload: bytes = b"\0"
) -> bytes:
    """A frame's payload, also one that no writer of ours makes."""
    packed = topic.encode()
    return sender + receiver + bytes((kind,)) + b"\0\x10" + len(packed).to_bytes(2) + packed + payload


def heard(*payloads: bytes) -> list[SessionEvent | None]:
    each = session()
    return [each.receive(payload) for payload in payloads]


def sent(each: Session) -> list[NodeMessage]:
    return [parse_node_message(frame) for frame in frames_of(each.data_to_send())]


def test_data_for_everybody_and_for_us() -> None:
    """A value comes with its topic and whether it was meant for us alone; who passed it on does not matter."""
    assert heard(
        bytes.fromhex(NODE_MESSAGES["data-foobar"][1])[4:],
        message(1, topic="é", payload=b"\1\1"),
        message(1, sender=C),
        message(1, topic=""),
        message(1, topic="<$>"),
    ) == [
        Data("foobar", b"\x05\x0bhello world", 16, is_unicast=True),
        Data("é", b"\1\1", 16, is_unicast=False),
        Data("t", b"\0", 16, is_unicast=False),
        Data("", b"\0", 16, is_unicast=False),
        Data("<$>", b"\0", 16, is_unicast=False),
    ]


def test_commands_are_handed_on() -> None:
    """What belongs to a data store is not looked at."""
    assert heard(message(2, topic="s/<$>/data/clone", payload=b"x")) == [Command("s/<$>/data/clone", b"x")]


IGNORED: list[tuple[IgnoreReason, bytes]] = [
    (IgnoreReason.BAD_MESSAGE, bytes(32)),
    (IgnoreReason.BAD_MESSAGE, message(1)[:36]),
    (IgnoreReason.BAD_MESSAGE, message(1, payload=b"")),
    (IgnoreReason.BAD_MESSAGE, message(1, topic="abc", payload=b"")[:39]),
    (IgnoreReason.UNKNOWN_TYPE, message(0)),
    (IgnoreReason.UNKNOWN_TYPE, message(13)),
    (IgnoreReason.UNKNOWN_TYPE, message(255)),
    *((IgnoreReason.LATE_HANDSHAKE, message(kind)) for kind in range(6, 13)),
    (IgnoreReason.BAD_SENDER, message(1, sender=NIL)),
    (IgnoreReason.BAD_SENDER, message(1, sender=ME)),
    (IgnoreReason.BAD_SENDER, message(2, sender=NIL)),
    (IgnoreReason.BAD_SENDER, message(2, sender=ME)),
    (IgnoreReason.BAD_SENDER, message(3, sender=C, payload=b"\0")),
    (IgnoreReason.BAD_SENDER, message(3, sender=NIL, payload=b"\0")),
    (IgnoreReason.BAD_SENDER, message(4, sender=C)),
    (IgnoreReason.BAD_SENDER, message(4, sender=ME)),
    (IgnoreReason.BAD_SENDER, message(5, sender=C)),
    *((IgnoreReason.FOREIGN_RECEIVER, message(kind, receiver=C)) for kind in range(1, 6)),
    *((IgnoreReason.FOREIGN_RECEIVER, message(kind, receiver=PEER)) for kind in range(1, 6)),
    (IgnoreReason.LOCAL_TOPIC, message(1, topic="<$>/local/data/statuses")),
    (IgnoreReason.LOCAL_TOPIC, message(1, topic="<$>/local/data/errors", receiver=ME)),
    (IgnoreReason.LOCAL_TOPIC, message(2, topic="<$>/local/")),
    (IgnoreReason.BAD_FILTER, message(3, payload=b"")),
    (IgnoreReason.BAD_FILTER, message(3, payload=b"\x01\x05")),
    (IgnoreReason.BAD_FILTER, message(3, payload=b"\x01\x01ab")),
    (IgnoreReason.BAD_FILTER, message(3, payload=b"\xff\xff\xff\xff\xff\x7f")),
    (IgnoreReason.OWN_ROUTING_UPDATE, message(3, sender=ME, payload=b"\0")),
]


@pytest.mark.parametrize(("reason", "payload"), IGNORED, ids=[reason for reason, _ in IGNORED])
def test_what_makes_no_sense_is_ignored_with_a_reason(reason: IgnoreReason, payload: bytes) -> None:
    """Nothing is answered, nothing changes, and the next message is heard as if nothing had been."""
    each = session()
    assert each.receive(payload) == Ignored(reason)
    assert each.data_to_send() == b""
    assert each.peer_filter.prefixes == ("old/",)
    assert each.receive(message(1)) == Data("t", b"\0", 16, is_unicast=False)


def test_every_reason_is_shown_here() -> None:
    """No reason without an example."""
    assert {reason for reason, _ in IGNORED} == set(IgnoreReason)


def test_empty_frame_says_nothing() -> None:
    """Broker skips it as well."""
    assert heard(b"") == [None]


@pytest.mark.parametrize("receiver", [NIL, ME])
@pytest.mark.parametrize("payload", [b"", b"x", b"BYE\x01\0\0\0\0\0\0\x10", b"p" * 60_000])
def test_ping_is_answered_with_its_payload(receiver: bytes, payload: bytes) -> None:
    """Whatever it says, byte for byte, from us to whoever asked."""
    each = session()
    event = each.receive(message(4, receiver=receiver, topic="<$>", payload=payload))
    assert event == PingAnswered(is_bye=payload.startswith(b"BYE"))
    assert sent(each) == [NodeMessage(sender=ME, receiver=PEER, kind=MessageKind.PONG, topic="<$>", payload=payload)]
    assert each.data_to_send() == b""


def test_farewell_of_the_peer_is_answered_with_brokers_bytes() -> None:
    """The vectors: a ping that says BYE, and its pong."""
    each = session()
    assert each.receive(bytes.fromhex(NODE_MESSAGES["ping-bye"][1])[4:]) == PingAnswered(is_bye=True)
    assert each.data_to_send().hex() == NODE_MESSAGES["pong-bye"][1]


def test_our_farewell_ends_when_its_pong_has_come() -> None:
    """Only the pong to our own farewell counts; saying it twice is saying it once."""
    each = Session(A, B, peer_filter=(), bye_number=7)
    pong = bytes.fromhex(NODE_MESSAGES["pong-bye"][1])[4:]
    assert each.receive(pong) == Pong(b"BYE\x07\0\0\0\0\0\0\0")
    assert not each.is_bye_answered, "a pong to what was not said"

    each.say_bye()
    each.say_bye()
    assert each.data_to_send().hex() == NODE_MESSAGES["ping-bye"][1]
    each.receive(pong[:-1] + b"\1")
    assert not each.is_bye_answered
    assert each.receive(message(1, sender=B)) == Data("t", b"\0", 16, is_unicast=False)
    each.receive(pong)
    assert each.is_bye_answered
    each.receive(pong[:-1] + b"\1")
    assert each.is_bye_answered


def test_sign_of_life() -> None:
    """A ping of ours goes to the peer in our name; its pong gives the payload back."""
    each = session()
    each.ping(b"alive?")
    assert sent(each) == [NodeMessage(sender=ME, receiver=PEER, kind=MessageKind.PING, topic="<$>", payload=b"alive?")]
    assert each.receive(message(5, receiver=ME, topic="<$>", payload=b"alive?")) == Pong(b"alive?")
    for payload in (b"", b"BYE", b"BYE BYE"):
        with pytest.raises(LocalProtocolError):
            each.ping(payload)


def test_routing_update_replaces_the_filter() -> None:
    """The whole filter, not a difference; it may shrink to nothing."""
    each = session()
    assert each.receive(bytes.fromhex(NODE_MESSAGES["routing-update"][1])[4:]) == FilterChanged(("foo", "zeek/logs/"))
    assert each.peer_filter.prefixes == ("foo", "zeek/logs/")
    assert not each.peer_filter.matches("old/topic")
    assert each.receive(message(3, topic="<$>", payload=b"\0")) == FilterChanged(())
    assert not each.peer_filter.prefixes


def test_our_routing_update_is_brokers() -> None:
    """The vector, in the shortest form, whatever the order of the entries."""
    each = Session(A, B, peer_filter=())
    each.update_filter(["zeek/logs/", "foo", "zeek/logs/x", "<$>/local/data/errors"])
    assert each.data_to_send().hex() == NODE_MESSAGES["routing-update"][1]


def test_routing_update_that_was_not_sent_is_replaced() -> None:
    """Many changes in a row cost one message; it goes before a farewell."""
    each = session()
    each.say_bye()
    for number in range(1000):
        each.update_filter([f"topic/{number}"])
    update, bye = sent(each)
    assert update.payload == encode_filter(["topic/999"])
    assert bye.kind is MessageKind.PING
    each.update_filter([])
    assert [each.payload for each in sent(each)] == [b"\0"]
    with pytest.raises(LocalProtocolError, match="cannot be transmitted"):
        each.update_filter(["\ud800"])


@given(st.lists(topics, max_size=8))
def test_every_routing_update_of_ours_is_well_formed(prefixes: list[str]) -> None:
    """A Broker that gets a malformed one is lost for good, so what we send is what we read."""
    ours, theirs = Session(A, B, peer_filter=()), Session(B, A, peer_filter=())
    ours.update_filter(prefixes)
    (frame,) = frames_of(ours.data_to_send())
    assert theirs.receive(frame) == FilterChanged(minimal(prefixes))


def test_peer_that_pings_on_without_taking_the_answers_is_cut_off() -> None:
    """What waits to be sent is bounded; taking it makes room again."""
    each = session()
    ping = message(4, topic="<$>", payload=b"x" * 60_000)
    for _ in range(18):
        each.receive(ping)
    for _ in range(3):
        with pytest.raises(RemoteProtocolError, match="pings on"):
            each.receive(ping)
    assert len(sent(each)) == 18
    assert each.receive(ping) == PingAnswered(is_bye=False)
