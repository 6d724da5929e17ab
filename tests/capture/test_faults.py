"""Disks that say no: full, read-only, gone, and no descriptors. Said once, counted, and gone on without a restart."""

from __future__ import annotations

import errno
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from structlog.typing import EventDict

from appliance.capture.segments import SegmentWriter
from appliance.config import Keep, Size
from appliance.runtime import partfile
from appliance.runtime.shares import DiskSpace

from .harness import Bench, later, wait_until

Clock = trio.testing.MockClock


class Fault:
    """A disk that refuses as long as `is_on`."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.is_on = True
        self.refused = 0

    def wrap(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def maybe(*args: Any, **more: Any) -> Any:
            if self.is_on:
                self.refused += 1
                raise OSError(self.number, os.strerror(self.number), "/disk/file")
            return call(*args, **more)

        return maybe


async def suffer(bench: Bench, fault: Fault, clock: Clock) -> None:
    """Packets come while the disk refuses, and after that."""
    async with bench.running():
        await bench.send(b"1", b"2")
        for _ in range(10):
            await later(clock, 5)
            await trio.testing.wait_all_tasks_blocked(0.005)
        assert fault.refused >= 3
        assert bench.figures().write_errors == fault.refused
        assert bench.books().queued == 2
        fault.is_on = False
        await later(clock, 5)
        await wait_until(lambda: bench.books().delivered == 2)
        await bench.send(b"3")
    assert bench.packets() == {"f.pcap": [b"1", b"2", b"3"]}
    assert bench.books().lost == 0


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT])
async def test_disk_that_refuses_to_write_is_waited_for(
    tmp_path: Path, mock_clock: Clock, told: list[EventDict], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """It is told once, and once more when it is over."""
    fault = Fault(number)
    monkeypatch.setattr(SegmentWriter, "_put", fault.wrap(SegmentWriter._put))
    await suffer(Bench(tmp_path, "f.pcap"), fault, mock_clock)
    assert [(entry["event"], entry.get("error")) for entry in told] == [
        ("cannot write packets, trying again", os.strerror(number)),
        ("can write packets again", None),
    ]


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.EROFS, errno.ENOSPC])
async def test_file_that_cannot_be_opened_is_tried_again(
    tmp_path: Path, mock_clock: Clock, told: list[EventDict], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Descriptors that run out are a fault like any other."""
    fault = Fault(number)
    monkeypatch.setattr(partfile, "_open_new", fault.wrap(partfile._open_new))
    await suffer(Bench(tmp_path, "f.pcap"), fault, mock_clock)
    assert len(told) == 2


async def test_descriptors_really_run_out(tmp_path: Path, mock_clock: Clock, told: list[EventDict]) -> None:
    """The process may open nothing more: the socket is read on, and the file appears later."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    bench = Bench(tmp_path, "f.pcap")
    async with bench.running():
        port = bench.port  # opens nothing
        with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as sender:
            highest = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest, before[1]))
            spare = []
            try:
                while True:
                    try:
                        spare.append(os.dup(0))
                    except OSError:
                        break
                await sender.sendto(b"a", ("127.0.0.1", port))
                await wait_until(lambda: bench.account.delivered == 1)
                await later(mock_clock, 1)
                await wait_until(lambda: bench.figures().write_errors)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, before)
                for fd in spare:
                    os.close(fd)
            await later(mock_clock, 5)
            await wait_until(lambda: bench.books().delivered == 1)
    assert bench.packets() == {"f.pcap": [b"a"]}
    assert told[0]["error"] == "Too many open files"


async def test_directory_that_vanishes_is_made_again(tmp_path: Path, mock_clock: Clock, told: list[EventDict]) -> None:
    """What was in the file is lost and booked; what comes is written to a new one at once."""
    folder = tmp_path / "gone"
    bench = Bench(folder, "{seq}.pcap", rotate_packets=4)
    async with bench.running():
        await bench.send(b"1", b"2")
        await later(mock_clock, 1)
        await wait_until(lambda: bench.books().delivered == 2)
        shutil.rmtree(folder)
        await bench.send(b"3", b"4", b"5")
        await later(mock_clock, 1)
        await wait_until(lambda: bench.books().delivered == 3)
    assert bench.packets() == {"1.pcap": [b"3", b"4"], "2.pcap": [b"5"]}
    assert bench.books().dropped == {"vanished": 2}
    assert [segment.packets for segment in bench.items()] == [2, 1]
    (entry,) = told
    assert (entry["event"], entry["lost"]) == ("a file vanished while it was written, beginning another one", 2)


async def test_vanished_file_that_is_rotated_is_no_segment(tmp_path: Path, mock_clock: Clock) -> None:
    """There is nothing to hand on, and whoever asked for it gets an answer."""
    bench = Bench(tmp_path, "{seq}.pcap")
    async with bench.running():
        await bench.send(b"1")
        await later(mock_clock, 1)
        await wait_until(lambda: bench.books().delivered == 1)
        (tmp_path / "1.pcap.part").unlink()
        assert await bench.capture.rotate("raw") == []
        await bench.send(b"2")
    assert bench.packets() == {"2.pcap": [b"2"]}


async def test_file_that_cannot_be_named_is_told_to_who_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: list[EventDict]
) -> None:
    """It stays a ``.part``, and the next start names it."""
    fault = Fault(errno.EROFS)
    monkeypatch.setattr(partfile, "_give_name", fault.wrap(partfile._give_name))
    bench = Bench(tmp_path, "{seq}.pcap")
    async with bench.running():
        await bench.send(b"1")
        with pytest.RaisesGroup(pytest.RaisesExc(OSError, match="Read-only"), allow_unwrapped=True):
            await bench.capture.rotate("raw")
        fault.is_on = False
    assert bench.names() == ["1.pcap.part"]
    again = Bench(tmp_path, "{seq}.pcap")
    async with again.running():
        pass
    assert again.packets() == {"1.pcap": [b"1"]}
    assert [entry["event"] for entry in told] == ["cannot finish a file", "found a file of an earlier run"]


async def test_full_disk_is_shared_by_those_who_keep_files(
    tmp_path: Path, mock_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each gives up the same, although one began much earlier and both are within their own budgets."""
    from .harness import handler_table

    keep = Keep(size=Size(1 << 30))
    handlers = [handler_table(tmp_path, f"{name}{{seq}}.pcap", name=name, keep=keep) for name in ("early", "late")]
    bench = Bench(tmp_path, handlers=handlers)
    capacity = 12_000

    def space(path: str) -> DiskSpace:
        used = sum(file.stat().st_size for file in tmp_path.glob("*.pcap"))
        return DiskSpace(1, capacity - used, 0)

    monkeypatch.setattr(bench.around.disks.shares, "_space", space)
    async with bench.running():
        for number in range(20):
            await bench.send(bytes(960))  # files of 1000 bytes
            await bench.capture.rotate("early")
            if number >= 10:
                await bench.capture.rotate("late")
            await later(mock_clock, 60)
            await trio.testing.wait_all_tasks_blocked(0.002)
    sizes = {name: sum(f.stat().st_size for f in tmp_path.glob(f"{name}*")) for name in ("early", "late")}
    assert sum(sizes.values()) <= capacity
    assert sizes["early"] <= capacity // 2
    assert len(list(tmp_path.glob("early*"))) >= 4
