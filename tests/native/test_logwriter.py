"""The log writer's intake: frames in, rows out by path and node, everything refused or missing counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.native import LogCounts, LogGroup, LogIntake, LogSequence

U64_MAX = 2**64 - 1


def row(seq: int | None = None, node: str = "", **fields: Any) -> bytes:
    """A record with the marks that are given."""
    marks: dict[str, Any] = {"_node": node} if node else {}
    if seq is not None:
        marks["_seq"] = seq
    return json.dumps(marks | fields, ensure_ascii=False).encode()


def send(intake: LogIntake, *frames: bytes) -> bool:
    """One message; says whether it was accepted."""
    accepted = [intake.frame(frame, more=i < len(frames) - 1) for i, frame in enumerate(frames)]
    assert not any(accepted[:-1])
    return accepted[-1]


@pytest.fixture
def intake() -> LogIntake:
    return LogIntake(max_row=200, max_rows=16, arena=4096, max_sequences=8)


def test_a_message_is_a_path_and_a_row(intake: LogIntake) -> None:
    """The second frame completes the message and the row comes out with a newline."""
    assert intake.frame(b"conn", more=True) is False
    assert intake.frame(b'{"a":1}', more=False) is True
    assert intake.take() == [LogGroup("conn", "", b'{"a":1}\n', 1)]
    assert intake.take() == []
    assert intake.counts() == LogCounts(1, 1, 0, 0, 0, 0)
    assert intake.last_refused() == b""


def test_rows_are_grouped_by_path_and_node_in_order(intake: LogIntake) -> None:
    """Groups come by first arrival and each keeps the order of its rows, however they were mixed."""
    for i in range(3):
        send(intake, b"conn", row(node="w1", i=i))
        send(intake, b"dns", row(node="w1", i=i))
        send(intake, b"conn", row(node="Köln", i=i))
        send(intake, b"conn", row(i=i))
    groups = intake.take()
    assert [(g.path, g.node, g.count) for g in groups] == [
        ("conn", "w1", 3),
        ("dns", "w1", 3),
        ("conn", "Köln", 3),
        ("conn", "", 3),
    ]
    for group in groups:
        assert [json.loads(line)["i"] for line in group.data.splitlines()] == [0, 1, 2]
        assert group.data.endswith(b"\n")


@pytest.mark.parametrize(
    ("frames", "reason", "offending"),
    [
        ([b"{}"], "bad_frames", b"{}"),
        ([b""], "bad_frames", b""),
        ([b"conn", b"{}", b"{}"], "bad_frames", b"{}"),
        ([b"conn", b"{}", b"{}", b"x"], "bad_frames", b"{}"),
        ([b"", b"{}"], "bad_path", b""),
        ([b"a" * 256, b"{}"], "bad_path", b"a" * 256),
        ([b"../etc", b"{}"], "bad_path", b"../etc"),
        ([b".conn", b"{}"], "bad_path", b".conn"),
        ([b"-conn", b"{}"], "bad_path", b"-conn"),
        ([b"a/b", b"{}"], "bad_path", b"a/b"),
        ([b"a b", b"{}"], "bad_path", b"a b"),
        ([b"a\0", b"{}"], "bad_path", b"a\0"),
        ([b"\xc3\xa4", b"{}"], "bad_path", b"\xc3\xa4"),
        ([b"a/b", b"no json", b"third"], "bad_path", b"a/b"),
        ([b"conn", b'{"a":"' + b"x" * 193 + b'"}'], "too_large", b'{"a":"' + b"x" * 193 + b'"}'),
        ([b"conn", b"\xff" * 600], "too_large", b"\xff" * 512),
        ([b"conn", b""], "bad_json", b""),
        ([b"conn", b"[]"], "bad_json", b"[]"),
        ([b"conn", b'{"a":1}\n'], "bad_json", b'{"a":1}\n'),
    ],
)
def test_each_reason_of_refusal(intake: LogIntake, frames: list[bytes], reason: str, offending: bytes) -> None:
    """A bad message counts once by its first fault, shows the frame at fault, and does not disturb the next one."""
    assert not send(intake, *frames)
    assert intake.counts() == LogCounts(1, 0, 0, 0, 0, 0)._replace(**{reason: 1})
    assert intake.last_refused() == offending
    assert intake.take() == []
    assert send(intake, b"conn", b"{}")
    assert intake.last_refused() == offending


@pytest.mark.parametrize("path", [b"c", b"_x", b"9", b"http-2.x_Y", b"a" * 255])
def test_legal_paths(intake: LogIntake, path: bytes) -> None:
    """Letters, digits and ``_.-`` make a path, up to 255 of them."""
    assert send(intake, path, b"{}")
    assert intake.take()[0].path == path.decode()


def test_a_row_of_exactly_max_row_passes(intake: LogIntake) -> None:
    """The limit is inclusive."""
    assert send(intake, b"conn", b'{"a":"' + b"x" * 192 + b'"}')


def test_take_between_the_frames_keeps_the_message(intake: LogIntake) -> None:
    """A message whose path has come survives the end of a round."""
    send(intake, b"dns", b"{}")
    intake.frame(b"conn", more=True)
    assert [group.path for group in intake.take()] == ["dns"]
    assert intake.frame(b"{}", more=False)
    assert [group.path for group in intake.take()] == ["conn"]


def test_room_ends_with_the_rows() -> None:
    """After max_rows there is no room until take; a message that comes anyway is refused as too large."""
    intake = LogIntake(max_row=100, max_rows=3, arena=1 << 20)
    for _ in range(3):
        assert intake.has_room()
        assert send(intake, b"conn", b"{}")
    assert not intake.has_room()
    assert not send(intake, b"conn", b"{}")
    assert intake.counts().too_large == 1
    assert intake.take()[0].count == 3
    assert intake.has_room()


@given(st.lists(st.integers(0, 91), min_size=1, max_size=60), st.integers(0, 1500))
@settings(max_examples=60, deadline=None)
def test_room_means_room_for_any_legal_message(sizes: list[int], arena: int) -> None:
    """As long as there is room, a row of any legal size with a new path of any legal length is accepted."""
    intake = LogIntake(max_row=100, max_rows=1000, arena=arena)
    assert intake.has_room()
    for i, size in enumerate(sizes):
        if not intake.has_room():
            assert intake.take()
        assert send(intake, b"p%d" % i + b"x" * (250 * (i % 2)), b'{"a":"' + b"x" * size + b'"}')


def test_sequences_count_what_is_missing(intake: LogIntake) -> None:
    """Gaps are missing, numbers before a run's first row are unseen, a number not above the last is a restart."""
    for seq in (3, 4, 7):
        send(intake, b"conn", row(seq, "w1"))
    assert intake.sequences() == [LogSequence("conn", "w1", 7, missing=2, unseen=2, restarts=0)]
    intake.take()
    send(intake, b"conn", row(1, "w1"))
    send(intake, b"conn", row(5, "w1"))
    assert intake.sequences() == [LogSequence("conn", "w1", 5, missing=5, unseen=2, restarts=1)]
    send(intake, b"conn", row(5, "w1"))
    assert intake.sequences() == [LogSequence("conn", "w1", 5, missing=5, unseen=6, restarts=2)]


def test_each_path_and_node_has_its_own_sequence(intake: LogIntake) -> None:
    """Counters do not mix, and rows without a number or refused rows touch none."""
    send(intake, b"conn", row(1, "w1"))
    send(intake, b"conn", row(1, "w2"))
    send(intake, b"dns", row(1, "w1"))
    send(intake, b"dns", row(1))
    send(intake, b"http", row(node="w1"))
    send(intake, b"conn", row(9, "w1") + b"x")
    assert [(s.path, s.node, s.last) for s in intake.sequences()] == [
        ("conn", "w1", 1),
        ("conn", "w2", 1),
        ("dns", "w1", 1),
        ("dns", "", 1),
    ]


def test_the_sequence_table_is_bounded() -> None:
    """Pairs beyond the bound are counted as untracked, those within keep counting."""
    intake = LogIntake(max_row=1000, max_sequences=2)
    for seq in (1, 2):
        for node in ("a", "b", "c"):
            send(intake, b"conn", row(seq, node))
    assert [(s.node, s.last) for s in intake.sequences()] == [("a", 2), ("b", 2)]
    assert intake.untracked == 2
    nameless = LogIntake(max_row=1000)
    send(nameless, b"conn", row(1, "n" * 255))
    send(nameless, b"conn", row(1, "n" * 256))
    assert (len(nameless.sequences()), nameless.untracked) == (1, 1)


@pytest.mark.parametrize("number", ["-1", "1.0", "1e3", '"1"', "null", "true", "[1]", "-0", str(U64_MAX + 1), "9" * 30])
def test_only_whole_numbers_that_fit_are_sequences(intake: LogIntake, number: str) -> None:
    """Anything else under ``_seq`` is just a field."""
    assert send(intake, b"conn", b'{"_seq":%s}' % number.encode())
    assert intake.sequences() == []
    assert intake.untracked == 0


def test_counters_stop_at_the_end_of_their_range(intake: LogIntake) -> None:
    """Numbers a peer makes up cannot make the sums wrap."""
    for seq in (U64_MAX, 0, U64_MAX, 0, U64_MAX):
        send(intake, b"conn", row(seq))
    assert intake.sequences() == [LogSequence("conn", "", U64_MAX, missing=U64_MAX, unseen=U64_MAX - 1, restarts=2)]


@pytest.mark.parametrize(
    ("record", "node", "last"),
    [
        (b'{"_node":"a","_node":"b","_seq":1,"_seq":2}', "b", 2),
        (b'{"_node":"a","_node":1,"_seq":1,"_seq":null}', "", None),
        (b'{"_node":"a","_node":[],"_seq":1,"_seq":{}}', "", None),
        (b'{"_node":"a\\n","_seq":1}', "", 1),
        (b'{"x":{"_node":"a","_seq":1}}', "", None),
        (b'{"x":[{"_node":"a","_seq":1}],"_node":"b"}', "b", None),
        (b'{"_node":["x"],"y":"z"}', "", None),
        (b'{"_node":"","_seq":7}', "", 7),
        (b' { "_seq" : 18446744073709551615 , "_node" : "n" } ', "n", U64_MAX),
        (b'{"_nodes":"a","_se":1,"node_":"b"}', "", None),
    ],
)
def test_marks_come_from_the_top_level(intake: LogIntake, record: bytes, node: str, last: int | None) -> None:
    """Only plain values of the record itself are marks, and of repeated members the last one holds."""
    assert send(intake, b"conn", record)
    assert intake.take() == [LogGroup("conn", node, record + b"\n", 1)]
    assert [s.last for s in intake.sequences()] == ([] if last is None else [last])


class Model:
    """What the intake promises, in plain Python."""

    def __init__(self, max_row: int, max_sequences: int) -> None:
        self.max_row, self.max_sequences = max_row, max_sequences
        self.groups: dict[tuple[str, str], list[bytes]] = {}
        self.counts = dict.fromkeys(LogCounts._fields, 0)
        self.runs: dict[tuple[str, str], list[int]] = {}
        self.untracked = 0

    def message(self, frames: list[bytes]) -> None:
        self.counts["messages"] += 1
        self.counts[self.judge(frames)] += 1

    def judge(self, frames: list[bytes]) -> str:
        if len(frames) == 1:
            return "bad_frames"
        if frames[0] not in (b"conn", b"dns"):
            return "bad_path"
        if len(frames) > 2:
            return "bad_frames"
        if len(frames[1]) > self.max_row:
            return "too_large"
        try:
            record = json.loads(frames[1])
        except ValueError:
            return "bad_json"
        key = (frames[0].decode(), record.get("_node", ""))
        self.groups.setdefault(key, []).append(frames[1] + b"\n")
        if "_seq" in record:
            self.track(key, record["_seq"])
        return "accepted"

    def track(self, key: tuple[str, str], seq: int) -> None:
        if key not in self.runs:
            if len(self.runs) == self.max_sequences:
                self.untracked += 1
            else:
                self.runs[key] = [seq, 0, seq - 1, 0]
            return
        last, missing, unseen, restarts = self.runs[key]
        if seq > last:
            self.runs[key] = [seq, missing + seq - last - 1, unseen, restarts]
        else:
            self.runs[key] = [seq, missing, unseen + seq - 1, restarts + 1]


good_rows = st.builds(row, st.none() | st.integers(1, 9), st.sampled_from(["", "w1", "w2", "ü" * 5]), x=st.integers())
frames = st.sampled_from([b"conn", b"dns", b"", b"a/b", b"{", b'{"x":"' + b"y" * 90 + b'"}']) | good_rows
messages = st.tuples(st.sampled_from([b"conn", b"dns"]), good_rows).map(list) | st.lists(frames, min_size=1, max_size=4)


@given(st.lists(messages | st.none(), max_size=40))
@settings(max_examples=80, deadline=None)
def test_the_intake_behaves_like_the_model(steps: list[list[bytes] | None]) -> None:
    """Any messages, with rounds ended at any time (None), give the model's groups, counts and sequences."""
    intake, model = LogIntake(max_row=90, max_rows=7, max_sequences=3), Model(90, 3)
    for step in steps:
        if step is None or not intake.has_room():
            expected = [LogGroup(*key, b"".join(data), len(data)) for key, data in model.groups.items()]
            assert intake.take() == expected
            model.groups.clear()
        if step is not None:
            send(intake, *step)
            model.message(step)
    assert intake.counts() == LogCounts(**model.counts)
    assert intake.sequences() == [LogSequence(*key, *run) for key, run in model.runs.items()]
    assert intake.untracked == model.untracked


def test_limits_are_checked() -> None:
    """Limits that make no sense, or no memory, are errors and not crashes."""
    with pytest.raises(ValueError, match="out of range"):
        LogIntake(max_row=1)
    with pytest.raises(ValueError, match="out of range"):
        LogIntake(max_row=100, max_rows=0)
    with pytest.raises(MemoryError):
        LogIntake(max_row=2**63)


def test_a_closed_intake_refuses_every_call(intake: LogIntake) -> None:
    """Nothing works after close, and closing twice is harmless."""
    intake.close()
    intake.close()
    calls: list[Callable[[], object]] = [
        intake.has_room,
        intake.take,
        intake.counts,
        intake.sequences,
        intake.last_refused,
        lambda: intake.untracked,
    ]
    for call in calls:
        with pytest.raises(ValueError, match="LogIntake is closed"):
            call()
    with pytest.raises(ValueError, match="closed"):
        intake.frame(b"conn", more=True)
