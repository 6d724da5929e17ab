"""One endpoint of a handshake: each message in each state, and how it ends."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from appliance.errors import LocalProtocolError
from appliance.wire.handshake import Established, Failed, Handshake, Refused, RoleKnown
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
from appliance.wire.handshake_states import HandshakeState
from tests.wire.harness import drain, drops, endpoint, hear, said
from tests.wire.vectors import HANDSHAKE, A, B, C

_S = HandshakeState


def dialer(me: bytes = B) -> Handshake:
    """At its start; with the larger ID, unless told otherwise."""
    handshake = endpoint(me, is_dialer=True, wants=("mine/",))
    handshake.data_to_send()
    return handshake


def listener(me: bytes = B) -> Handshake:
    handshake = endpoint(me, is_dialer=False, wants=("mine/",))
    handshake.data_to_send()
    return handshake


def after(handshake: Handshake, *messages: HandshakeMessage) -> Handshake:
    """The endpoint when it has heard these and said what it has to say."""
    hear(handshake, *messages)
    handshake.data_to_send()
    return handshake


# Endpoints with the ID B in each state, whose peer is A if it leads, C if it does not.
STATES: dict[HandshakeState, Callable[[], Handshake]] = {
    _S.AWAIT_HELLO_OR_VERSION_SELECT: dialer,
    _S.AWAIT_HELLO: listener,
    _S.AWAIT_VERSION_SELECT: lambda: after(listener(), Hello(A)),
    _S.AWAIT_ORIGINATOR_SYN: lambda: after(dialer(), VersionSelect(A)),
    _S.AWAIT_RESPONDER_SYN_ACK: lambda: after(listener(), Hello(C)),
    _S.AWAIT_ORIGINATOR_ACK: lambda: after(dialer(), VersionSelect(A), OriginatorSyn(("foo",))),
}
MESSAGES: dict[str, HandshakeMessage] = {
    "hello": Hello(C),
    "hello of the smaller": Hello(A),
    "version_select": VersionSelect(A),
    "originator_syn": OriginatorSyn(("foo",)),
    "responder_syn_ack": ResponderSynAck(("foo",)),
    "originator_ack": OriginatorAck(),
    "probe": Probe(),
    "drop_conn": DropConn(A, DropCode.SHUTTING_DOWN, "shutting down"),
}
# The protocol's description, table of 3.3, written down again; what is missing closes the connection.
EXPECTED: dict[tuple[HandshakeState, str], HandshakeState] = {
    (_S.AWAIT_HELLO_OR_VERSION_SELECT, "hello"): _S.AWAIT_RESPONDER_SYN_ACK,
    (_S.AWAIT_HELLO_OR_VERSION_SELECT, "hello of the smaller"): _S.AWAIT_VERSION_SELECT,
    (_S.AWAIT_HELLO_OR_VERSION_SELECT, "version_select"): _S.AWAIT_ORIGINATOR_SYN,
    (_S.AWAIT_HELLO_OR_VERSION_SELECT, "probe"): _S.AWAIT_HELLO_OR_VERSION_SELECT,
    (_S.AWAIT_HELLO, "hello"): _S.AWAIT_RESPONDER_SYN_ACK,
    (_S.AWAIT_HELLO, "hello of the smaller"): _S.AWAIT_VERSION_SELECT,
    (_S.AWAIT_HELLO, "probe"): _S.AWAIT_HELLO,
    (_S.AWAIT_VERSION_SELECT, "version_select"): _S.AWAIT_ORIGINATOR_SYN,
    (_S.AWAIT_VERSION_SELECT, "probe"): _S.AWAIT_VERSION_SELECT,
    (_S.AWAIT_ORIGINATOR_SYN, "originator_syn"): _S.AWAIT_ORIGINATOR_ACK,
    (_S.AWAIT_RESPONDER_SYN_ACK, "responder_syn_ack"): _S.ESTABLISHED,
    (_S.AWAIT_ORIGINATOR_ACK, "originator_ack"): _S.ESTABLISHED,
    **{(state, "drop_conn"): _S.REFUSED for state in STATES},
}


@pytest.mark.parametrize("name", MESSAGES)
@pytest.mark.parametrize("state", STATES)
def test_each_message_in_each_state(state: HandshakeState, name: str) -> None:
    """What is in the table leads to the next state; anything else closes the connection without a word."""
    handshake = STATES[state]()
    assert handshake.state == state

    events = hear(handshake, MESSAGES[name])

    expected = EXPECTED.get((state, name), _S.FAILED)
    assert handshake.state == expected
    assert handshake.is_over == (expected in (_S.ESTABLISHED, _S.FAILED, _S.REFUSED))
    if expected == _S.FAILED:
        (event,) = events
        assert isinstance(event, Failed)
        assert event.sent is None
        assert "unexpected" in event.reason
        assert handshake.data_to_send() == b""
    if expected == _S.REFUSED:
        assert events == [Refused(DropCode.SHUTTING_DOWN, "shutting down", A)]
        assert handshake.data_to_send() == b""


BROKEN: list[tuple[bytes, DropCode, str]] = [
    (bytes.fromhex("00000005075a45454c"), DropCode.WRONG_MAGIC_NUMBER, "wrong magic number"),
    (encode_handshake(Hello(A, 2, 3)), DropCode.PEER_INCOMPATIBLE, "unsupported versions offered"),
    (encode_handshake(Hello(A, 0, 0)), DropCode.PEER_INCOMPATIBLE, "unsupported versions offered"),
    (encode_handshake(VersionSelect(A, 2)), DropCode.PEER_INCOMPATIBLE, "unsupported version selected"),
    (encode_handshake(DropConn(A, 77, "seventy-seven")), DropCode.UNSPECIFIED, "seventy-seven"),
    (bytes.fromhex("0000000101"), DropCode.INVALID_MESSAGE, "invalid message type tag"),
    (bytes.fromhex("0000000163"), DropCode.INVALID_MESSAGE, "invalid message type tag"),
    (bytes.fromhex("00000009065a45454b01020304"), DropCode.INVALID_MESSAGE, "failed to parse hello"),
    (bytes.fromhex("000000030a0105"), DropCode.INVALID_MESSAGE, "failed to parse originator_syn"),
    (bytes.fromhex("000100010a00"), DropCode.INVALID_MESSAGE, "message too long"),
]


@pytest.mark.parametrize(("data", "code", "text"), BROKEN, ids=[f"{code.name}-{text}" for _, code, text in BROKEN])
@pytest.mark.parametrize("state", STATES)
def test_broken_message_in_each_state(state: HandshakeState, data: bytes, code: DropCode, text: str) -> None:
    """Whatever the state, the peer is told the code and text that Broker gives."""
    handshake = STATES[state]()

    (event,) = hear(handshake, data)

    assert isinstance(event, Failed)
    assert event.sent == code
    assert said(handshake.data_to_send()) == [DropConn(B, code, text)]
    assert handshake.state == _S.FAILED


@pytest.mark.parametrize("state", STATES)
def test_empty_message_closes_without_a_word(state: HandshakeState) -> None:
    """A frame of no bytes is no message."""
    handshake = STATES[state]()
    assert hear(handshake, bytes(4)) == [Failed("the peer sent an empty message", None)]
    assert handshake.data_to_send() == b""


def test_versions_around_ours_are_taken() -> None:
    """0 to 9 has 1 within."""
    assert hear(listener(A), Hello(B, 0, 9)) == [RoleKnown(B, is_originator=True)]


@pytest.mark.parametrize("code", range(41))
def test_every_code_of_a_refusal_is_told(code: int) -> None:
    """The first 41 codes are known by name, whatever the text."""
    assert hear(dialer(), DropConn(C, code, "because\udcff")) == [Refused(DropCode(code), "because\udcff", C)]


def test_first_word_of_each_side() -> None:
    """Both speak at once: hello from whoever dialled, probe from the other."""
    assert endpoint(A, is_dialer=True).data_to_send().hex() == HANDSHAKE["hello-a"][1]
    assert endpoint(A, is_dialer=False).data_to_send().hex() == HANDSHAKE["probe"][1]


def test_originator_says_all_it_has_to_say_at_once() -> None:
    """Nothing before the decision; then version and filter, read as late as that; then the end."""
    wanted = ["too early"]
    handshake = Handshake(A, is_dialer=False, local_filter=lambda: tuple(wanted))
    handshake.start()
    handshake.data_to_send()
    handshake.receive_data(bytes.fromhex(HANDSHAKE["hello-b"][1]))
    assert handshake.next_event() == RoleKnown(B, is_originator=True)
    assert handshake.next_event() is None
    assert handshake.state == _S.AWAIT_DECISION
    assert handshake.data_to_send() == b""

    wanted[:] = ["zeek/cluster/logger", "zeek/logs/"]
    handshake.accept()
    expected = HANDSHAKE["version-select-a"][1] + HANDSHAKE["originator-syn"][1]
    assert handshake.data_to_send().hex() == expected
    assert hear(handshake, bytes.fromhex(HANDSHAKE["responder-syn-ack"][1])) == [Established(B, ("foo",))]
    assert handshake.data_to_send().hex() == HANDSHAKE["originator-ack"][1]


def test_responder_answers_with_its_filter() -> None:
    """Nothing on the decision; the filter, read as late as the originator's has come."""
    handshake = endpoint(B, is_dialer=True, wants=("foo",))
    handshake.data_to_send()
    assert hear(handshake, VersionSelect(A)) == [RoleKnown(A, is_originator=False)]
    assert handshake.data_to_send() == b""
    assert hear(handshake, bytes.fromhex(HANDSHAKE["originator-syn"][1])) == []
    assert handshake.data_to_send().hex() == HANDSHAKE["responder-syn-ack"][1]
    assert hear(handshake, OriginatorAck()) == [Established(A, ("zeek/cluster/logger", "zeek/logs/"))]
    assert handshake.data_to_send() == b""


def test_refusal_of_ours_is_the_last_word() -> None:
    """A decision against the connection is told with its reason; what comes then is thrown away."""
    handshake = endpoint(A, is_dialer=False)
    handshake.data_to_send()
    handshake.receive_data(encode_handshake(Hello(B)))
    handshake.next_event()
    handshake.refuse(DropCode.REDUNDANT_CONNECTION, "redundant connection")

    assert handshake.is_over
    assert handshake.data_to_send().hex() == HANDSHAKE["drop-conn-redundant"][1]
    handshake.receive_data(encode_handshake(Probe()))
    handshake.receive_data(b"")
    handshake.receive_data(b"")
    assert handshake.next_event() is None
    assert handshake.state == _S.CLOSED


def test_handshake_can_be_given_up_before_the_peer_is_known() -> None:
    """Whoever shuts down says so at any time."""
    handshake = dialer()
    handshake.refuse(DropCode.SHUTTING_DOWN, "shutting down")
    assert drops(handshake.data_to_send()) == [(28, "shutting down")]


@pytest.mark.parametrize("is_dialer", [True, False])
@pytest.mark.parametrize("message", [Hello(B), VersionSelect(B), DropConn(B, 29, "same endpoint ID")])
def test_our_own_id_is_recognised(message: HandshakeMessage, is_dialer: bool) -> None:
    """Whoever has our ID is us, or has copied it: the sentence says so."""
    handshake = dialer() if is_dialer else after(listener(), Hello(A)) if message == VersionSelect(B) else listener()
    (event,) = hear(handshake, message)
    assert isinstance(event, Failed)
    assert "our own endpoint ID" in event.reason
    expected = [] if isinstance(message, DropConn) else [(29, "same endpoint ID")]
    assert drops(handshake.data_to_send()) == expected


def test_peer_that_is_nobody_or_somebody_else_or_leads_without_right() -> None:
    """An ID must be one, stay the same, and be the smaller one of whoever leads."""
    for handshake, message, word in (
        (listener(), Hello(bytes(16)), "nil"),
        (dialer(), VersionSelect(bytes(16)), "nil"),
        (after(listener(C), Hello(A)), VersionSelect(B), "changed"),
        (dialer(), VersionSelect(C), "larger"),
    ):
        (event,) = hear(handshake, message)
        assert isinstance(event, Failed)
        ((code, text),) = drops(handshake.data_to_send())
        assert code == DropCode.LOGIC_ERROR == event.sent
        assert word in text


@pytest.mark.parametrize("state", STATES)
def test_end_of_the_stream_in_each_state(state: HandshakeState) -> None:
    """Between two messages or within one, the end is said once and nothing is sent."""
    for begin, where in ((b"", f"in the state {state}"), (b"\0\0\0", "in the middle of a message")):
        handshake = STATES[state]()
        if begin:
            hear(handshake, begin)
        assert not handshake.is_over
        handshake.receive_data(b"")
        assert drain(handshake) == [Failed(f"the peer closed the connection during the handshake, {where}", None)]
        assert handshake.data_to_send() == b""
        assert handshake.next_event() is None


def test_message_before_the_end_of_the_stream_is_heard() -> None:
    """A refusal and the end arrive together; the refusal counts."""
    handshake = dialer()
    handshake.receive_data(encode_handshake(DropConn(A, 28, "shutting down")))
    handshake.receive_data(b"")
    assert drain(handshake) == [Refused(DropCode.SHUTTING_DOWN, "shutting down", A)]


def test_peer_that_goes_while_we_decide() -> None:
    """A parked connection ends when the peer closes it, even if nobody has answered."""
    handshake = listener(A)
    handshake.receive_data(encode_handshake(Hello(B)) + b"\0")
    assert drain(handshake, is_accepting=False) == [RoleKnown(B, is_originator=True)]
    handshake.receive_data(b"")
    (event,) = drain(handshake)
    assert event == Failed("the peer closed the connection during the handshake, in the state await decision", None)


def test_peer_that_sends_on_while_we_decide() -> None:
    """What is held for a decision is bounded; more is not taken."""
    handshake = Handshake(A, is_dialer=False, local_filter=tuple, max_frame=1000)
    handshake.start()
    handshake.receive_data(encode_handshake(Hello(B)))
    assert drain(handshake, is_accepting=False) == [RoleKnown(B, is_originator=True)]
    handshake.receive_data(bytes(1004))
    assert handshake.next_event() is None
    handshake.receive_data(b"\0")
    (event,) = drain(handshake)
    assert event == Failed("the peer sends on without waiting for an answer", DropCode.INVALID_MESSAGE)
    assert handshake._reader.held_bytes == 0


def test_bytes_behind_the_handshake_belong_to_what_follows() -> None:
    """The first node messages may arrive in one piece with the last word."""
    handshake = after(dialer(), VersionSelect(A), OriginatorSyn(()))
    assert hear(handshake, OriginatorAck(), b"\0\0\0\x08node") == [Established(A, ())]
    assert handshake.take_rest() == b"\0\0\0\x08node"
    assert handshake.take_rest() == b""


def test_long_text_of_a_peer_is_not_all_repeated_to_people() -> None:
    """The answer carries the text back as Broker's does; the sentence is short and quoted."""
    text = "x\udcff\x1b" * 5000
    handshake = dialer()
    (event,) = hear(handshake, DropConn(A, 200, text))
    assert isinstance(event, Failed)
    assert event.reason.startswith("the peer refused us with an unknown code: 'x")
    assert len(event.reason) < 2000
    assert event.reason.isprintable()
    assert drops(handshake.data_to_send()) == [(1, text)]


def test_peer_that_speaks_tls_is_told_apart() -> None:
    """A TLS hello instead of ours gives a sentence that says so."""
    (event,) = hear(listener(), bytes.fromhex("160301020001"))
    assert isinstance(event, Failed)
    assert "it looks like TLS" in event.reason


def test_what_only_a_mistake_of_ours_can_do() -> None:
    """Steps out of order are refused, and change nothing."""
    with pytest.raises(LocalProtocolError, match="no endpoint's ID"):
        Handshake(bytes(16), is_dialer=True, local_filter=tuple)
    with pytest.raises(LocalProtocolError, match="no endpoint's ID"):
        Handshake(A[1:], is_dialer=True, local_filter=tuple)
    idle = Handshake(A, is_dialer=True, local_filter=tuple)
    for step in (idle.next_event, idle.accept, idle.take_rest, lambda: idle.refuse(DropCode.NONE, "")):
        with pytest.raises(LocalProtocolError):
            step()
    idle.start()
    for step in (idle.start, idle.accept, idle.take_rest):
        with pytest.raises(LocalProtocolError):
            step()
    assert idle.state == _S.AWAIT_HELLO_OR_VERSION_SELECT

    done = after(dialer(), VersionSelect(A), OriginatorSyn(()), OriginatorAck())
    for step in (done.accept, lambda: done.refuse(DropCode.NONE, ""), lambda: done.receive_data(b"more")):
        with pytest.raises(LocalProtocolError):
            step()
    assert done.state == _S.ESTABLISHED

    ended = listener()
    ended.receive_data(b"")
    with pytest.raises(LocalProtocolError, match="takes none"):
        ended.receive_data(b"after the end")
