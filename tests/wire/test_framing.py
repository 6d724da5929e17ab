"""Frames: any cut of the stream gives the same payloads, and nothing is held beyond the limit."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import LocalProtocolError, RemoteProtocolError
from appliance.wire.framing import MAX_PAYLOAD_BYTES, FrameReader, make_frame
from tests.wire.harness import pieces_of, sizes


@given(st.lists(st.binary(max_size=50), max_size=20), sizes)
def test_any_cut_of_a_stream_gives_the_same_frames(payloads: list[bytes], cut: list[int]) -> None:
    """Payloads come out whole, in order, the empty ones too."""
    reader = FrameReader(max_frame=50)
    found: list[bytes] = []
    for piece in pieces_of(b"".join(map(make_frame, payloads)), cut):
        reader.feed(piece)
        found += iter(reader.next_frame, None)

    assert found == payloads
    assert reader.held_bytes == 0


def test_length_is_big_endian_and_excludes_itself() -> None:
    """The length has four bytes, the largest first."""
    assert make_frame(b"x" * 258) == b"\x00\x00\x01\x02" + b"x" * 258


def test_frame_at_the_limit_is_taken_and_one_above_is_refused() -> None:
    """The limit itself is allowed."""
    reader = FrameReader(max_frame=3)
    reader.feed(make_frame(b"abc") + make_frame(b"abcd"))

    assert reader.next_frame() == b"abc"
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match="a frame of 4 bytes where at most 3 are taken"):
            reader.next_frame()


def test_frames_that_were_taken_are_not_kept() -> None:
    """A long stream of small frames does not grow in memory."""
    reader = FrameReader(max_frame=10)
    for _ in range(1000):
        reader.feed(make_frame(b"0123456789"))
        assert reader.next_frame() == b"0123456789"
    assert len(reader._buffer) <= 14


def test_lie_about_the_length_is_refused_before_anything_is_reserved() -> None:
    """Four bytes that announce 2 GiB are enough for a refusal, and for nothing else."""
    reader = FrameReader(max_frame=1 << 20)
    tracemalloc.start()
    try:
        reader.feed(b"\x7f\xff\xff\xff")
        with pytest.raises(RemoteProtocolError, match="2147483647"):
            reader.next_frame()
        assert tracemalloc.get_traced_memory()[1] < 1 << 16
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("begin", ["16030102", "15030300"])
def test_peer_that_speaks_tls_is_recognised(begin: str) -> None:
    """A TLS record taken for a length says so."""
    reader = FrameReader(max_frame=1 << 20)
    reader.feed(bytes.fromhex(begin))

    with pytest.raises(RemoteProtocolError, match="it looks like TLS"):
        reader.next_frame()


def test_rest_is_what_was_not_taken() -> None:
    """What follows the frames that were taken can be handed on, and is then gone."""
    reader = FrameReader(max_frame=10)
    reader.feed(make_frame(b"first") + make_frame(b"second")[:6])
    assert reader.next_frame() == b"first"
    assert reader.next_frame() is None
    assert reader.held_bytes == 6

    assert reader.take_rest() == make_frame(b"second")[:6]
    assert reader.held_bytes == 0
    assert reader.take_rest() == b""


class _Huge(bytes):
    """Claims to be as long as nothing that fits into a test."""

    def __len__(self) -> int:
        return MAX_PAYLOAD_BYTES + 1


def test_frame_that_broker_would_not_take_is_not_made() -> None:
    """What is too large for the other side is our mistake."""
    with pytest.raises(LocalProtocolError, match="more than Broker takes"):
        make_frame(_Huge())
