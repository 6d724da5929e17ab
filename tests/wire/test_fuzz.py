"""Anything at all from a peer: a defined state, a bounded memory, one kind of error."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import RemoteProtocolError
from appliance.wire.filters import PrefixSet
from appliance.wire.framing import FrameReader, make_frame
from appliance.wire.handshake import Established, Failed, Handshake, HandshakeEvent, Refused, RoleKnown
from appliance.wire.handshake_messages import (
    DropCode,
    DropConn,
    HandshakeMessage,
    Hello,
    OriginatorAck,
    OriginatorSyn,
    Probe,
    ResponderSynAck,
    VersionSelect,
    encode_handshake,
)
from appliance.wire.handshake_states import OVER, HandshakeState
from appliance.wire.node_messages import NIL, MessageKind, NodeMessage, data_frame, encode_node_message
from appliance.wire.session import Data, Ignored, IgnoreReason, Session
from tests.wire.harness import converse, endpoint, frames_of, pieces_of, sizes, topics
from tests.wire.vectors import A, B, C

MAX_FRAME = 200
peers = st.sampled_from([A, B, C, NIL, bytes(15) + b"\1"])
filters = st.lists(topics, max_size=3).map(tuple)
numbers = st.integers(0, 255)
messages: st.SearchStrategy[HandshakeMessage] = st.one_of(
    st.builds(Hello, peers, numbers, numbers) | st.builds(Hello, peers),
    st.just(Probe()),
    st.builds(VersionSelect, peers, numbers) | st.builds(VersionSelect, peers),
    st.builds(DropConn, peers, numbers, topics),
    st.builds(OriginatorSyn, filters),
    st.builds(ResponderSynAck, filters),
    st.just(OriginatorAck()),
)
frames = messages.map(encode_handshake)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A message with one byte changed, removed or put in."""
    frame = draw(frames)
    place = draw(st.integers(0, len(frame) - 1))
    new = draw(st.binary(max_size=2))
    return frame[:place] + new + frame[place + 1 :]


streams = st.lists(st.one_of(frames, frames, damaged(), st.binary(max_size=30)), max_size=12).map(b"".join)
FINAL = {
    HandshakeState.ESTABLISHED: Established,
    HandshakeState.REFUSED: Refused,
    HandshakeState.FAILED: Failed,
}


def feed(handshake: Handshake, data: bytes, cut: list[int], answers: list[bool | None]) -> list[HandshakeEvent]:
    """Everything that a stream leads to; RoleKnown is answered with yes, with no, or not at all."""
    events: list[HandshakeEvent] = []
    for piece in [*pieces_of(data, cut), b""]:
        if handshake.state is HandshakeState.ESTABLISHED:
            break
        handshake.receive_data(piece)
        while (event := handshake.next_event()) is not None:
            events.append(event)
            if isinstance(event, RoleKnown):
                answer = answers.pop() if answers else True
                if answer:
                    handshake.accept()
                elif answer is not None:
                    handshake.refuse(DropCode.REDUNDANT_CONNECTION, "redundant connection")
        assert handshake._reader.held_bytes <= MAX_FRAME + 4 + max(cut)
    return events


@settings(max_examples=400)
@given(streams, sizes, st.booleans(), st.lists(st.sampled_from([True, False, None]), max_size=1))
def test_handshake_with_anything(data: bytes, cut: list[int], is_dialer: bool, answers: list[bool | None]) -> None:
    """It ends in one of its last states, says so once, and sends nothing that is no handshake."""
    handshake = endpoint(B, is_dialer=is_dialer, wants=("mine",), max_frame=MAX_FRAME)

    events = feed(handshake, data, cut, answers)

    assert handshake.state in OVER
    assert sum(isinstance(event, RoleKnown) for event in events) <= 1
    ends = [event for event in events if not isinstance(event, RoleKnown)]
    if handshake.state is HandshakeState.CLOSED:
        assert ends == []
    else:
        assert [type(event) for event in ends] == [FINAL[handshake.state]]
        assert events[-1] is ends[0]
    sent = frames_of(handshake.data_to_send())
    assert all(payload[0] in range(6, 13) for payload in sent)
    assert sum(payload[0] == DropConn.KIND for payload in sent) <= 1
    if ends and isinstance(ends[0], Failed):
        assert (sent[-1][0] == DropConn.KIND) == (ends[0].sent is not None)
    assert handshake.next_event() is None


@settings(max_examples=200)
@given(streams, sizes, sizes, st.booleans())
def test_cut_of_anything_changes_nothing(data: bytes, one: list[int], other: list[int], is_dialer: bool) -> None:
    """The same bytes in other pieces lead to the same events and the same answer."""
    outcomes = []
    for cut in (one, other):
        handshake = endpoint(B, is_dialer=is_dialer, max_frame=MAX_FRAME)
        outcomes.append((feed(handshake, data, cut, []), handshake.data_to_send()))
    assert outcomes[0] == outcomes[1]


node_messages = st.builds(
    NodeMessage,
    sender=peers.filter(any),
    receiver=peers,
    kind=st.sampled_from(MessageKind),
    topic=st.sampled_from(["t", "<$>", "<$>/locale", "é"]),
    payload=st.binary(min_size=1, max_size=12) | st.just(b"\1\1a"),
).map(lambda message: encode_node_message(message)[4:])


@settings(max_examples=300)
@given(st.lists(node_messages | st.binary(max_size=60), max_size=12), st.integers(0, 80), st.binary(max_size=2))
def test_session_with_anything(payloads: list[bytes], place: int, new: bytes) -> None:
    """Every frame is an event; what is sent are whole messages of ours to the peer."""
    each = Session(B, A, peer_filter=("t",))
    for payload in payloads:
        for changed in (payload, payload[:place] + new + payload[place + 1 :]):
            event = each.receive(changed)
            assert (event is None) == (not changed)
            if isinstance(event, Ignored):
                assert event.reason in IgnoreReason
    for payload in frames_of(each.data_to_send()):
        assert payload[:32] == B + A
        assert payload[32] == MessageKind.PONG


@settings(max_examples=100)
@given(st.binary(max_size=300), sizes)
def test_reader_with_anything(data: bytes, cut: list[int]) -> None:
    """It gives frames of the stream, or refuses, and never holds more than a frame and a piece."""
    reader, found, refusal = FrameReader(max_frame=50), b"", ""
    for piece in pieces_of(data, cut):
        reader.feed(piece)
        try:
            for payload in iter(reader.next_frame, None):
                found += make_frame(payload)
        except RemoteProtocolError as exc:
            refusal = exc.message
            break
        assert reader.held_bytes <= 54

    assert data.startswith(found)
    behind = data[len(found) :]
    is_too_long = len(behind) >= 4 and int.from_bytes(behind[:4]) > 50
    assert refusal.startswith(f"a frame of {int.from_bytes(behind[:4])} bytes") if is_too_long else not refusal


@settings(max_examples=50)
@given(
    st.permutations([A, B, C]),
    sizes,
    st.lists(st.tuples(topics.filter(bool), st.binary(min_size=1, max_size=40)), max_size=15),
    st.lists(st.lists(topics, max_size=3), max_size=3),
)
def test_two_peers_from_the_first_word_to_the_last(
    names: list[bytes], cut: list[int], values: list[tuple[str, bytes]], updates: list[list[str]]
) -> None:
    """However the bytes are cut, what one publishes the other gets, filters follow, and the farewell is answered."""
    left = endpoint(names[0], is_dialer=True)
    right = endpoint(names[1], is_dialer=False)
    events = converse(left, right, cut)
    assert [type(side[-1]) for side in events] == [Established, Established]

    ours, theirs = Session(names[0], names[1], peer_filter=()), Session(names[1], names[0], peer_filter=())
    stream = b"".join(data_frame(names[0], topic, payload) for topic, payload in values)
    for prefixes in updates:
        ours.update_filter(prefixes)
        stream += ours.data_to_send()
    ours.say_bye()
    stream += ours.data_to_send()
    reader = FrameReader(max_frame=1000)
    heard = []
    for piece in pieces_of(stream, cut):
        reader.feed(piece)
        heard += [theirs.receive(payload) for payload in iter(reader.next_frame, None)]

    assert [(event.topic, event.payload) for event in heard if isinstance(event, Data)] == values
    assert theirs.peer_filter.prefixes == (PrefixSet(updates[-1]).prefixes if updates else ())
    for payload in frames_of(theirs.data_to_send()):
        ours.receive(payload)
    assert ours.is_bye_answered
