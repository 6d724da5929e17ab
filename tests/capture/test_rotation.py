"""Rotation by real elapsed time, in virtual time: calendars, steps of the clock, idle streams, and force."""

from __future__ import annotations

import calendar
import datetime as dt
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from appliance.model import Segment

from .harness import Bench, S, later, wait_until

Clock = trio.testing.MockClock
STAMP = "%Y-%m-%dT%H:%M:%S"


def at(text: str) -> int:
    """Nanoseconds of a UTC time."""
    return calendar.timegm(dt.datetime.fromisoformat(text).timetuple()) * S


def bench_at(folder: Path, opened: str, **handler: Any) -> Bench:
    bench = Bench(folder, f"{STAMP}-{{seq}}.pcap", **handler)
    bench.wall_ns = at(opened)
    return bench


async def live(bench: Bench, clock: Clock, seconds: float) -> bool:
    """Record a packet, let time pass without one; returns whether the segment has ended by itself."""
    await bench.send(b"a")
    await later(clock, 1)
    await wait_until(lambda: bench.books().delivered)
    await later(clock, seconds - 1)
    await trio.testing.wait_all_tasks_blocked(0.02)
    return bool(bench.items())


# The first column is what the calendar's fields differ by, the third how long a segment that is not aligned lives.
TABLE = [
    ("hour", 1, "2026-03-01T10:59:59", 3600),
    ("hour", 1, "2026-03-01T10:00:00", 3600),
    ("hour", 6, "2026-03-01T23:50:00", 6 * 3600),
    ("minute", 15, "2026-03-01T10:50:00", 15 * 60),
    ("second", 30, "2026-03-01T10:00:45", 30),
    ("second", 90, "2026-03-01T10:00:00", 90),
    ("minute", 90, "2026-03-01T10:00:00", 90 * 60),
    ("hour", 36, "2026-03-01T10:00:00", 36 * 3600),
    ("day", 7, "2026-05-30T00:00:00", 7 * 86400),
    ("year", 1, "2026-12-31T23:59:59", 365 * 86400),
    ("month", 14, "2026-01-15T00:00:00", 424 * 86400),
]


@pytest.mark.parametrize(("unit", "delta", "opened", "lives_s"), TABLE)
async def test_segment_lives_for_the_elapsed_time(
    tmp_path: Path, mock_clock: Clock, unit: str, delta: int, opened: str, lives_s: int
) -> None:
    """Not until a field of the calendar differs: neither earlier nor later, without a packet."""
    bench = bench_at(tmp_path, opened, rotate_log_index=unit, rotate_log_delta=delta, align=False)
    async with bench.running():
        assert not await live(bench, mock_clock, lives_s - 0.5)
        await later(mock_clock, 1)
        await wait_until(bench.items)


@pytest.mark.parametrize(
    ("unit", "delta", "opened", "ends"),
    [
        ("hour", 1, "2026-03-01T10:59:59", "2026-03-01T11:00:00"),
        ("hour", 1, "2026-03-01T10:00:00", "2026-03-01T11:00:00"),
        ("hour", 6, "2026-03-01T23:50:00", "2026-03-02T00:00:00"),
        ("minute", 15, "2026-03-01T10:50:00", "2026-03-01T11:00:00"),
        ("second", 30, "2026-03-01T10:00:45", "2026-03-01T10:01:00"),
        ("second", 90, "2026-03-01T10:00:10", "2026-03-01T10:01:30"),
        ("day", 1, "2026-02-28T12:00:00", "2026-03-01T00:00:00"),
        ("month", 1, "2026-05-30T00:00:00", "2026-06-01T00:00:00"),
        ("year", 1, "2026-12-31T23:59:50", "2027-01-01T00:00:00"),
    ],
)
async def test_aligned_segment_ends_at_the_boundary(
    tmp_path: Path, mock_clock: Clock, unit: str, delta: int, opened: str, ends: str
) -> None:
    """Of the UTC clock, and the next one is named after it."""
    bench = bench_at(tmp_path, opened, rotate_log_index=unit, rotate_log_delta=delta)
    lives_s = (at(ends) - at(opened)) / S
    async with bench.running():
        if lives_s > 2:
            assert not await live(bench, mock_clock, lives_s - 0.5)
            await later(mock_clock, 0.5)
        else:
            await bench.send(b"a")
            await later(mock_clock, lives_s)
        await wait_until(bench.items)
        await bench.send(b"b")
    assert [Path(segment.path).name for segment in bench.items()] == [f"{opened}-1.pcap", f"{ends}-2.pcap"]


@pytest.mark.parametrize(
    ("step_h", "opened"), [(-1, "2026-03-01T11:00:00"), (-24, "2026-03-02T00:05:00"), (5, "2026-03-01T11:00:00")]
)
async def test_step_of_the_wall_clock_neither_stops_nor_causes_rotation(
    tmp_path: Path, mock_clock: Clock, step_h: int, opened: str
) -> None:
    """Backwards over midnight, too; afterwards everything goes on by the new time."""
    bench = bench_at(tmp_path, opened, align=False)
    async with bench.running():
        await bench.send(b"a")
        await later(mock_clock, 600)
        bench.wall_ns += step_h * 3600 * S
        await bench.send(b"b")
        await later(mock_clock, 2000)
        await trio.testing.wait_all_tasks_blocked(0.02)
        assert bench.items() == []
        await later(mock_clock, 1001)
        await wait_until(bench.items)
        await bench.send(b"c")
        await later(mock_clock, 3601)
        await wait_until(lambda: len(bench.items()) == 2)
    assert [segment.packets for segment in bench.items()] == [2, 1]


async def test_two_rotations_within_one_second_are_two_files(tmp_path: Path) -> None:
    """The second one gets a number; none is continued."""
    bench = Bench(tmp_path, f"{STAMP}.pcap")
    async with bench.running():
        for packet in (b"a", b"b", b"c"):
            await bench.send(packet)
            (segment,) = await bench.capture.rotate("raw")
            assert segment.packets == 1
    stamp = "2023-11-14T22:13:20"
    assert bench.packets() == {f"{stamp}.pcap": [b"a"], f"{stamp}-1.pcap": [b"b"], f"{stamp}-2.pcap": [b"c"]}


async def test_forced_rotation_tells_what_it_finished(tmp_path: Path) -> None:
    """The file is there under its name when the call returns; without a segment there is nothing to tell."""
    bench = Bench(tmp_path, "{seq}.pcap")
    async with bench.running():
        assert await bench.capture.rotate("raw") == []
        await bench.send(b"one", b"three")
        (segment,) = await bench.capture.rotate("raw")
        assert isinstance(segment, Segment)
        assert (segment.path, segment.packets, segment.drops) == (str(tmp_path / "1.pcap"), 2, 0)
        assert Path(segment.path).stat().st_size == segment.disk_size
        assert bench.names() == ["1.pcap"]
        assert await bench.capture.rotate("raw") == []
        with pytest.raises(KeyError):
            await bench.capture.rotate("nobody")


async def test_rotation_that_is_waited_for_ends_with_the_service(tmp_path: Path, mock_clock: Clock) -> None:
    """Nobody waits for ever for a segment that was cut short."""
    bench = Bench(tmp_path)
    async with trio.open_nursery() as outer, trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: bench.capture.run(task_status=task_status))
        await bench.send(b"a")
        outer.start_soon(bench.capture.rotate, "raw")
        await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()


async def test_limits_hold_for_each_handler_by_itself(tmp_path: Path) -> None:
    """By packets, by size and by time, of the same packets."""
    from .harness import handler_table

    handlers = [
        handler_table(tmp_path, "p{seq}.pcap", name="packets", rotate_packets=3),
        handler_table(tmp_path, "s{seq}.pcap", name="size", rotate_size=4096),
        handler_table(tmp_path, "t{seq}.pcap", name="time"),
    ]
    bench = Bench(tmp_path, handlers=handlers)
    sent = [bytes([n]) * 1000 for n in range(10)]
    async with bench.running():
        await bench.send(*sent)
    found = bench.packets()
    assert [found[f"p{n}.pcap"] for n in range(1, 5)] == [sent[0:3], sent[3:6], sent[6:9], sent[9:]]
    assert [len(found[f"s{n}.pcap"]) for n in range(1, 4)] == [4, 4, 2]
    assert found["t1.pcap"] == sent


@pytest.mark.parametrize("capture_format", ["pcap", "pcapng"])
async def test_size_limit_counts_everything_in_the_file(tmp_path: Path, capture_format: str) -> None:
    """Headers and statistics, too."""
    bench = Bench(tmp_path, "{seq}", rotate_size=5000, format=capture_format)
    async with bench.running():
        await bench.send(*[bytes(700)] * 20)
    sizes = [Path(segment.path).stat().st_size for segment in bench.items()]
    assert sum(segment.packets for segment in bench.items()) == 20
    assert sizes == [segment.disk_size for segment in bench.items()]
    assert all(5000 - 1000 < size <= 5000 for size in sizes[:-1])
