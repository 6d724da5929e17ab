"""Messages of the handshake: Broker's bytes, and what is said to a peer that breaks them."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import LocalProtocolError
from appliance.wire.handshake_messages import (
    DropCode,
    DropConn,
    HandshakeError,
    HandshakeMessage,
    Hello,
    OriginatorAck,
    OriginatorSyn,
    Probe,
    ResponderSynAck,
    VersionSelect,
    encode_handshake,
    parse_handshake,
)
from tests.wire.harness import ids, topics
from tests.wire.vectors import HANDSHAKE, A

filters = st.lists(topics, max_size=5).map(tuple)
messages: st.SearchStrategy[HandshakeMessage] = st.one_of(
    st.builds(Hello, ids, st.integers(0, 1), st.integers(1, 255)),
    st.just(Probe()),
    st.builds(VersionSelect, ids),
    st.builds(DropConn, ids, st.integers(0, 40), topics),
    st.builds(OriginatorSyn, filters),
    st.builds(ResponderSynAck, filters),
    st.just(OriginatorAck()),
)


def refusal(payload: bytes) -> tuple[DropCode, str]:
    """What the sender of a message is told."""
    with pytest.raises(HandshakeError) as caught:
        parse_handshake(payload)
    return caught.value.code, caught.value.message


@pytest.mark.parametrize("name", HANDSHAKE)
def test_vectors_both_ways(name: str) -> None:
    """Broker's bytes are read, and written."""
    message, text = HANDSHAKE[name]
    assert encode_handshake(message).hex() == text
    assert parse_handshake(bytes.fromhex(text)[4:]) == message


@given(messages, st.binary(max_size=5))
def test_message_survives_the_way_and_ignores_what_is_behind_it(message: HandshakeMessage, behind: bytes) -> None:
    """Bytes behind the last field change nothing."""
    assert parse_handshake(encode_handshake(message)[4:] + behind) == message


@given(messages.filter(lambda message: not isinstance(message, OriginatorAck)), st.data())
def test_message_cut_short_is_told_so(message: HandshakeMessage, data: st.DataObject) -> None:
    """No part of a message is a message; Broker's answer names what it could not parse."""
    payload = encode_handshake(message)[4:]
    code, text = refusal(payload[: data.draw(st.integers(1, len(payload) - 1))])
    assert code == DropCode.INVALID_MESSAGE
    assert text.startswith("failed to parse ")


@pytest.mark.parametrize("kind", [0, 1, 2, 3, 4, 5, 13, 99, 255])
def test_message_of_another_phase_or_of_none(kind: int) -> None:
    """Only types 6 to 12 belong to a handshake."""
    assert refusal(bytes((kind,)) + b"ZEEK" + A + b"\1\1") == (DropCode.INVALID_MESSAGE, "invalid message type tag")
    assert refusal(b"") == (DropCode.INVALID_MESSAGE, "invalid message type tag")


@pytest.mark.parametrize("name", ["hello-a", "probe", "version-select-a", "drop-conn-redundant"])
def test_wrong_magic(name: str) -> None:
    """Whatever has a magic number is refused if it is another one."""
    payload = bytes.fromhex(HANDSHAKE[name][1])[4:]
    assert refusal(payload.replace(b"ZEEK", b"ZEEL")) == (DropCode.WRONG_MAGIC_NUMBER, "wrong magic number")


@pytest.mark.parametrize(("lowest", "highest", "is_taken"), [(0, 0, False), (2, 3, False), (0, 9, True), (1, 1, True)])
def test_versions_offered(lowest: int, highest: int, is_taken: bool) -> None:
    """Version 1 must be among those that are offered."""
    payload = encode_handshake(Hello(A, lowest, highest))[4:]
    if is_taken:
        assert parse_handshake(payload) == Hello(A, lowest, highest)
    else:
        assert refusal(payload) == (DropCode.PEER_INCOMPATIBLE, "unsupported versions offered")


@pytest.mark.parametrize("version", [0, 2, 255])
def test_version_selected(version: int) -> None:
    """No version but 1 can be chosen."""
    payload = encode_handshake(VersionSelect(A, version))[4:]
    assert refusal(payload) == (DropCode.PEER_INCOMPATIBLE, "unsupported version selected")


def test_refusal_with_a_code_that_broker_does_not_know() -> None:
    """Its own text goes back with code 1, up from 41; every smaller code is taken."""
    for code in range(41):
        assert parse_handshake(encode_handshake(DropConn(A, code, "so"))[4:]) == DropConn(A, code, "so")
    for code in (41, 77, 255):
        assert refusal(encode_handshake(DropConn(A, code, "so there"))[4:]) == (DropCode.UNSPECIFIED, "so there")


def test_codes_have_brokers_numbers() -> None:
    """The list is complete, and those that are sent have the right numbers."""
    assert [int(code) for code in DropCode] == list(range(42))
    sent = (
        DropCode.UNSPECIFIED,
        DropCode.PEER_INCOMPATIBLE,
        DropCode.INVALID_MESSAGE,
        DropCode.SHUTTING_DOWN,
        DropCode.WRONG_MAGIC_NUMBER,
        DropCode.REDUNDANT_CONNECTION,
        DropCode.LOGIC_ERROR,
    )
    assert sent == (1, 2, 20, 28, 38, 39, 40)


@pytest.mark.parametrize(
    "message",
    [Hello(A[:15]), Hello(A, 0, 256), VersionSelect(A, -1), DropConn(A + b"x", 1, ""), DropConn(A, 1, "\ud800")],
)
def test_message_that_does_not_fit_is_our_mistake(message: HandshakeMessage) -> None:
    """A wrong ID, a number beyond a byte, a text that is none."""
    with pytest.raises(LocalProtocolError, match="cannot be transmitted"):
        encode_handshake(message)


@given(st.integers(6, 12), st.binary(max_size=60))
def test_any_bytes_are_a_message_or_are_refused(kind: int, body: bytes) -> None:
    """There is no third way, with or without the magic number."""
    for payload in (bytes((kind,)) + body, struct.pack(">B4s", kind, b"ZEEK") + body):
        try:
            message = parse_handshake(payload)
        except HandshakeError:
            continue
        assert parse_handshake(encode_handshake(message)[4:]) == message
