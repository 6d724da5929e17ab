"""Finished files of a running sink: compressed, kept within bounds, and resumed after a crash. Virtual time."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
import zstandard
from structlog.typing import EventDict

from appliance.config import Duration, Keep, Size
from appliance.runtime import tidy
from appliance.runtime.compress import compress
from tests.sinks.harness import HOUR_S, TO_THE_HOUR_S, WALL_NS, Bench, S, batch, content, later, pass_until, wait_until

Clock = trio.testing.MockClock
ROOT = Path(__file__).parents[2]


async def fill_hour(bench: Bench, clock: Clock, n: int, *, wait_s: float) -> None:
    """One record, written, and time until the file of the hour is complete."""
    bench.put(batch(n))
    await later(clock, 1)
    await bench.settle()
    await later(clock, wait_s - 1)


async def test_finished_files_are_compressed(tmp_path: Path, mock_clock: Clock) -> None:
    """While the sink goes on; the last one when it stops."""
    bench = Bench(tmp_path, compress="zstd")
    async with bench.running():
        await fill_hour(bench, mock_clock, 1, wait_s=TO_THE_HOUR_S)
        await wait_until(lambda: bench.names() == {"conn/22.log.zst"})
        bench.put(batch(2))
    assert bench.files() == {"conn/22.log.zst": '{"n":   1}\n', "conn/23.log.zst": '{"n":   2}\n'}
    statistics = bench.sink.statistics()
    assert (statistics.finished_files, statistics.compressed_files, statistics.failed_compressions) == (2, 2, 0)


async def test_name_of_a_compressed_file_is_not_used_again(tmp_path: Path, mock_clock: Clock) -> None:
    """Two runs within an hour: both files stay."""
    for n in range(3):
        bench = Bench(tmp_path, compress="zstd")
        async with bench.running():
            bench.put(batch(n))
    assert bench.files() == {
        "conn/22.log.zst": '{"n":   0}\n',
        "conn/22-1.log.zst": '{"n":   1}\n',
        "conn/22-2.log.zst": '{"n":   2}\n',
    }


async def test_many_files_of_a_name(tmp_path: Path, mock_clock: Clock) -> None:
    """Every row is in one of them once, whether they are compressed while or after the next are written."""
    bench = Bench(tmp_path, "{path}.log", compress="zstd", rotate_size=4096)
    async with bench.running():
        for first in range(0, 5000, 500):
            bench.put(batch(*range(first, first + 500)))
            await later(mock_clock, 1)
            await bench.settle()
    files = bench.files()
    assert all(name.endswith(".log.zst") for name in files)
    assert sorted("".join(files.values()).splitlines()) == [f'{{"n":{n:4}}}' for n in range(5000)]


async def test_leftovers_are_resumed_at_the_start(tmp_path: Path, mock_clock: Clock, told: list[EventDict]) -> None:
    """Half an archive goes, a whole one beside its source makes that go, what is plain is compressed."""
    folder = tmp_path / "conn"
    folder.mkdir()
    (folder / "18.log").write_text("{}\n")
    (folder / "18.log.zst").write_bytes(zstandard.compress(b"{}\n"))
    (folder / "19.log").write_text('{"n":19}\n')
    (folder / "19.log.zst.part").write_bytes(b"\x28\xb5\x2f\xfdhalf")
    (folder / "20.log.part").write_text('{"n":20}\n{')
    (folder / "foreign.txt").write_text("x")
    (folder / "foreign.txt.zst.part").write_text("x")
    bench = Bench(tmp_path, compress="zstd")
    async with bench.running():
        await wait_until(lambda: bench.sink.statistics().compressed_files == 3)
    assert {name: content(tmp_path / name) for name in bench.names()} == {
        "conn/18.log.zst": b"{}\n",
        "conn/19.log.zst": b'{"n":19}\n',
        "conn/20.log.zst": b'{"n":20}\n',
        "conn/foreign.txt": b"x",
        "conn/foreign.txt.zst.part": b"x",
    }
    assert [entry["event"] for entry in told] == [
        "removed half of a compressed file",
        "found a file of an earlier run",
    ]


async def test_log_called_like_an_archive_is_no_archive(tmp_path: Path, mock_clock: Clock) -> None:
    """Paths come from the network: one may be called as another's compressed file, or as half of one."""
    (tmp_path / "conn.zst.part").write_text("{}\n")
    bench = Bench(tmp_path, "{path}", compress="zstd")
    async with bench.running():
        bench.put(batch(1), batch(2, path="conn.zst"))
    texts = sorted(content(tmp_path / name) if name != "conn.zst" else b"" for name in bench.names())
    assert [content(tmp_path / name) for name in bench.names() if not name.endswith(".zst")] == []
    assert len(texts) == 3
    assert (tmp_path / "conn.zst").read_text() == "{}\n"


async def test_disk_without_room_keeps_the_plain_file(tmp_path: Path, mock_clock: Clock, told: list[EventDict]) -> None:
    """It is counted and told, the others go on, and a minute later it is tried again."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    noise = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=300_000))
    bench = Bench(tmp_path, "{path}.log", compress="zstd", flush_every=1)
    async with bench.running():
        bench.put(batch(noise), batch(1, path="dns"))
        await later(mock_clock, 1)
        await bench.settle()
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
        try:
            await later(mock_clock, TO_THE_HOUR_S)
            await wait_until(lambda: bench.names() == {"conn.log", "dns.log.zst"})
            await wait_until(lambda: bench.sink.statistics().failed_compressions)
            assert (tmp_path / "conn.log").read_text() == noise + "\n"
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        await pass_until(mock_clock, tidy.LOOK_EVERY_S, lambda: bench.names() == {"conn.log.zst", "dns.log.zst"})
    statistics = bench.sink.statistics()
    assert (statistics.failed_compressions, statistics.compressed_files, statistics.failed_files) == (1, 2, 0)
    assert [entry["event"] for entry in told] == ["cannot compress a file, it stays as it is"]


async def test_compressing_does_not_delay_writing(
    tmp_path: Path, mock_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it takes; when the sink is cancelled, the file stays plain."""
    held = trio.Event()

    def slow(path: Path, *, pause: object) -> Path:
        trio.from_thread.run_sync(held.set)
        while True:
            time.sleep(0.001)
            trio.from_thread.check_cancelled()

    monkeypatch.setattr(tidy, "compress", slow)
    bench = Bench(tmp_path, "{path}.log", compress="zstd", rotate_size=4096, flush_every=1)
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: bench.sink.run(task_status=task_status))
        for first in range(0, 5000, 500):
            bench.put(batch(*range(first, first + 500)))
            await later(mock_clock, 1)
            await bench.settle()
        await held.wait()
        assert bench.figures().delivered == 5000
        nursery.cancel_scope.cancel()
    files = bench.files()
    assert all(name.endswith(".log") for name in files)
    assert sum(text.count("\n") for text in files.values()) == 5000


async def test_stop_waits_for_the_compressor_only_so_long(
    tmp_path: Path, mock_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left is compressed by the next run."""

    def slow(path: Path, *, pause: object) -> Path:
        while True:
            time.sleep(0.001)
            trio.from_thread.check_cancelled()

    monkeypatch.setattr(tidy, "compress", slow)
    bench = Bench(tmp_path, "{path}.log", compress="zstd", flush_every=1)
    mock_clock.rate = 200
    async with bench.running():
        bench.put(batch(1))
        await bench.settle()
    assert bench.files() == {"conn.log": '{"n":   1}\n'}
    monkeypatch.setattr(tidy, "compress", compress)
    bench = Bench(tmp_path, "{path}.log", compress="zstd")
    async with bench.running():
        await wait_until(lambda: bench.names() == {"conn.log.zst"})


async def test_failure_of_ours_while_tidying_names_what_is_written(
    tmp_path: Path, mock_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service ends, as after every mistake, and starts again; no file is left open."""

    def mistake(path: Path, *, pause: object) -> Path:
        raise ZeroDivisionError

    (tmp_path / "dns.log").write_text("{}\n")
    monkeypatch.setattr(tidy, "compress", mistake)
    bench = Bench(tmp_path, "{path}.log", compress="zstd", flush_every=1)
    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            bench.put(batch(1))
            nursery.start_soon(bench.sink.run)
            await trio.sleep_forever()
    assert bench.names() <= {"dns.log", "conn.log"}


@pytest.mark.parametrize("packing", ["none", "zstd"])
async def test_oldest_files_go_after_each_completion(tmp_path: Path, mock_clock: Clock, packing: str) -> None:
    """As many as it takes, compressed ones by their compressed size; empty folders go with them."""
    each = 11 if packing == "none" else compress_size(tmp_path / "x")
    bench = Bench(tmp_path / "logs", "%H/{path}.log", compress=packing, keep=Keep(size=Size(2 * each)))
    ending = ".log" if packing == "none" else ".log.zst"
    async with bench.running():
        for n in range(4):
            await fill_hour(bench, mock_clock, n, wait_s=TO_THE_HOUR_S if n == 0 else HOUR_S)
            await wait_until(partial(has_reached, bench, n + 1, max(0, n - 1)))
    assert bench.names() == {f"00/conn{ending}", f"01/conn{ending}"}
    assert {path.name for path in (tmp_path / "logs").iterdir()} == {"00", "01"}
    assert bench.sink.statistics().deleted_bytes == 2 * each


def has_reached(bench: Bench, finished: int, deleted: int) -> bool:
    statistics = bench.sink.statistics()
    return (statistics.finished_files, statistics.deleted_files) == (finished, deleted)


def compress_size(path: Path) -> int:
    path.write_text('{"n":   1}\n')
    packed = compress(path)
    size = packed.stat().st_size
    packed.unlink()
    return size


async def test_age_is_told_every_minute(tmp_path: Path, mock_clock: Clock) -> None:
    """From the completion, not from the last record; nothing has to be written for it."""
    bench = Bench(tmp_path, keep=Keep(age=Duration(600 * S)))
    async with bench.running():
        await fill_hour(bench, mock_clock, 1, wait_s=TO_THE_HOUR_S)
        await wait_until(lambda: bench.names() == {"conn/22.log"})
        for _ in range(9):
            await later(mock_clock, tidy.LOOK_EVERY_S)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert bench.names() == {"conn/22.log"}
        await pass_until(mock_clock, tidy.LOOK_EVERY_S, lambda: bench.names() == set())
    assert not (tmp_path / "conn").exists()
    assert bench.sink.statistics().deleted_files == 1


async def test_files_of_earlier_runs_are_bounded_at_the_start(tmp_path: Path, mock_clock: Clock) -> None:
    """Without waiting for a completion, and the size is that after compression."""
    (tmp_path / "conn").mkdir()
    for hour in range(10):
        path = tmp_path / f"conn/{hour:02}.log"
        path.write_bytes(bytes(10_000))
        os.utime(path, ns=(0, WALL_NS - (100 - hour) * S))
    bench = Bench(tmp_path, compress="zstd", keep=Keep(size=Size(10_000)))
    async with bench.running():
        await wait_until(lambda: bench.sink.statistics().compressed_files == 10)
    assert len(bench.names()) == 10
    bench = Bench(tmp_path, keep=Keep(size=Size(100)))
    async with bench.running():
        await wait_until(lambda: bench.sink.statistics().deleted_files)
    assert 0 < sum((tmp_path / name).stat().st_size for name in bench.names()) <= 100
    assert "conn/09.log.zst" in bench.names()


async def test_folder_that_another_sink_tidies_up_is_made_again(
    tmp_path: Path, mock_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between making it and opening the file in it."""
    from appliance.runtime import partfile

    open_new, calls = partfile._open_new, 0

    def tidy_first(part: Path) -> int | None:
        nonlocal calls
        calls += 1
        if calls == 1:
            part.parent.rmdir()
        return open_new(part)

    monkeypatch.setattr(partfile, "_open_new", tidy_first)
    bench = Bench(tmp_path)
    async with bench.running():
        bench.put(batch(1))
    assert bench.files() == {"conn/22.log": '{"n":   1}\n'}


def has_archives(folder: Path) -> bool:
    return len(list(folder.glob("*.zst"))) >= 3


@pytest.mark.slow
async def test_kill_at_any_moment_neither_loses_nor_repeats(tmp_path: Path) -> None:
    """After the next start every row up to the last is in one file, and there is nothing but whole archives."""
    chance = random.Random(2)
    for number in range(5):
        folder = tmp_path / str(number)
        folder.mkdir()
        program = subprocess.Popen([sys.executable, "-m", "tests.sinks.crash", "sink", str(folder)], cwd=ROOT)
        try:
            await wait_until(partial(has_archives, folder))
            await trio.sleep(chance.random() / 10)
        finally:
            program.kill()
            program.wait()
        bench = Bench(folder, "{path}.log", compress="zstd")
        async with bench.running():
            pass
        files = bench.files()
        assert all(name.endswith(".log.zst") for name in files)
        rows = sorted(int(row[5:-1]) for text in files.values() for row in text.splitlines())
        assert rows == list(range(len(rows)))
        assert len(rows) > 1000
