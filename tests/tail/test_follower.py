"""A tail that runs: files that grow, rotate, vanish and come back, each record exactly once."""

from __future__ import annotations

import ctypes
import gzip
import os
import shutil
import struct
import sys
from pathlib import Path

import msgspec
import pytest
import structlog
import trio
from structlog.typing import EventDict

from appliance.model import LogBatch
from appliance.tail import roster
from appliance.units import Duration, Size

from .harness import header, logs_in, open_bench, rows, tsv, wait_until

ROOT = Path(__file__).parents[2]


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


async def test_what_is_there_and_what_is_appended_is_handed_on(tmp_path: Path) -> None:
    """TSV and JSON, by the path of the header or of the file."""
    (tmp_path / "a.log").write_bytes(header("conn") + tsv(1, 2))
    (tmp_path / "dns.log").write_bytes(b"")
    async with open_bench(tmp_path) as bench:
        await bench.wait_numbers(1, 2)
        append(tmp_path / "a.log", tsv(3))
        await bench.wait_numbers(1, 2, 3)
        append(tmp_path / "dns.log", rows(4, 5))
        await bench.wait_numbers(1, 2, 3, 4, 5)
        assert bench.consumer.counts == {"conn": 3, "dns": 2}
        assert bench.consumer.batches[0] == LogBatch(
            path="conn",
            source="tail.logs",
            data=b'{"n":1,"text":"record number 1"}\n{"n":2,"text":"record number 2"}\n',
            count=2,
            columns=(("n", "count"), ("text", "string"), ("tags", "set[string]")),
        )
        assert bench.tail.statistics().paths == {"conn": 3, "dns": 2}


async def test_line_is_held_back_until_its_end_comes(tmp_path: Path) -> None:
    """Half a record is none."""
    path = tmp_path / "conn.log"
    async with open_bench(tmp_path) as bench:
        for i in range(3):
            line = rows(2 * i, 2 * i + 1)
            append(path, line[:-7])
            await bench.wait_numbers(*range(2 * i + 1))
            append(path, line[-7:])
            await bench.wait_numbers(*range(2 * i + 2))


async def test_renamed_file_is_read_to_its_end_before_the_new_one(tmp_path: Path) -> None:
    """Rotation by rename loses nothing, keeps the order, and reads nothing twice."""
    path = tmp_path / "conn.log"
    path.write_bytes(header() + tsv(0))
    async with open_bench(tmp_path) as bench:
        for i in range(5):
            await bench.wait_numbers(*range(3 * i + 1))
            append(path, tsv(3 * i + 1, 3 * i + 2) + b"#close\t2026-11-21-02-24-13\n")
            path.rename(tmp_path / f"conn.2026-11-21-02-00-0{i}.log")
            path.write_bytes(header() + tsv(3 * i + 3))
        await bench.wait_numbers(*range(16))
        await wait_until(lambda: bench.tail.statistics().open_files == 1)  # the others have ended


async def test_file_is_read_to_its_end_after_it_was_renamed_out_of_sight(tmp_path: Path) -> None:
    """Nor is anything lost if the new name is none of ours, or there is none any more."""
    path = tmp_path / "conn.log"
    path.write_bytes(rows(1))
    async with open_bench(tmp_path) as bench:
        await bench.wait_numbers(1)
        file = path.open("ab", buffering=0)
        path.rename(tmp_path / "elsewhere")
        path.write_bytes(rows(3))
        await bench.wait_numbers(1, 3)
        file.write(rows(2))
        await bench.wait_numbers(1, 3, 2)
        path.unlink()
        file.write(rows(4))
        await bench.wait_numbers(1, 3, 2, 4)
        file.close()


async def test_late_writes_are_read_until_the_file_surely_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deleted file is let go after a while; a line without an end is counted then."""
    monkeypatch.setattr(roster, "LINGER_S", 0.2)
    path = tmp_path / "conn.log"
    path.write_bytes(rows(1) + b'{"n":')
    async with open_bench(tmp_path) as bench:
        await bench.wait_numbers(1)
        path.unlink()
        await wait_until(lambda: bench.tail.statistics().files == 0)
        assert bench.tail.statistics().open_files == 0
        await wait_until(lambda: bench.figures.dropped == {"torn_line": 1})
        assert bench.figures.received == 2


async def test_truncated_file_is_read_from_its_start(tmp_path: Path) -> None:
    """Also if it has become longer than it was before we look again; a header is not needed again."""
    path = tmp_path / "conn.log"
    path.write_bytes(header() + tsv(1, 2))
    async with open_bench(tmp_path) as bench:
        await bench.wait_numbers(1, 2)
        path.write_bytes(tsv(3))
        await bench.wait_numbers(1, 2, 3)
        path.write_bytes(tsv(*range(4, 60)))
        await bench.wait_numbers(*range(1, 60))
        path.write_bytes(rows(60))
        await bench.wait_numbers(*range(1, 61))
        assert bench.tail.statistics().cuts == 3


async def test_copy_and_truncate_loses_and_repeats_nothing(tmp_path: Path) -> None:
    """The copy is read from where the original had been read to, when the original was cut."""
    path = tmp_path / "conn.log"
    path.write_bytes(rows(1, 2))
    async with open_bench(tmp_path) as bench:
        await bench.wait_numbers(1, 2)
        shutil.copy(path, tmp_path / "conn.log.1")
        await wait_until(lambda: bench.tail.statistics().copies == 1)
        append(tmp_path / "conn.log.1", rows(3))  # as if it had been written between our last look and the copy
        os.truncate(path, 0)
        await bench.wait_numbers(1, 2, 3)
        append(path, rows(4))
        await bench.wait_numbers(1, 2, 3, 4)
        assert bench.tail.statistics().copies == 0


async def test_archive_of_a_file_that_was_read_adds_nothing(tmp_path: Path) -> None:
    """gzip(1) makes the archive beside the file and then removes the file."""
    path = tmp_path / "conn.2026-11-21-02-00-00.log"
    path.write_bytes(header() + tsv(1, 2) + b"#close\t2026\n")
    async with open_bench(tmp_path) as bench:
        await bench.wait_numbers(1, 2)
        archive = Path(f"{path}.gz")
        archive.write_bytes(gzip.compress(path.read_bytes()))
        await wait_until(lambda: bench.tail.statistics().copies == 1)
        path.unlink()
        await wait_until(lambda: bench.tail.statistics().copies == 0)
        await wait_until(lambda: archive.stat().st_size in [position.size for position in bench.tail._positions()])
        (tmp_path / "dns.log").write_bytes(rows(3))
        await bench.wait_numbers(1, 2, 3)


async def test_archive_of_a_file_that_was_never_seen_is_read(tmp_path: Path) -> None:
    """Archives that the globs name are read like files."""
    (tmp_path / "conn.2026-11-21-02-00-00.log.gz").write_bytes(gzip.compress(header() + tsv(*range(50_000))))
    async with open_bench(tmp_path) as bench:
        await bench.wait_numbers(*range(50_000))
        assert bench.consumer.counts == {"conn": 50_000}


async def test_files_of_one_log_are_read_one_after_the_other(tmp_path: Path) -> None:
    """A backlog comes in the order in which it was written, whatever the names say."""
    for i, name in enumerate(("conn.log.2", "conn.log.1", "conn.log")):
        (tmp_path / name).write_bytes(rows(*range(30_000 * i, 30_000 * (i + 1))))
        os.utime(tmp_path / name, (1_000_000 + i, 1_000_000 + i))
    async with open_bench(tmp_path) as bench:
        await bench.wait_numbers(*range(90_000))


async def test_hard_and_symbolic_links_name_one_file(tmp_path: Path) -> None:
    """A file is known by what it is."""
    (tmp_path / "conn.log").write_bytes(rows(1))
    (tmp_path / "other.log").symlink_to(tmp_path / "conn.log")
    (tmp_path / "third.log").hardlink_to(tmp_path / "conn.log")
    async with open_bench(tmp_path) as bench:
        append(tmp_path / "third.log", rows(2))
        await bench.wait_numbers(1, 2)
        assert bench.tail.statistics().files == 1


async def test_same_content_under_the_same_name_is_new(tmp_path: Path) -> None:
    """A file that was deleted and made again is no copy."""
    path = tmp_path / "conn.log"
    path.write_bytes(rows(1))
    async with open_bench(tmp_path) as bench:
        await bench.wait_numbers(1)
        path.unlink()
        path.write_bytes(rows(1))
        await bench.wait_numbers(1, 1)


async def test_same_content_in_another_log_is_no_copy(tmp_path: Path) -> None:
    """Two filters of Zeek may write the same records to two logs."""
    (tmp_path / "conn.log").write_bytes(rows(1))
    (tmp_path / "conn-2.log").write_bytes(rows(1))
    async with open_bench(tmp_path) as bench:
        await bench.wait_numbers(1, 1)
        assert bench.consumer.counts == {"conn": 1, "conn-2": 1}


async def test_slow_consumer_does_not_hide_new_files(tmp_path: Path) -> None:
    """Files are opened while records wait, so that they may leave our sight before they are read."""
    async with open_bench(tmp_path) as bench:
        bench.consumer.is_held = True
        bench.consumer.queue.configure(policy="block", max_records=1, max_bytes=1000)
        for i in range(30):
            (tmp_path / f"log{i}.log").write_bytes(rows(2 * i, 2 * i + 1))
        (tmp_path / "conn.log").write_bytes(rows(60))
        await wait_until(lambda: bench.tail.statistics().open_files == 31)
        for path in tmp_path.glob("*.log"):
            path.unlink()
        bench.consumer.is_held = False
        await wait_until(lambda: len(bench.numbers) >= 61)
        assert sorted(bench.numbers) == list(range(61))


async def test_folders_may_appear_later(tmp_path: Path) -> None:
    """And go, and come back."""
    async with open_bench(tmp_path, logs_in(tmp_path, "*/logs/*.log")) as bench:
        for i in range(3):
            (tmp_path / "a" / "logs").mkdir(parents=True)
            (tmp_path / "a" / "logs" / "conn.log").write_bytes(rows(i))
            await bench.wait_numbers(*range(i + 1))
            shutil.rmtree(tmp_path / "a")


async def test_bad_lines_are_counted_and_told_once(tmp_path: Path, told: list[EventDict]) -> None:
    """What is around them is read; a flood of them is one line in our own log."""
    (tmp_path / "conn.log").write_bytes(header() + tsv(1) + b"nonsense\n" * 5000 + tsv(2))
    config = msgspec.structs.replace(logs_in(tmp_path), max_record=Size(200))
    async with open_bench(tmp_path, config) as bench:
        await bench.wait_numbers(1, 2)
        append(tmp_path / "conn.log", b"x" * 300 + b"\n" + tsv(3))
        await bench.wait_numbers(1, 2, 3)
        assert bench.figures.dropped == {"bad_line": 5000, "too_large": 1}
    assert [entry["reason"] for entry in told if entry["event"] == "refused a line"] == ["no count in 'n': b'nonsense'"]


@pytest.mark.slow
async def test_file_that_may_not_be_read_is_told_once(tmp_path: Path) -> None:
    """The others are read meanwhile, and the file when it may be."""
    (tmp_path / "secret.log").write_bytes(rows(1))
    (tmp_path / "secret.log").chmod(0)
    (tmp_path / "conn.log").write_bytes(rows(2))
    script = "import sys, tests.tail.test_follower as t; t.read_without_rights(sys.argv[1])"
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode() == "cannot read a file\na file can be read again\n"


def read_without_rights(folder: str) -> None:
    """The body of the test above, in a process for which permissions count even if it is root's."""
    structlog.configure(processors=[lambda _, __, entry: entry["event"]])
    header, data = struct.pack("Ii", 0x20080522, 0), ctypes.create_string_buffer(24)  # capset(2), version 3
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.capget(header, data) == 0
    effective, *others = struct.unpack("6I", data.raw)
    assert libc.capset(header, struct.pack("6I", effective & ~0b110, *others)) == 0  # CAP_DAC_OVERRIDE, _READ_SEARCH

    async def main(folder: Path) -> None:
        async with open_bench(folder) as bench:
            for i in range(2, 6):
                append(folder / "conn.log", rows(i + 1))
                (folder / f"new{i}.log").write_bytes(rows(10 * i))
                await wait_until(lambda i=i: {i + 1, 10 * i} <= {*bench.numbers})  # type: ignore[misc]
            assert "secret.log" in bench.tail.statistics().unreadable[0]
            (folder / "secret.log").chmod(0o600)
            await wait_until(lambda: 1 in bench.numbers)
            await wait_until(lambda: bench.tail.statistics().unreadable == ())

    trio.run(main, Path(folder))


async def test_broken_archive_costs_nobody_else(tmp_path: Path, told: list[EventDict]) -> None:
    """It is told once; the others are read."""
    (tmp_path / "bad.log.gz").write_bytes(b"no gzip at all")
    (tmp_path / "conn.log").write_bytes(rows(1))
    async with open_bench(tmp_path) as bench:
        await bench.wait_numbers(1)
        for i in range(2, 5):
            append(tmp_path / "conn.log", rows(i))
            await bench.wait_numbers(*range(1, i + 1))
    assert [entry["event"] for entry in told if entry["log_level"] == "warning"] == ["cannot read a file"]


async def test_new_paths_are_taken_over_while_it_runs(tmp_path: Path) -> None:
    """Other changes need a new start."""
    (tmp_path / "a.log").write_bytes(rows(1))
    (tmp_path / "b.txt").write_bytes(rows(2))
    async with open_bench(tmp_path, logs_in(tmp_path, "*.log")) as bench:
        await bench.wait_numbers(1)
        assert bench.tail.apply(logs_in(tmp_path, "*.log", "*.txt"))
        await bench.wait_numbers(1, 2)
        assert not bench.tail.apply(msgspec.structs.replace(logs_in(tmp_path), max_record=Size(7)))


async def test_only_new_records_if_so_wanted(tmp_path: Path) -> None:
    """With ``from_start = false`` what is in the files at the very first start is left out, and nothing else."""
    (tmp_path / "conn.log").write_bytes(header() + tsv(1) + b"2\trecord")
    (tmp_path / "dns.log").write_bytes(rows(1))
    (tmp_path / "http.log.gz").write_bytes(gzip.compress(rows(1)))
    config = msgspec.structs.replace(logs_in(tmp_path), from_start=False)
    async with open_bench(tmp_path, config) as bench:
        append(tmp_path / "conn.log", b" number 2\t-\n" + tsv(3))
        await bench.wait_numbers(3)
        append(tmp_path / "dns.log", rows(4))
        await bench.wait_numbers(3, 4)
        (tmp_path / "new.log").write_bytes(rows(5))
        await bench.wait_numbers(3, 4, 5)
    append(tmp_path / "dns.log", rows(6))
    async with open_bench(tmp_path, config) as bench:
        await bench.wait_numbers(6)


@pytest.mark.slow
async def test_idle_tail_is_idle(tmp_path: Path) -> None:
    """Without news there is no work but a look now and then."""
    (tmp_path / "conn.log").write_bytes(rows(1))
    config = msgspec.structs.replace(logs_in(tmp_path), poll=Duration(3600 * 10**9))
    async with open_bench(tmp_path, config) as bench:
        await bench.wait_numbers(1)
        calls: list[int] = []
        read = bench.tail._roster.read
        bench.tail._roster.read = lambda budget: calls.append(1) or read(budget)  # type: ignore[func-returns-value, method-assign]
        with trio.move_on_after(0.5):
            await trio.sleep_forever()
        assert len(calls) <= 4
        append(tmp_path / "conn.log", rows(2))  # inotify: it need not wait for the poll
        await bench.wait_numbers(1, 2)
