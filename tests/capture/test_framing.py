"""Framing: the same frames however the stream is cut, bounds that hold, and clean ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.capture.framing import Framing, make_framing

LIMIT = 20
FRAMES = st.lists(st.binary(max_size=LIMIT), max_size=12)
CUTS = st.lists(st.integers(0, 300), max_size=20)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted({min(cut, len(data)) for cut in cuts} | {len(data)})
    return [data[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True)]


def feed(framing: Framing, data: bytes, cuts: list[int]) -> list[bytes]:
    return [frame for piece in pieces(data, cuts) for frame in framing.receive(piece)]


@given(FRAMES, CUTS)
def test_lines_do_not_depend_on_how_they_arrive(frames: list[bytes], cuts: list[int]) -> None:
    """Empty ones count; the last one may lack its newline."""
    lines = [frame.replace(b"\n", b" ") for frame in frames]
    framing = make_framing("newline", LIMIT)
    found = feed(framing, b"\n".join(lines), cuts)
    last, torn = framing.end()
    assert framing.error is None
    assert torn == 0
    assert [*found, *last] == [*lines[:-1], *([lines[-1]] if lines and lines[-1] else [])]


@pytest.mark.parametrize(("kind", "width"), [("u16be", 2), ("u32be", 4)])
@given(frames=FRAMES, cuts=CUTS, rest=st.integers(0, 3))
def test_lengths_do_not_depend_on_how_they_arrive(
    kind: str, width: int, frames: list[bytes], cuts: list[int], rest: int
) -> None:
    """A frame that is not whole at the end is told."""
    data = b"".join(len(frame).to_bytes(width) + frame for frame in frames)
    tail = (5).to_bytes(width) + b"abc" if rest else b""
    framing = make_framing(kind, LIMIT)
    assert feed(framing, data + tail, cuts) == frames
    assert framing.end() == ([], len(tail))
    assert framing.error is None


@pytest.mark.parametrize(
    ("kind", "data", "whole", "told"),
    [
        ("newline", b"ab\n" + b"x" * 21, [b"ab"], "a line of more than 20 bytes"),
        ("newline", b"ab\n" + b"x" * 21 + b"\ncd\n", [b"ab"], "a line of more than 20 bytes"),
        ("u16be", b"\0\1a\0\x15", [b"a"], "a frame of 21 bytes, at most 20 are allowed"),
        ("u32be", b"\xff\xff\xff\xff", [], "a frame of 4294967295 bytes, at most 20 are allowed"),
    ],
)
@pytest.mark.parametrize("step", [1, 1000])
def test_frame_that_is_too_long_ends_the_stream(
    kind: str, data: bytes, whole: list[bytes], told: str, step: int
) -> None:
    """What was whole before it is kept, nothing after it is, and no memory is held for it."""
    framing = make_framing(kind, LIMIT)
    found = feed(framing, data, list(range(0, len(data), step)))
    assert found == whole
    assert str(framing.error) == told
    assert framing.receive(b"more\n") == []
    assert framing.end() == ([], 0)


@given(st.sampled_from(["none", "newline", "u16be", "u32be"]), st.binary(max_size=300), CUTS)
def test_no_input_breaks_it(kind: str, data: bytes, cuts: list[int]) -> None:
    """No frame exceeds the limit, whatever comes."""
    framing = make_framing(kind, LIMIT)
    found = feed(framing, data, cuts)
    framing.end()
    assert kind == "none" or all(len(frame) <= LIMIT for frame in found)
    assert kind != "none" or b"".join(found) == data
