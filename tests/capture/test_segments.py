"""Segments on difficult disks: stalled, full, gone; files that a crash left; readers that are not ours."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from structlog.typing import EventDict

from appliance.capture.repair import repair_pcap
from appliance.capture.segments import SegmentWriter
from appliance.runtime.partfile import PartFile

from .harness import HEADER, RECORD, Bench, later, packets_in, wait_until

ROOT = Path(__file__).parents[2]
SCRIPT = [sys.executable, "-m", "tests.capture.full_disk"]
TOLD = {"before": 0, "in_order": True, "lost": 0}


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A disk that writes nothing until this is set."""
    event = threading.Event()
    flush = SegmentWriter._flush

    def wait_and_flush(*args: Any) -> None:
        event.wait()
        flush(*args)

    monkeypatch.setattr(SegmentWriter, "_flush", wait_and_flush)
    yield event
    event.set()


def leave(path: Path, *packets: bytes, torn: bytes = b"") -> None:
    """A file of an earlier run."""
    header = bytes.fromhex("4d3cb2a1 0200 0400 00000000 00000000 ffff0000 93000000")
    records = [b"\1\0\0\0\2\0\0\0" + len(p).to_bytes(4, "little") * 2 + p for p in packets]
    path.write_bytes(header + b"".join(records) + torn)


# ── a stalled disk ──


async def test_socket_is_read_while_the_disk_is_stalled(
    tmp_path: Path, mock_clock: trio.testing.MockClock, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Into the other block; nobody spins although a flush is due, and in the end everything is there."""
    bench = Bench(tmp_path, "f.pcap")
    rounds = 0
    check = bench.task().check

    def count(now_s: float) -> float:
        nonlocal rounds
        rounds += 1
        return check(now_s)

    monkeypatch.setattr(bench.task(), "check", count)
    async with bench.running():
        await bench.send(b"a")
        await later(mock_clock, 1)
        await bench.send(b"b")
        await later(mock_clock, 5)
        rounds = 0
        await bench.send(b"c")
        for _ in range(10):
            await later(mock_clock, 0.01)
        assert rounds < 10
        assert bench.books().delivered == 0
        gate.set()
        await wait_until(lambda: bench.books().delivered >= 1)
    assert bench.packets() == {"f.pcap": [b"a", b"b", b"c"]}


async def test_drops_during_a_stall_are_booked_even_if_it_never_ends(
    tmp_path: Path, mock_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch, told: list[EventDict]
) -> None:
    """The disk refuses everything, both blocks are full, the kernel drops; cancellation leaves balanced books."""
    monkeypatch.setattr("appliance.capture.capturer.BLOCK_MAX", 128 << 10)

    def refuse(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SegmentWriter, "_flush", refuse)
    bench = Bench(tmp_path, buffer=4096)
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: bench.capture.run(task_status=task_status))
        for _ in range(40):
            bench.throw([bytes(1000)] * 10)
            await trio.testing.wait_all_tasks_blocked()
            await later(mock_clock, 0.01)
        bench.throw([bytes(1000)] * 100)
        nursery.cancel_scope.cancel()
    bench.check()
    assert bench.books().delivered == 0
    assert bench.account.dropped["kernel"] > 0
    assert bench.books().dropped["shutdown"] > 0
    assert bench.account.received <= 500
    assert {entry["event"] for entry in told} == {"cannot write packets, trying again"}


async def test_cancellation_delivers_what_is_whole_of_a_block(
    tmp_path: Path, mock_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch, told: list[EventDict]
) -> None:
    """The disk took one packet and a half of the last block: the file is cut, and the books say what is in it."""

    def write_half(writer: SegmentWriter, load: Any) -> None:
        if writer._file is None:
            writer._file = writer._open(load.plan)
            with open(writer._file.fd, "ab", closefd=False) as file:
                record = b"\1\0\0\0\2\0\0\0\4\0\0\0\4\0\0\0abcd"
                file.write(record + record[:-2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SegmentWriter, "_flush", write_half)
    bench = Bench(tmp_path, "f.pcap")
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: bench.capture.run(task_status=task_status))
        await bench.send(b"abcd", b"abcd", b"abcd")
        await later(mock_clock, 1)
        await wait_until(lambda: bench.figures().write_errors)
        nursery.cancel_scope.cancel()
    bench.check()
    assert bench.packets() == {"f.pcap": [b"abcd"]}
    assert (bench.books().delivered, bench.books().dropped) == (1, {"shutdown": 2})
    (segment,) = bench.items()
    assert (segment.packets, segment.disk_size) == (1, HEADER + RECORD + 4)


async def test_slow_finish_does_not_hold_up_the_next_segment(
    tmp_path: Path, mock_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Making a large file safe takes seconds; meanwhile packets go into the next one."""
    event = threading.Event()
    finish = PartFile.finish

    def wait_and_finish(*args: Any, **more: Any) -> Path | None:
        event.wait()
        return finish(*args, **more)

    monkeypatch.setattr(PartFile, "finish", wait_and_finish)
    bench = Bench(tmp_path, "{seq}.pcap", rotate_packets=2)
    async with bench.running():
        try:
            await bench.send(*[b"x"] * 9)
            await later(mock_clock, 1)
            await wait_until(lambda: bench.books().delivered == 9)
            assert bench.items() == []
        finally:
            event.set()
        await wait_until(lambda: len(bench.items()) == 4)
    assert [segment.packets for segment in bench.items()] == [2, 2, 2, 2, 1]


# ── a full disk ──


@pytest.mark.slow
def test_file_that_must_not_grow_is_continued_without_a_gap(tmp_path: Path) -> None:
    """RLIMIT_FSIZE: a block is written in part, and goes on where it stopped when the limit is lifted."""
    done = subprocess.run([*SCRIPT, "limit", tmp_path], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == TOLD


@pytest.mark.slow
def test_full_file_system_is_waited_for(tmp_path: Path) -> None:
    """ENOSPC on a file system of 128 KiB that is nearly full; needs the right to mount."""
    mount = f"mount -t tmpfs -o size=128k tmpfs {tmp_path}"
    if subprocess.run(["unshare", "-m", "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("cannot mount here")
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", f'{mount} && exec "$@"', "sh", *SCRIPT, "tmpfs", tmp_path],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == TOLD


async def test_file_that_was_moved_away_is_told_and_costs_no_other(
    tmp_path: Path, told: list[EventDict], mock_clock: trio.testing.MockClock
) -> None:
    """The ``.part`` was moved away under the capturer."""
    bench = Bench(tmp_path, "{seq}.pcap")
    async with bench.running():
        await bench.send(b"a")
        await later(mock_clock, 1)
        await wait_until(lambda: bench.books().delivered)
        (tmp_path / "1.pcap.part").rename(tmp_path / "elsewhere")
        await later(mock_clock, 3600)
        await wait_until(lambda: bench.figures().write_errors == 1)
        await bench.send(b"b")
    assert bench.packets() == {"2.pcap": [b"b"], "elsewhere": [b"a"]}
    assert [entry["event"].startswith("a file vanished while") for entry in told] == [True]


# ── what a crash left ──


async def test_leftovers_are_finished_at_the_start(tmp_path: Path, told: list[EventDict]) -> None:
    """A torn record is cut off; a file without a packet goes; what is no capture stays."""
    leave(tmp_path / "07-1.pcap.part", b"one", b"two", torn=b"\1\0\0\0\2\0\0\0\377\0\0\0")
    leave(tmp_path / "08-1.pcap.part")
    (tmp_path / "09-1.pcap.part").write_bytes(b"")
    (tmp_path / "10-1.pcap.part").write_bytes(b"this is no capture file at all")
    leave(tmp_path / "other.part", b"one")
    bench = Bench(tmp_path)
    async with bench.running():
        pass
    assert bench.names() == ["07-1.pcap", "10-1.pcap.part", "other.part"]
    assert [packet.data for packet in packets_in(tmp_path / "07-1.pcap")] == [b"one", b"two"]
    assert bench.figures().writer.recovered == 1
    (segment,) = bench.items()
    assert (segment.path, segment.packets) == (str(tmp_path / "07-1.pcap"), 2)
    assert segment.disk_size == (tmp_path / "07-1.pcap").stat().st_size
    outcomes = {Path(entry["part"]).name: entry["outcome"] for entry in told}
    assert outcomes == {
        "07-1.pcap.part": "finished", "08-1.pcap.part": "removed", "09-1.pcap.part": "removed",
        "10-1.pcap.part": "failed",
    }  # fmt: skip


async def test_file_that_another_process_writes_is_left_alone(
    tmp_path: Path, told: list[EventDict], mock_clock: trio.testing.MockClock
) -> None:
    """Two capturers may have the same pattern: each has names of its own."""
    one, two = Bench(tmp_path, "f.pcap"), Bench(tmp_path, "f.pcap")
    async with one.running():
        await one.send(b"a")
        await later(mock_clock, 1)
        await wait_until(lambda: one.names() == ["f.pcap.part"])
        async with two.running():
            await two.send(b"b")
        assert two.names() == ["f-1.pcap", "f.pcap.part"]
    assert one.packets() == {"f-1.pcap": [b"b"], "f.pcap": [b"a"]}
    assert [entry["outcome"] for entry in told] == ["locked"]


def test_repair_keeps_whole_records(tmp_path: Path) -> None:
    """Wherever the tear is."""
    whole = tmp_path / "whole"
    leave(whole, b"one", b"two")
    data = whole.read_bytes()
    ends = [HEADER + RECORD + 3, HEADER + 2 * (RECORD + 3)]
    for length in range(len(data) + 1):
        torn = tmp_path / "torn"
        torn.write_bytes(data[:length])
        keep = max((end for end in ends if end <= length), default=0)
        repaired = repair_pcap(torn)
        assert (repaired.size, repaired.cut) == (keep, length - keep)
        assert torn.read_bytes() == data[:keep]


# ── other readers ──


@pytest.mark.slow
async def test_tshark_reads_what_was_recorded(tmp_path: Path) -> None:
    """Count, times to the nanosecond, lengths, and the link type."""
    if shutil.which("tshark") is None:
        pytest.skip("no tshark here")
    bench = Bench(tmp_path, "f.pcap")
    sent = [bytes([n]) * (n * 37 % 1400) for n in range(200)]
    async with bench.running():
        await bench.send(*sent)
    fields = [f"-e{field}" for field in ("frame.time_epoch", "frame.len", "frame.cap_len", "frame.encap_type")]
    command = ["tshark", "-r", str(tmp_path / "f.pcap"), "-T", "fields", *fields]
    shown = await trio.run_process(command, capture_stdout=True, capture_stderr=True)
    lines = [line.split("\t") for line in shown.stdout.decode().splitlines()]
    packets = packets_in(tmp_path / "f.pcap")
    assert [int(line[1]) for line in lines] == [int(line[2]) for line in lines] == [len(packet) for packet in sent]
    assert [line[0] for line in lines] == [f"{p.ts_ns // 10**9}.{p.ts_ns % 10**9:09}" for p in packets]
    assert {line[3] for line in lines} == {"45"}  # WTAP_ENCAP_USER0
