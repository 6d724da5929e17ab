"""The intake of log batches: four frames, what is refused and why, groups, rounds, schemas, and Zeek's own text."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.native import BatchCounts, BatchGroup, BatchIntake, LogColumn, Transcoder, ZmqDrain

from .wire import COUNT, SPEC_BATCH, SPEC_LINE, STRING, TIME, batch, header, string, text, value

GOLDEN = Path(__file__).parents[1] / "golden"
TAG, FORMAT = b"log-write", b"zeek-bin-serializer"
SENDER = b"zeromq_worker-1_host_28379_Nhf30jYdCz2f"
C_REMEMBERS = 256
"""Schemas, at most."""
GROUPS = 256


def make(filters: Iterable[str] = ("default",), *, max_output: int = 4 << 20) -> BatchIntake:
    return BatchIntake(Transcoder(), filters=filters, max_output=max_output)


def feed(intake: BatchIntake, frames: Sequence[bytes]) -> None:
    for i, frame in enumerate(frames):
        intake.frame(frame, more=i + 1 < len(frames))


def send(intake: BatchIntake, payload: bytes, sender: bytes = SENDER) -> None:
    feed(intake, [TAG, sender, FORMAT, payload])


def count_of(number: int) -> bytes:
    return value(COUNT, number.to_bytes(8, "big"))


def rows(*numbers: int, name: str = "n", path: str = "x") -> bytes:
    """A batch of one column, one record for each number."""
    return batch([(name, COUNT)], *(count_of(number) for number in numbers), path=path)


def lines(*numbers: int, name: str = "n") -> bytes:
    return b"".join(b'{"%s":%d}\n' % (name.encode(), number) for number in numbers)


def counts(**figures: int) -> BatchCounts:
    return BatchCounts(**(dict.fromkeys(BatchCounts._fields, 0) | figures))


def check_sum(intake: BatchIntake) -> None:
    told = intake.counts()
    assert told.messages == sum(told) - told.messages - told.records


# ── messages ──


def test_a_batch_becomes_lines() -> None:
    """The example of the format's description, with all that a group says."""
    intake = make()
    send(intake, SPEC_BATCH)
    [group], refused = intake.take()
    assert (group.path, group.sender, group.data, group.count) == ("demo", SENDER, SPEC_LINE, 1)
    assert (group.schema.stream, group.schema.writer, group.schema.filter) == (
        "Demo::LOG",
        "Log::WRITER_ASCII",
        "default",
    )
    assert group.schema.columns[0] == LogColumn("ts", TIME)
    assert group.schema.columns[7] == LogColumn("tags", 14, STRING, True)
    assert refused == b""
    assert intake.counts() == counts(messages=1, accepted=1, records=1)


GOOD = [TAG, SENDER, FORMAT, SPEC_BATCH]


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([TAG], "bad_frames"),
        ([b""], "bad_frames"),
        (GOOD[:2], "bad_frames"),
        (GOOD[:3], "bad_frames"),
        ([*GOOD, b""], "bad_frames"),
        (GOOD * 100, "bad_frames"),
        ([b"log-writ", *GOOD[1:]], "bad_frames"),
        ([b"log-write\0", *GOOD[1:]], "bad_frames"),
        ([b"event", SENDER, b"nonsense", b""], "bad_frames"),
        ([TAG, b"n" * 256, FORMAT, SPEC_BATCH], "bad_frames"),
        ([TAG, SENDER, b"", SPEC_BATCH], "bad_format"),
        ([TAG, SENDER, b"broker-bin-v1", SPEC_BATCH], "bad_format"),
        ([TAG, SENDER, b"ZEEK-bin-serializer", SPEC_BATCH], "bad_format"),
        ([TAG, SENDER, FORMAT + b"2", SPEC_BATCH], "bad_format"),
        ([TAG, SENDER, FORMAT, b""], "bad_batch"),
        ([TAG, SENDER, FORMAT, b"\xff" * 100], "bad_batch"),
        ([TAG, SENDER, FORMAT, SPEC_BATCH[:-1]], "bad_batch"),
        ([TAG, SENDER, FORMAT, SPEC_BATCH + b"\0"], "bad_batch"),
        ([TAG, SENDER, FORMAT, rows(1, 2)[:-5]], "bad_batch"),
        ([TAG, SENDER, FORMAT, batch([("v", STRING)], string("a"), value(8, b""))], "bad_batch"),
        ([TAG, SENDER, FORMAT, batch([("a" * 70_000, STRING)], string("a"))], "bad_batch"),
        *(
            ([TAG, SENDER, FORMAT, rows(1, path=path)], "bad_path")
            for path in ("", "a/b", "..", ".x", "-x", "a b", "a\0", "a\n", "cönn", "x" * 256)
        ),
        ([TAG, SENDER, FORMAT, header([("n", COUNT)], filter_="other") + bytes(4)], "other_filter"),
    ],
)
def test_what_is_no_batch_is_counted_by_reason(frames: list[bytes], reason: str) -> None:
    """It costs itself only: what comes before and after it is used."""
    intake = make()
    send(intake, rows(1))
    feed(intake, frames)
    told = intake.counts()
    groups, refused = intake.take()
    send(intake, rows(2))
    groups += intake.take()[0]
    assert told == counts(messages=2, accepted=1, records=1, **{reason: 1})
    assert b"".join(group.data for group in groups) == lines(1, 2)
    assert refused == (frames[3] if reason == "bad_batch" else b"")
    check_sum(intake)


@pytest.mark.parametrize("path", ["x" * 255, "Conn", "_x", "0", "my.conn-2", "a..b"])
def test_good_paths(path: str) -> None:
    """What Zeek's sites call their logs, up to 255 bytes."""
    intake = make()
    send(intake, rows(1, path=path))
    [group], _ = intake.take()
    assert group.path == path


@pytest.mark.parametrize("sender", [b"", b"n" * 255, b"\xff\0\n"])
def test_any_sender_of_a_sane_length(sender: bytes) -> None:
    """Its bytes come through as they are."""
    intake = make()
    send(intake, rows(1), sender)
    assert intake.take()[0][0].sender == sender


def test_a_batch_without_records_is_accepted() -> None:
    """It makes no group, for a group has at least one record."""
    intake = make()
    send(intake, rows())
    assert intake.take() == ([], b"")
    assert intake.counts() == counts(messages=1, accepted=1)


@given(st.lists(st.tuples(st.sampled_from(range(8)), st.booleans()), max_size=40))
@settings(deadline=None)
def test_any_sequence_of_frames(frames: list[tuple[int, bool]]) -> None:
    """A message ends where no frame follows; the counts agree with a plain reading."""
    pool = [*GOOD, b"", b"x" * 300, b"zeek", rows(1, 2)]
    intake, messages, accepted = make(), 0, 0
    message: list[bytes] = []
    for number, more in frames:
        if not message and not intake.has_room():
            intake.take()
        intake.frame(pool[number], more=more)
        message.append(pool[number])
        if not more:
            messages += 1
            accepted += (
                len(message) == 4
                and message[0] == TAG
                and len(message[1]) < 256
                and message[2] == FORMAT
                and (message[3] in (SPEC_BATCH, pool[7]))
            )
            message = []
    assert intake.counts().messages == messages
    assert intake.counts().accepted == accepted
    check_sum(intake)


# ── filters ──


def of_filter(name: str) -> bytes:
    return header([("n", COUNT)], filter_=name) + (1).to_bytes(4, "big") + count_of(1)


def test_only_accepted_filters() -> None:
    """Names are matched whole; what is not accepted is not even looked at."""
    intake = make(["default", "kafka"])
    for name in ("default", "kafka", "defaul", "default2", "", "DEFAULT"):
        send(intake, of_filter(name))
    send(intake, of_filter("json")[:-3])
    assert intake.counts() == counts(messages=7, accepted=2, records=2, other_filter=5)
    assert [group.schema.filter for group in intake.take()[0]] == ["default", "kafka"]


def test_filters_change() -> None:
    """From the next message on; there may be none, or very many."""
    intake = make([])
    accepted = []
    for names in ([], ["default"], ["x"], [f"f{i}" for i in range(1000)] + ["default"], ["default"] * 3, []):
        intake.accept(names)
        send(intake, of_filter("default"))
        accepted.append(intake.counts().accepted)
    assert accepted == [0, 1, 1, 2, 3, 3]


# ── groups and rounds ──


def test_batches_are_grouped() -> None:
    """One group for each path, sender and schema, in order of first arrival."""
    intake = make()
    for number in range(6):
        send(intake, rows(number, path="ab"[number % 2]), b"xyz"[number % 3 :][:1])
    send(intake, rows(6, 7, path="a"), b"x")
    groups, _ = intake.take()
    assert [(g.path, g.sender, g.data) for g in groups] == [
        ("a", b"x", lines(0, 6, 7)),
        ("b", b"y", lines(1)),
        ("a", b"z", lines(2)),
        ("b", b"x", lines(3)),
        ("a", b"y", lines(4)),
        ("b", b"z", lines(5)),
    ]
    assert [g.count for g in groups] == [3, 1, 1, 1, 1, 1]
    assert intake.take() == ([], b"")


def test_records_of_a_log_do_not_change_places() -> None:
    """A schema that changes begins a new group, also when it changes back."""
    intake = make()
    for number, name in enumerate("aabbab"):
        send(intake, rows(number, name=name))
        send(intake, rows(number, path="other"))
    groups = [g for g in intake.take()[0] if g.path == "x"]
    assert [g.data for g in groups] == [
        lines(0, 1, name="a"),
        lines(2, 3, name="b"),
        lines(4, name="a"),
        lines(5, name="b"),
    ]
    assert [g.schema.columns[0].name for g in groups] == ["a", "b", "a", "b"]
    assert groups[0].schema is groups[2].schema


def test_room_is_bounded_by_output() -> None:
    """No message is begun beyond the limit, so one batch may exceed it."""
    intake = make(max_output=len(lines(1, 2)))
    room = []
    for number in range(3):
        room.append(intake.has_room())
        if room[-1]:
            send(intake, rows(number))
    assert room == [True, True, False]
    assert intake.take()[0][0].data == lines(0, 1)
    assert intake.has_room()


def test_room_is_bounded_by_groups() -> None:
    """Whoever does not look loses the message, which is counted, and nothing else."""
    intake = make()
    sent = 0
    while intake.has_room():
        send(intake, rows(sent, path=f"p{sent}"))
        sent += 1
    assert sent == GROUPS
    send(intake, rows(1, path="p0"))
    with pytest.raises(MemoryError):
        send(intake, rows(1, path="more"))
    assert intake.counts() == counts(messages=sent + 2, accepted=sent + 1, records=sent + 1, no_memory=1)
    assert len(intake.take()[0]) == GROUPS
    check_sum(intake)
    send(intake, rows(7, path="more"))
    assert intake.take()[0][0].data == lines(7)


def test_a_refused_batch_ends_the_round() -> None:
    """So that each one can be looked at; one of no bytes shows nothing."""
    intake = make()
    send(intake, b"")
    assert intake.has_room()
    send(intake, b"one")
    assert not intake.has_room()
    send(intake, b"other")
    assert intake.take() == ([], b"other")
    assert intake.has_room()
    assert intake.take() == ([], b"")


def test_lines_that_are_too_long_refuse_the_batch() -> None:
    """Lines longer than the transcoder makes; the others of the round stay."""
    intake = BatchIntake(Transcoder(max_output=1 << 20), filters=["default"])
    send(intake, rows(1))
    bad = batch([("v", STRING)], string(b"\0" * 300_000))
    send(intake, bad)
    [group], refused = intake.take()
    assert (group.data, refused) == (lines(1), bad)
    check_sum(intake)


# ── schemas ──


def test_a_schema_is_one_object() -> None:
    """As long as it does not change, in whatever round."""
    intake = make()
    seen = []
    for number in range(3):
        send(intake, rows(number))
        send(intake, rows(number, path="y"))
        seen += [group.schema for group in intake.take()[0]]
    assert len({id(schema) for schema in seen}) == 2


def test_a_schema_survives_any_number_of_others() -> None:
    """One that is always in use, while thousands of others come and go."""
    intake = make()
    for number in range(3 * C_REMEMBERS):
        send(intake, rows(number, name=f"c{number}"))
        send(intake, rows(number, path="conn"))
        other, conn = intake.take()[0]
        assert (other.schema.columns[0].name, conn.schema.columns[0].name) == (f"c{number}", "n")


def test_forgotten_schemas_are_read_again() -> None:
    """Within one round, too, where a schema may be forgotten and come back before anybody looked."""
    intake = make()
    for round_ in range(8):
        wanted = []
        for number in range(GROUPS):
            name = f"c{(number * 7 + round_ * 131) % (2 * C_REMEMBERS)}"
            assert intake.has_room()
            send(intake, rows(number, name=name, path=f"p{number}"))
            wanted.append((f"p{number}", name, lines(number, name=name)))
        groups, _ = intake.take()
        assert [(g.path, g.schema.columns[0].name, g.data) for g in groups] == wanted


@given(st.lists(st.tuples(st.integers(0, 700), st.sampled_from("abc"), st.booleans()), max_size=300))
@settings(deadline=None, max_examples=50)
def test_any_history_of_schemas(history: list[tuple[int, str, bool]]) -> None:
    """Each group has the columns of its batches, and each log its order."""
    intake = make()
    expected: defaultdict[str, bytes] = defaultdict(bytes)
    got: defaultdict[str, bytes] = defaultdict(bytes)

    def take() -> None:
        for group in intake.take()[0]:
            got[group.path] += group.data
            assert all(json.loads(line).keys() == {group.schema.columns[0].name} for line in group.data.splitlines())

    for seq, (number, path, ends) in enumerate(history):
        if ends or not intake.has_room():
            take()
        send(intake, rows(seq, name=f"c{number}", path=path))
        expected[path] += lines(seq, name=f"c{number}")
    take()
    assert got == expected


def test_large_schemas_are_read() -> None:
    """Thousands of columns, for many logs: what is kept of them is bounded."""
    intake = make()
    for number in range(40):
        fields = [(f"c{i}", COUNT) for i in range(3000)]
        send(intake, batch(fields, b"".join(count_of(0) for _ in fields), path=f"p{number}"))
        [group], _ = intake.take()
        assert len(group.schema.columns) == 3000
    assert sum(len(schema.columns) for schema in intake._schemas.values()) < 70_000


# ── the rest ──


def recorded() -> list[list[bytes]]:
    with gzip.open(GOLDEN / "zeromq" / "cluster.jsonl.gz", "rt") as entries:
        return [
            [bytes.fromhex(frame) for frame in entry["frames"]]
            for entry in map(json.loads, entries)
            if entry["socket"] == "pull"
        ]


def collect(groups: Iterable[BatchGroup], logs: defaultdict[str, bytes]) -> None:
    for group in groups:
        assert group.data.count(b"\n") == group.count
        logs[group.path] += group.data


@pytest.mark.parametrize("max_output", [1, 1000, 4 << 20])
def test_a_recorded_cluster_is_what_zeek_wrote(max_output: int) -> None:
    """Character for character, whatever the rounds; the recording has one connection more."""
    intake = make(max_output=max_output)
    logs: defaultdict[str, bytes] = defaultdict(bytes)
    for frames in recorded():
        if not intake.has_room():
            collect(intake.take()[0], logs)
        feed(intake, frames)
    collect(intake.take()[0], logs)
    oracle = {path.stem: path.read_bytes() for path in (GOLDEN / "logs-json").glob("*.log")}
    for path in ("cluster", "broker"):  # differ between runs
        del oracle[path]
    assert logs["conn"].startswith(oracle["conn"])
    assert logs["conn"].count(b"\n") == oracle["conn"].count(b"\n") + 1
    del oracle["conn"]
    assert {path: logs[path] for path in oracle} == oracle
    told = intake.counts()
    assert told == counts(messages=len(recorded()), accepted=len(recorded()), records=told.records)


def test_a_socket_is_drained_into_it() -> None:
    """Up to the room that there is; then a round is over, and the rest follows."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        push, pull = context.socket(zmq.PUSH), context.socket(zmq.PULL)
        pull.bind("inproc://logs")
        push.connect("inproc://logs")
        for number in range(5):
            push.send_multipart([TAG, SENDER, FORMAT, rows(number)])
        push.send_multipart([TAG, SENDER])
        drain, intake = ZmqDrain(), make(max_output=len(lines(1, 2)))
        results = []
        for _ in range(3):
            results.append(drain.drain(pull.underlying, intake, 100))
            intake.take()
        assert results == [(2, False), (2, False), (2, True)]
        assert intake.counts() == counts(messages=6, accepted=5, records=5, bad_frames=1)
    finally:
        context.destroy(linger=0)


def test_closed_and_impossible_objects() -> None:
    """A closed intake is a ValueError."""
    intake = make()
    intake.close()
    with pytest.raises(ValueError, match="BatchIntake is closed"):
        intake.frame(b"", more=False)
    transcoder = Transcoder()
    transcoder.close()
    with pytest.raises(ValueError, match="Transcoder is closed"):
        BatchIntake(transcoder, filters=[])


def test_text_length_bytes_are_checked() -> None:
    """Lengths that point behind the message, in each of the four names."""
    for name in range(4):
        intake = make()
        names = [text("a")] * name + [b"\xff\xff\xff\xff"]
        send(intake, b"".join(names) + b"a" * 40)
        assert intake.counts().bad_batch == 1
