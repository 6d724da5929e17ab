"""The intake of a Broker peer's frames: what is an event, a log or something else, in which order, and how cut."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from appliance.native import IntakeCounts, OversizeFrameError, RunKind
from appliance.zeek.messages import Event, encode_message

from .broker_wire import (
    BATCH,
    EVENT,
    LOG,
    ME,
    NIL,
    PEER,
    PRINT,
    THIRD,
    One,
    envelope,
    feed,
    framed,
    judge,
    kinds,
    make,
    split,
)
from .wire import count, message, named, vector

NONE = b"\0"
EVENTS, LOGS, OTHER = RunKind


def counts(**figures: int) -> IntakeCounts:
    return IntakeCounts(**(dict.fromkeys(IntakeCounts._fields, 0) | figures))


# ── what is what ──


def test_an_event() -> None:
    """Topic and name are text, the data is that of a batch of events."""
    data = struct.pack(">I", len(EVENT)) + EVENT
    assert feed(make(), envelope(EVENT, topic=b"zeek/\xff", ttl=7)) == [
        (EVENTS, "zeek/\udcff", "Cluster::hello", 1, data, 7, False)
    ]


def test_a_log() -> None:
    """The data is the message as it came, be it a log write or a batch of them."""
    for payload in (LOG, BATCH):
        assert feed(make(), envelope(payload, topic="zeek/logs/", receiver=ME)) == [
            (LOGS, "zeek/logs/", "", 1, payload, 16, True)
        ]


def test_another_frame() -> None:
    """It comes whole, without its length."""
    frame = envelope(PRINT, topic="bro/print/x")
    assert feed(make(), frame) == [(OTHER, "", "", 1, frame, 0, False)]


def test_what_is_not_for_the_fast_path() -> None:
    """Other types, nobody's or our own sender, somebody else's receiver, local topics, and torn envelopes."""
    assert (
        kinds(
            *(envelope(EVENT, kind=kind) for kind in (0, 2, 3, 4, 5, 6, 255)),
            *(envelope(EVENT, sender=sender) for sender in (NIL, ME)),
            *(envelope(EVENT, receiver=receiver) for receiver in (THIRD, PEER)),
            *(envelope(EVENT, topic=topic) for topic in ("", "<$>/local/", "<$>/local/data/errors")),
            envelope(EVENT, topic_size=len(EVENT) + 1),
            envelope(EVENT, topic_size=len(EVENT) + 2),
            envelope(b""),
            *(envelope(EVENT)[:size] for size in (1, 36, 37, 38)),
        )
        == [OTHER] * 21
    )
    assert kinds(*(envelope(EVENT, topic=topic) for topic in ("<$>", "<$>/local", "x<$>/local/"))) == [EVENTS] * 3


def test_a_third_sender_is_counted() -> None:
    """An endpoint that forwards may leave the first sender in place; its events are as good."""
    intake = make()
    frames = [envelope(EVENT, sender=THIRD), envelope(LOG, sender=THIRD), envelope(PRINT, sender=THIRD)]
    assert [run.kind for run in feed(intake, *frames)] == [EVENTS, LOGS, OTHER]
    assert intake.counts().foreign == 2


NAME, NO_ARGS = named(5, "e"), vector()
GOOD_EVENTS = {
    "no metadata": vector(NAME, NO_ARGS),
    "empty metadata": vector(NAME, NO_ARGS, vector()),
    "a timestamp": vector(NAME, NO_ARGS, vector(vector(count(1), b"\x09" + bytes(8)))),
    "metadata of others": vector(NAME, NO_ARGS, vector(vector(count(200), NONE), vector(count(0), NO_ARGS))),
    "more elements": vector(NAME, NO_ARGS, vector(), NONE, NAME),
    "an empty name": vector(named(5, ""), NO_ARGS),
    "a name of any bytes": vector(named(5, b"\xff\0"), NO_ARGS),
}
BAD_EVENTS = {
    "no arguments": vector(NAME),
    "arguments that are no vector": vector(NAME, b"\x0c\0"),
    "a name that is an enum value": vector(named(11, "e"), NO_ARGS),
    "metadata that is none": vector(NAME, NO_ARGS, NONE),
    "metadata that is no pair": vector(NAME, NO_ARGS, vector(vector(count(1)))),
    "metadata of three": vector(NAME, NO_ARGS, vector(vector(count(200), NONE, NONE))),
    "a key that is no count": vector(NAME, NO_ARGS, vector(vector(b"\3" + bytes(8), NONE))),
    "a timestamp that is a timespan": vector(NAME, NO_ARGS, vector(vector(count(1), b"\x0a" + bytes(8)))),
    "no vector": NAME,
}


@pytest.mark.parametrize("content", GOOD_EVENTS.values(), ids=GOOD_EVENTS)
def test_events_that_zeek_takes(content: bytes) -> None:
    """All forms of metadata, and whatever comes behind."""
    for payload in (message(1, content), message(1, content, NONE, vector(NONE))):
        assert split(feed(make(), envelope(payload))) == [judge(envelope(payload))]
        assert kinds(envelope(payload)) == [EVENTS]


@pytest.mark.parametrize("content", BAD_EVENTS.values(), ids=BAD_EVENTS)
def test_events_that_zeek_refuses(content: bytes) -> None:
    """They are for somebody who can say what is wrong."""
    frame = envelope(message(1, content))
    assert split(feed(make(), frame)) == [judge(frame)]
    assert kinds(frame) == [OTHER]


def test_messages_that_are_neither_events_nor_logs() -> None:
    """Other types and versions, mixed batches, and what has something behind it."""
    event = vector(NAME, NO_ARGS)
    payloads = [
        *(message(kind, event) for kind in (0, 2, 4, 6, 1 << 40)),
        vector(count(2), count(1), event),
        vector(b"\3" + bytes(7) + b"\1", count(1), event),
        vector(count(1), count(1)),
        message(5, vector(LOG, EVENT)),
        message(5, vector(LOG, message(2, NONE))),
        EVENT + NONE,
        LOG + NONE,
        message(3, vector(named(11, "s"), named(11, "w"), named(5, "p"))),
        PRINT,
        NONE,
    ]
    assert kinds(*map(envelope, payloads)) == [OTHER] * len(payloads)


def test_values_out_of_range() -> None:
    """Subnets of more than 128 bits, protocols and types that do not exist."""
    good = [b"\7" + bytes(16) + b"\x80", b"\x08\0\0\3", b"\x0e\0"]
    bad = [b"\7" + bytes(16) + b"\x81", b"\x08\0\0\4", b"\x0f\0"]
    for argument, kind in [*((each, EVENTS) for each in good), *((each, OTHER) for each in bad)]:
        frame = envelope(message(1, vector(NAME, vector(argument))))
        assert judge(frame).kind is kind
        assert kinds(frame) == [kind]


@pytest.mark.parametrize("tag", [12, 13, 14])
def test_depth_is_that_of_the_decoder(tag: int) -> None:
    """A hundred containers within containers, and not one more."""
    for depth, kind in ((100, EVENTS), (101, OTHER)):
        argument = NONE
        for _ in range(depth - 3):
            argument = bytes((tag, 1)) + argument + NONE * (tag == 13)
        frame = envelope(message(1, vector(NAME, vector(argument))))
        assert judge(frame).kind is kind
        assert kinds(frame) == [kind]


@pytest.mark.slow
def test_number_of_values_is_that_of_the_decoder() -> None:
    """A million of them in a message."""
    intake = make(max_message=2 << 20)
    others = 1 + 3 + 2
    for size, kind in ((1_000_000 - others, EVENTS), (1_000_001 - others, OTHER)):
        frame = envelope(message(1, vector(NAME, vector(*[NONE] * size))))
        assert judge(frame).kind is kind
        assert [run.kind for run in feed(intake, frame)] == [kind]


# ── runs ──


def test_events_are_put_together_while_nothing_changes() -> None:
    """Topic, name, TTL or receiver begin a new run, and so does any frame between."""
    first, second = EVENT, encode_message(Event.make("Cluster::hell"))
    sent = [
        *[envelope(first)] * 3,
        *[envelope(second)] * 2,
        envelope(second, topic="u"),
        envelope(second, topic="tt"),
        envelope(second),
        *[envelope(second, ttl=15)] * 2,
        envelope(second, ttl=15, receiver=ME),
        *[envelope(LOG)] * 2,
        *[envelope(second)] * 2,
        envelope(PRINT),
        envelope(second),
        *[envelope(second, sender=THIRD)] * 2,
    ]
    runs = feed(make(), *sent)
    assert [run.count for run in runs] == [3, 2, 1, 1, 1, 2, 1, 1, 1, 2, 1, 3]
    assert split(runs) == [judge(frame) for frame in sent]


def test_a_run_ends_with_what_was_fed() -> None:
    """Nothing waits for more of its kind."""
    intake = make()
    assert [run.count for run in feed(intake, *[envelope(EVENT)] * 2)] == [2]
    assert [run.count for run in feed(intake, *[envelope(EVENT)] * 2)] == [2]


def test_runs_have_bounds() -> None:
    """Ten thousand events, or one mebibyte; a larger event is alone."""
    small = envelope(encode_message(Event.make("e")))
    assert [run.count for run in feed(make(), *[small] * 25_000)] == [10_000, 10_000, 5_000]
    large = envelope(encode_message(Event.make("e", bytes(300_000))))
    assert [run.count for run in feed(make(), *[large] * 7)] == [3, 3, 1]
    huge = envelope(encode_message(Event.make("e", bytes(2 << 20))))
    runs = feed(make(max_message=4 << 20), small, huge, huge, small)
    assert [(run.count, len(run.data) > 2 << 20) for run in runs] == [(1, False), (1, True), (1, True), (1, False)]


# ── pieces and ends ──


def test_every_cut() -> None:
    """A frame may be torn anywhere; what is held is known."""
    sent = [envelope(EVENT), envelope(LOG), b"", envelope(PRINT), envelope(EVENT, topic="x" * 300)]
    stream, ends = b"", []
    for frame in sent:
        stream += framed(frame)
        ends.append(len(stream))
    expected = [judge(frame) for frame in sent if frame]
    for cut in range(len(stream) + 1):
        intake = make()
        got = split(intake.feed(stream[:cut]))
        assert intake.held_bytes == cut - max([end for end in ends if end <= cut], default=0)
        assert intake.is_between_frames is (intake.held_bytes == 0)
        got += split(intake.feed(stream[cut:]))
        assert got == expected
        assert intake.is_between_frames


def test_one_byte_at_a_time() -> None:
    """Every frame comes out with its last byte."""
    sent = [envelope(EVENT), b"", envelope(LOG), envelope(PRINT), b"x"]
    intake = make()
    got: list[One] = []
    for byte in b"".join(map(framed, sent)):
        got += split(intake.feed(bytes((byte,))))
    assert got == [judge(frame) for frame in sent if frame]


@pytest.mark.parametrize("payload", [PRINT, message(1, vector(NAME, vector(named(5, bytes(12 << 20)))))], ids=len)
def test_a_large_frame_in_small_pieces(payload: bytes) -> None:
    """It is put together, and the frames around it are as always."""
    payload += bytes((12 << 20) - len(payload)) if len(payload) < 100 else b""
    stream = b"".join(map(framed, sent := [envelope(EVENT), envelope(payload), envelope(EVENT), envelope(EVENT)]))
    intake, got = make(max_message=16 << 20), []
    for start in range(0, len(stream), 1000):
        got += split(intake.feed(stream[start : start + 1000]))
    assert got == [judge(frame) for frame in sent]


def address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * 4096


def test_an_announcement_takes_no_memory() -> None:
    """Memory follows what has come."""
    intake = make(max_message=1 << 30)
    before = address_space()
    intake.feed(struct.pack(">I", 1 << 30))
    for _ in range(64):
        intake.feed(bytes(1 << 14))
    assert address_space() - before < 256 << 20
    assert intake.held_bytes == 4 + (1 << 20)


@pytest.mark.parametrize("piece", [1, 3, 4, 5, 1 << 20])
def test_a_frame_that_is_too_long(piece: int) -> None:
    """It ends the connection as soon as it is announced; what came before is not lost."""
    intake = make(max_message=200)
    good = [envelope(EVENT), envelope(PRINT), bytes(200)]
    stream = b"".join(map(framed, good)) + struct.pack(">I", 201) + bytes(201) + framed(envelope(EVENT))
    got = []
    pieces = [stream[start : start + piece] for start in range(0, len(stream), piece)]
    end = (len(stream) - len(framed(envelope(EVENT))) - 201) // -piece * -1  # where the length is whole
    for each in pieces[: end - 1]:
        got += split(intake.feed(each))
    with pytest.raises(OversizeFrameError, match="a frame of more than 200 bytes") as caught:
        intake.feed(pieces[end - 1])
    got += split(caught.value.runs)
    assert got == [judge(frame) for frame in good]
    told = intake.counts()
    assert (told.frames, told.events, told.others, told.oversize) == (3, 1, 2, 1)
    assert (intake.held_bytes, intake.is_between_frames) == (0, False)
    with pytest.raises(OversizeFrameError) as again:
        intake.feed(framed(envelope(EVENT)))
    assert again.value.runs == []
    assert intake.counts() == told


def test_closed_and_impossible_objects() -> None:
    """A closed intake is a ValueError, and so are IDs and limits that are none."""
    intake = make()
    intake.close()
    with pytest.raises(ValueError, match="BrokerIntake is closed"):
        intake.feed(b"")
    with pytest.raises(ValueError, match="an endpoint ID of 15 bytes"):
        make(me=bytes(15))
    for limit in (0, 2**31 - 5):
        with pytest.raises(ValueError, match="a limit of BrokerIntake is out of range"):
            make(max_message=limit)
    assert make().counts() == counts()
