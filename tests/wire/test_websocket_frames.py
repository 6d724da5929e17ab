"""WebSocket frames."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.wire.websocket_frames import (
    CloseFrame,
    FrameEvent,
    FrameParser,
    Opcode,
    Ping,
    PongFrame,
    Text,
    WebsocketError,
    encode_frame,
)
from tests.wire.harness import pieces_of
from tests.wire.websocket import client_frames, server_frame

MAX = 70_000


def parse(data: bytes, cuts: list[int] | None = None) -> list[FrameEvent]:
    parser = FrameParser(max_message=MAX)
    events: list[FrameEvent] = []
    for piece in pieces_of(data, cuts or [1 << 20]):
        parser.feed(piece)
        events += iter(parser.next_event, None)
    return events


def test_examples_of_the_standard() -> None:
    """RFC 6455 section 5.7."""
    assert encode_frame(Opcode.TEXT, b"Hello", bytes.fromhex("37fa213d")).hex() == "818537fa213d7f9f4d5158"
    assert parse(bytes.fromhex("810548656c6c6f")) == [Text(b"Hello")]
    assert parse(bytes.fromhex("010348656c80026c6f")) == [Text(b"Hello")]
    assert parse(bytes.fromhex("890548656c6c6f")) == [Ping(b"Hello")]


@given(
    st.lists(st.tuples(st.lists(st.binary(max_size=300), min_size=1, max_size=4), st.booleans()), max_size=5),
    st.lists(st.integers(1, 50), max_size=8),
)
@settings(deadline=None)
def test_messages_in_pieces(messages: list[tuple[list[bytes], bool]], cuts: list[int]) -> None:
    """However a message is split into frames and frames into reads, with pings between them: it is the same message."""
    data, expected = b"", []
    for parts, has_ping in messages:
        for index, part in enumerate(parts):
            if has_ping and index:
                data += server_frame(b"p", Opcode.PING)
                expected.append(Ping(b"p"))
            opcode = Opcode.CONTINUATION if index else Opcode.TEXT
            data += server_frame(part, opcode, is_final=index == len(parts) - 1)
        expected.append(Text(b"".join(parts)))  # type: ignore[arg-type]
    assert parse(data, cuts) == expected


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536, MAX])
def test_lengths(size: int) -> None:
    """Each of the three forms, both ways."""
    assert parse(server_frame(b"x" * size)) == [Text(b"x" * size)]
    assert client_frames(encode_frame(Opcode.TEXT, b"x" * size, b"abcd")) == [(1, b"x" * size)]


@given(st.binary(max_size=700), st.binary(min_size=4, max_size=4))
@settings(deadline=None)
def test_masks(payload: bytes, mask: bytes) -> None:
    """Unmasked it is what it was."""
    assert client_frames(encode_frame(Opcode.TEXT, payload, mask)) == [(1, payload)]


def test_frames_that_cannot_be_made() -> None:
    """A long control frame, half a mask."""
    for opcode, payload, mask in ((Opcode.PING, b"x" * 126, b"abcd"), (Opcode.TEXT, b"", b"abc")):
        with pytest.raises(ValueError, match="cannot be"):
            encode_frame(opcode, payload, mask)


def test_other_control_frames() -> None:
    """A goodbye with and without a code, a pong."""
    assert parse(bytes.fromhex("8800 8802 03e8 8a01 41")) == [
        CloseFrame(1005, b""),
        CloseFrame(1000, b""),
        PongFrame(b"A"),
    ]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ("c100", 1002),  # an extension
        ("8180 00000000", 1002),  # a mask
        ("8300", 1002),  # an unknown type
        ("8b00", 1002),
        ("8200", 1003),  # binary
        ("0900", 1002),  # a ping in pieces
        ("897e 007e", 1002),  # a long ping
        ("8000", 1002),  # continues nothing
        ("0100 8100", 1002),  # begins while another goes on
        ("817e 007d", 1002),  # lengths that are too long
        ("817f 000000000000ffff", 1002),
        ("817f 7fffffffffffffff", 1009),  # too much
        ("817f ffffffffffffffff", 1009),
        ("8801 03", 1002),  # half a code
        ("8802 03e7", 1002),
        ("8802 03ed", 1002),
    ],
)
def test_frames_that_break_the_standard(data: str, code: int) -> None:
    """Refused from their heads, before anything of them is kept."""
    with pytest.raises(WebsocketError) as caught:
        parse(bytes.fromhex(data))
    assert caught.value.code == code


def test_a_long_message_in_short_frames() -> None:
    """Is as long as all of them."""
    parser = FrameParser(max_message=1000)
    parser.feed(server_frame(b"x" * 600, is_final=False))
    assert parser.next_event() is None
    parser.feed(server_frame(b"x" * 401, Opcode.CONTINUATION))
    with pytest.raises(WebsocketError, match="more than 1000 bytes"):
        parser.next_event()
