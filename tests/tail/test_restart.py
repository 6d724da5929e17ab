"""Stops, starts and crashes: where reading goes on."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from structlog.typing import EventDict

from appliance.tail.position import load_positions

from .harness import NUMBER, Bench, header, logs_in, open_bench, rows, tsv, wait_until

ROOT = Path(__file__).parents[2]


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


async def test_restart_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """Each record once over any number of lives, a torn line and the header included."""
    path = tmp_path / "conn.log"
    path.write_bytes(header())
    for i in range(5):
        append(path, tsv(2 * i, 2 * i + 1)[:-4])
        async with open_bench(tmp_path) as bench:
            await bench.wait_numbers(*((2 * i,) if i == 0 else (2 * i - 1, 2 * i)) if i else (0,))
        append(path, tsv(2 * i + 1)[-4:])
    async with open_bench(tmp_path) as bench:
        await bench.wait_numbers(9)


async def test_restart_finds_files_under_their_new_names(tmp_path: Path) -> None:
    """What was renamed, written to and created while nobody watched is read, in order."""
    path = tmp_path / "conn.log"
    path.write_bytes(header() + tsv(1))
    async with open_bench(tmp_path) as bench:
        await bench.wait_numbers(1)
    append(path, tsv(2) + b"#close\t2026\n")
    os.utime(path, (1_000_000, 1_000_000))
    path.rename(tmp_path / "conn.2026-11-21-02-00-00.log")
    path.write_bytes(header() + tsv(3))
    async with open_bench(tmp_path) as bench:
        await bench.wait_numbers(2, 3)


async def test_restart_recognises_archives_and_restored_files(tmp_path: Path) -> None:
    """An archive of a file, or the file on another disk, is read from where the file had been read to."""
    path = tmp_path / "conn.log"
    path.write_bytes(header() + tsv(1, 2))
    (tmp_path / "dns.log").write_bytes(rows(3, 4))
    async with open_bench(tmp_path) as bench:
        await wait_until(lambda: len(bench.numbers) == 4)
    (tmp_path / "conn.2026-11-21-02-00-00.log.gz").write_bytes(gzip.compress(path.read_bytes() + tsv(5)))
    path.unlink()
    data = (tmp_path / "dns.log").read_bytes()
    (tmp_path / "dns.log").rename(tmp_path / "old inode")
    (tmp_path / "dns.log").write_bytes(data + rows(6))
    async with open_bench(tmp_path) as bench:
        await wait_until(lambda: len(bench.numbers) >= 2)
        assert sorted(bench.numbers) == [5, 6]


async def test_restart_knows_a_used_inode_from_its_old_file(tmp_path: Path) -> None:
    """Other bytes in a file of the same number are another file; fewer bytes are a truncated one."""
    path = tmp_path / "conn.log"
    path.write_bytes(rows(1, 2))
    (tmp_path / "dns.log").write_bytes(rows(3, 4))
    async with open_bench(tmp_path) as bench:
        await wait_until(lambda: len(bench.numbers) == 4)
    path.write_bytes(rows(5, 6, 7))
    (tmp_path / "dns.log").write_bytes(rows(8))
    async with open_bench(tmp_path) as bench:
        await wait_until(lambda: len(bench.numbers) >= 4)
        assert sorted(bench.numbers) == [5, 6, 7, 8]


async def test_restart_after_copy_and_truncate(tmp_path: Path) -> None:
    """The copy is read on, and the original from its start, also if both happened while nobody watched."""
    path = tmp_path / "conn.log"
    path.write_bytes(header() + tsv(1, 2))
    async with open_bench(tmp_path) as bench:
        await bench.wait_numbers(1, 2)
    append(path, tsv(3))
    (tmp_path / "conn.log.1").write_bytes(path.read_bytes())
    os.utime(tmp_path / "conn.log.1", (1_000_000, 1_000_000))
    path.write_bytes(tsv(4))
    async with open_bench(tmp_path) as bench:
        await bench.wait_numbers(3, 4)


async def test_files_that_did_not_change_are_not_opened_again(tmp_path: Path) -> None:
    """A folder with years of archives costs a look, and no unpacking."""
    for i in range(20):
        (tmp_path / f"conn.2026-11-{i + 1:02}-00-00-00.log.gz").write_bytes(gzip.compress(rows(i)))
    async with open_bench(tmp_path) as bench:
        await wait_until(lambda: len(bench.numbers) == 20)
    async with open_bench(tmp_path) as bench:
        (tmp_path / "dns.log").write_bytes(rows(20))
        await bench.wait_numbers(20)
        assert bench.tail.statistics().open_files == 1


@pytest.mark.slow
async def test_positions_are_saved_behind_the_consumers(tmp_path: Path) -> None:
    """What a consumer has not settled would be read again after a crash."""
    path, state = tmp_path / "conn.log", tmp_path / "state" / "tail-logs.json"
    path.write_bytes(rows(1, 2))
    bench = Bench(tmp_path, logs_in(tmp_path))

    def saved() -> int:
        return sum(position.rows for position in load_positions(state) or ())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.consumer.run)
        await nursery.start(bench.tail.run)
        await wait_until(lambda: saved() == 2)
        bench.consumer.is_held = True
        append(path, rows(3))
        await wait_until(lambda: bench.figures.delivered == 3)
        with trio.move_on_after(1.5):
            await trio.sleep_forever()
        assert saved() == 2
        bench.consumer.is_held = False
        await wait_until(lambda: saved() == 3)
        nursery.cancel_scope.cancel()


async def test_cancelled_tail_saves_what_was_settled(tmp_path: Path) -> None:
    """What waited in queues, and what the tail still held for a slow consumer, is read again."""
    path = tmp_path / "conn.log"
    path.write_bytes(rows(1))
    bench = Bench(tmp_path, logs_in(tmp_path))
    bench.consumer.queue.configure(policy="block", max_records=1, max_bytes=1000)
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.tail.run)
        await wait_until(lambda: bench.consumer.queue.waiting == 1)
        async with bench.consumer.queue.lease(1) as parcel:
            parcel.deliver(1)
        append(path, rows(2))
        await wait_until(lambda: bench.consumer.queue.waiting == 1)
        append(path, rows(3))
        await wait_until(lambda: bench.figures.received == 3)
        nursery.cancel_scope.cancel()
    assert bench.figures.imbalance == 0
    async with open_bench(tmp_path) as other:
        await wait_until(lambda: len(other.numbers) >= 2)
        assert other.numbers[-2:] == [2, 3]  # 1 is there, too, unless its position was saved in time


async def test_tail_runs_again_on_the_same_object(tmp_path: Path) -> None:
    """As the supervisor has it after a failure, also if positions could not be saved."""
    path = tmp_path / "conn.log"
    path.write_bytes(rows(1))
    bench = Bench(tmp_path, logs_in(tmp_path))
    (tmp_path / "state" / "tail-logs.json.part").mkdir(parents=True)  # where the new file would be written
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.consumer.run)
        for i in range(2, 5):
            async with trio.open_nursery() as inner:
                await inner.start(bench.tail.run)
                await bench.wait_numbers(*range(1, i))
                inner.cancel_scope.cancel()
            append(path, rows(i))
        assert not bench.tail.statistics().is_saving
        nursery.cancel_scope.cancel()


async def test_broken_positions_are_put_aside(tmp_path: Path, told: list[EventDict]) -> None:
    """Everything is read again rather than nothing, and it is said loudly."""
    (tmp_path / "conn.log").write_bytes(rows(1))
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "tail-logs.json").write_text("{")
    async with open_bench(tmp_path) as bench:
        await bench.wait_numbers(1)
    assert (tmp_path / "state" / "tail-logs.json.broken").read_text() == "{"
    assert [entry["event"] for entry in told if entry["log_level"] == "error"] == [
        "positions are lost: files are read from the start"
    ]


PROGRAM = """
import sys, trio
from pathlib import Path
from tests.tail.harness import Bench, logs_in

async def main(folder):
    bench = Bench(folder, logs_in(folder))
    out = open(folder / "out", "ab", buffering=0)
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.tail.run)
        while True:
            async with bench.consumer.queue.lease(1000) as parcel:
                out.write(b"".join(item.data for item in parcel.items))
                parcel.deliver(parcel.count)

trio.run(main, Path(sys.argv[1]))
"""


class Output:
    """The numbers in a file of rows, read as it grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self.lines = 0
        self.numbers: set[int] = set()

    def read(self) -> int:
        """How many different numbers there are now."""
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        end = data.rfind(b"\n") + 1
        found = [int(number) for number in NUMBER.findall(data[:end])]
        self.lines += len(found)
        self.numbers.update(found)
        self._offset += end
        return len(self.numbers)


@pytest.mark.slow
async def test_killed_tail_loses_nothing_and_repeats_little(tmp_path: Path) -> None:
    """kill -9 at any moment while a writer writes and rotates: every record arrives, some of each life twice."""
    path = tmp_path / "out"
    path.touch()
    output = Output(path)
    command = [sys.executable, "-m", "tests.tail.writer", str(tmp_path), "4", "0.4", "tsv", "20"]
    writer = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    for i in range(5):
        life = subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path)], cwd=ROOT)
        if i == 4:
            break
        with trio.move_on_after(0.8 + 0.1 * i):
            await trio.sleep_forever()
        life.send_signal(signal.SIGKILL)
        life.wait()
        with path.open("rb+") as file:  # a torn last line was not settled
            file.truncate(path.read_bytes().rfind(b"\n") + 1)
    try:
        written = int(await trio.to_thread.run_sync(lambda: writer.communicate()[0]))
        await wait_until(lambda: output.read() == written, timeout_s=60)
        assert output.numbers == set(range(written))
        print(f"{written} records, {output.lines - written} of them again")
        assert output.lines - written < written
    finally:
        life.kill()
        life.wait()
