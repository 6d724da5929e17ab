"""The intake of a Broker peer's frames against Python's decoder: random frames, random values, damaged recordings."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.native import RunKind
from appliance.zeek.messages import Event, encode_message
from appliance.zeek.values import Timestamp, Value
from tests.zeek.strategies import names, values

from .broker_wire import (
    BATCH,
    EVENT,
    LOG,
    ME,
    NIL,
    PEER,
    PRINT,
    THIRD,
    envelope,
    feed,
    framed,
    judge,
    kinds,
    make,
    recorded,
    split,
)
from .wire import count, message, named, vector

NONE = b"\0"
NAME = named(5, "e")
EVENTS, LOGS, OTHER = RunKind


VARIANTS = [
    *(b"\0", b"\1\0", b"\1\1", b"\1\2", count(0), count(1), b"\3" + bytes(8), b"\x09" + bytes(8), b"\x0a" + bytes(8)),
    *(
        b"\4" + bytes.fromhex(bits)
        for bits in (
            *("0000000000000000", "8000000000000000", "0000000000000001", "800fffffffffffff", "0010000000000000"),
            *("fff0000000000000", "7ff0000000000000", "7ff8000000000000", "fff8000000000000", "7ff0000000000001"),
            *("ffffffffffffffff", "7fffffffffffffff", "fffffffffffffffe", "3ff0000000000000"),
        )
    ),
    *(
        b"\5\0",
        b"\5\x80\0",
        b"\5\x81\0a",
        b"\5\1a",
        b"\x0b\1a",
        b"\x0b\x81\x80\0a",
        b"\5\x08aaaaaaaa",
        b"\5\x09aaaaaaaaa",
    ),
    *(b"\6" + bytes(16), b"\6" + bytes(10) + b"\xff\xff" + bytes(4)),
    *(b"\7" + bytes(16) + b"\0", b"\7" + bytes(16) + b"\x80", b"\7" + bytes(10) + b"\xff\xff" + bytes(4) + b"\x10"),
    *(b"\x08\0\0\0", b"\x08\0\0\3", b"\x0e\0", b"\x0c\0", b"\x0d\0", b"\x0c\x80\0"),
]
"""Values of which many are the same although their bytes are not."""


def _containers(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    def join(tag: int, items: list[bytes]) -> bytes:
        size = len(items) // (2 if tag == 13 else 1)
        return bytes((tag, size)) + b"".join(items[: size * 2 if tag == 13 else size])

    return st.builds(join, st.sampled_from([12, 12, 13, 14]), st.lists(inner, max_size=5))


def _permuted(data: bytes) -> st.SearchStrategy[bytes]:
    """A set of two sets with the same two elements, or not, in any order."""
    other = st.sampled_from(VARIANTS)
    return st.builds(
        lambda a, b: b"\x0c\2" + b"\x0c\2" + data + a + b"\x0c\2" + b + data,
        other,
        other,
    )


wire_values = st.recursive(st.sampled_from(VARIANTS), _containers, max_leaves=14)
twin_sets = wire_values.flatmap(_permuted)


@given(st.lists(wire_values | twin_sets, max_size=3))
@settings(deadline=None, max_examples=800)
def test_what_is_twice_in_a_set_is_what_python_says(args: list[bytes]) -> None:
    """Whatever bytes the two have, and however deep they are."""
    frame = envelope(message(1, vector(NAME, vector(*args))))
    assert split(feed(make(), frame)) == [judge(frame)]


def test_large_sets() -> None:
    """One that is twice among thousands is found, of keys as of elements."""
    many = [count(number) for number in range(5000)]
    for tag, more in ((12, b""), (13, NONE)):
        for items, kind in ((many, EVENTS), ([*many[:-1], many[17]], OTHER)):
            argument = bytes((tag, 0x88, 0x27)) + more.join(items) + more
            assert kinds(envelope(message(1, vector(NAME, vector(argument))))) == [kind]


def _event(name: str, args: list[Value], timestamp: int | None) -> bytes:
    return encode_message(Event.make(name, *args, timestamp=None if timestamp is None else Timestamp(timestamp)))


payloads = st.one_of(
    st.builds(_event, names, st.lists(values, max_size=3), st.none() | st.integers(0, 1 << 40)),
    st.sampled_from([EVENT, EVENT, EVENT, LOG, BATCH, PRINT, b"", NONE, message(4, vector(NAME, NONE))]),
    wire_values,
)
frames = st.one_of(
    st.builds(
        lambda payload, topic, sender, receiver, kind, ttl: envelope(
            payload, topic=topic, sender=sender, receiver=receiver, kind=kind, ttl=ttl
        ),
        payloads,
        st.sampled_from([b"t", b"t", b"u", b"<$>", b"<$>/local/x", b"", b"\xff"]),
        st.sampled_from([PEER, PEER, PEER, THIRD, ME, NIL]),
        st.sampled_from([NIL, NIL, NIL, ME, THIRD]),
        st.sampled_from([1, 1, 1, 1, 2, 3, 4, 5, 9]),
        st.sampled_from([16, 16, 16, 0, 65535]),
    ),
    st.builds(envelope, payloads),
    st.binary(max_size=60),
)


def damage(chance: random.Random, frame: bytes) -> bytes:
    """Change a few bytes, put others in, or take some away."""
    damaged = bytearray(frame)
    for _ in range(chance.choice((1, 1, 2, 5))):
        start = chance.randrange(len(damaged) + 1)
        end = min(len(damaged), start + chance.choice((0, 1, 1, 1, 4, 9)))
        replacements = (chance.randbytes(end - start), chance.randbytes(end - start), b"", b"\xff", b"\0", b"\x0c\1")
        damaged[start:end] = chance.choice(replacements)
    return bytes(damaged)


@given(st.lists(frames, max_size=20), st.lists(st.integers(0, 400), max_size=30), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=400)
def test_any_frames_in_any_pieces(sent: list[bytes], cuts: list[int], chance: random.Random) -> None:
    """Each frame comes out once, in its place, as what Python says that it is; and the counts are right."""
    sent = [damage(chance, frame) if chance.random() < 0.2 else frame for frame in sent]
    stream, got, intake = b"".join(map(framed, sent)), [], make()
    at = 0
    for size in [*cuts, len(stream)]:
        got += split(intake.feed(stream[at : at + size]))
        at += size
    expected = [judge(frame) for frame in sent if frame]
    assert got == expected
    told = intake.counts()
    whole = sum(4 + len(frame) for frame in sent if frame)
    assert told[:5] == (len(expected), whole, *([each.kind for each in expected].count(kind) for kind in RunKind))
    assert told.frames == told.events + told.logs + told.others
    assert (told.empty, told.oversize) == (sent.count(b""), 0)
    assert (intake.held_bytes, intake.is_between_frames) == (0, True)


def test_a_recording_of_zeek() -> None:
    """A cluster of version 8 sends what Python understands, and most of it is for the fast path."""
    sent = recorded()
    intake, got = make(me=THIRD), []
    stream = b"".join(map(framed, sent))
    for start in range(0, len(stream), 65536):
        got += split(intake.feed(stream[start : start + 65536]))
    assert got == [judge(frame, me=THIRD) for frame in sent]
    assert intake.counts()[2:5] == (1421, 773, 1796)


@pytest.mark.slow
def test_damaged_recordings() -> None:
    """Of twenty thousand changed frames each is taken for what Python takes it for."""
    chance = random.Random(20261121)
    sent = sorted({frame for frame in recorded() if len(frame) < 700}, key=len)
    intake = make(me=THIRD)
    kinds_seen = dict.fromkeys(RunKind, 0)
    for _ in range(20_000):
        frame = damage(chance, chance.choice(sent))
        one = judge(frame, me=THIRD)
        assert split(feed(intake, frame)) == ([one] if frame else [])
        kinds_seen[one.kind] += 1
    assert min(kinds_seen[EVENTS], kinds_seen[OTHER]) > 1000
