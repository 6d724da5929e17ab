"""The file sink: the right records in the right files, byte for byte, rotated in time. Virtual time, real files."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing
from structlog.typing import EventDict

from appliance.model import LogBatch
from appliance.sinks import files, sink

from .harness import HOUR_S, TO_THE_HOUR_S, Bench, S, batch, later, wait_until

Clock = trio.testing.MockClock


async def test_records_are_written_as_they_came(tmp_path: Path, mock_clock: Clock) -> None:
    """Byte for byte, in the order of their arrival, whatever the JSON looks like."""
    bench = Bench(tmp_path)
    rows = ['{ "a" : 1.0e3,"b":"\\u00e9é" }', "{}", '{"a":1,"a":2}']
    async with bench.running():
        bench.put(batch(*rows), batch(1), batch(2, path="dns"), batch(3))
    assert bench.files() == {
        "conn/22.log": "\n".join([*rows, '{"n":   1}', '{"n":   3}', ""]),
        "dns/22.log": '{"n":   2}\n',
    }
    assert bench.figures().delivered == 6
    statistics = bench.sink.statistics()
    assert (statistics.open_files, statistics.finished_files) == (0, 2)
    assert statistics.written_bytes == sum(len(text.encode()) for text in bench.files().values())


async def test_file_is_a_part_until_it_is_complete(tmp_path: Path, mock_clock: Clock) -> None:
    """Written after `flush_every`, named at the boundary."""
    bench = Bench(tmp_path, flush_every=1)
    async with bench.running():
        bench.put(batch(1))
        await trio.testing.wait_all_tasks_blocked()
        assert bench.files() == {}
        await later(mock_clock, 1)
        await bench.settle()
        assert bench.files() == {"conn/22.log.part": '{"n":   1}\n'}


async def test_large_block_does_not_wait_for_the_flush(tmp_path: Path, mock_clock: Clock) -> None:
    """What is worth a write is written while the clock stands still."""
    bench = Bench(tmp_path, flush_every=100)
    async with bench.running():
        bench.put(batch(*["x" * 1000] * (sink.BLOCK // 1000 + 1)))
        await bench.settle()
        assert bench.names() == {"conn/22.log.part"}


async def test_idle_file_ends_at_the_boundary(tmp_path: Path, mock_clock: Clock) -> None:
    """Nothing has to arrive for it, and what arrives afterwards has the new hour's name."""
    bench = Bench(tmp_path)
    async with bench.running():
        bench.put(batch(1))
        await later(mock_clock, 1)
        await bench.settle()
        await later(mock_clock, TO_THE_HOUR_S - 2)
        await trio.testing.wait_all_tasks_blocked()
        assert bench.names() == {"conn/22.log.part"}
        await later(mock_clock, 1)
        await wait_until(lambda: bench.names() == {"conn/22.log"})
        bench.put(batch(2))
        await later(mock_clock, 1)
        await bench.settle()
        assert bench.names() == {"conn/22.log", "conn/23.log.part"}
    assert bench.files() == {"conn/22.log": '{"n":   1}\n', "conn/23.log": '{"n":   2}\n'}


async def test_what_waits_at_the_boundary_goes_into_the_old_file(tmp_path: Path, mock_clock: Clock) -> None:
    """It arrived before the boundary."""
    bench = Bench(tmp_path, flush_every=10)
    async with bench.running():
        bench.put(batch(1))
        await later(mock_clock, 10)
        await bench.settle()
        await later(mock_clock, TO_THE_HOUR_S - 11)
        bench.put(batch(2))
        await later(mock_clock, 1)
        await bench.settle()
        await wait_until(lambda: "conn/22.log" in bench.names())
    assert bench.files() == {"conn/22.log": '{"n":   1}\n{"n":   2}\n'}


@pytest.mark.parametrize(
    ("pattern", "files"),
    [
        ("%H.log", {"22.log": 4}),
        ("{path}.log", {"conn.log": 3, "dns.log": 1}),
        ("{node}/{path}.log", {"@unknown/dns.log": 1, "w1/conn.log": 2, "w2/conn.log": 1}),
        ("{source}.log", {"zmq.a.log": 3, "zmq.b.log": 1}),
    ],
)
async def test_only_what_the_name_is_made_of_makes_another_file(
    tmp_path: Path, mock_clock: Clock, pattern: str, files: dict[str, int]
) -> None:
    """Twenty workers do not make twenty files of an hour if the name does not say which worker."""
    bench = Bench(tmp_path, pattern)
    async with bench.running():
        bench.put(batch(1, node="w1"), batch(2, node="w2"), batch(3, path="dns"), batch(4, node="w1", source="zmq.b"))
    assert {name: text.count("\n") for name, text in bench.files().items()} == files


async def test_order_within_a_file_is_that_of_arrival(tmp_path: Path, mock_clock: Clock) -> None:
    """Also where several paths and nodes share one."""
    bench = Bench(tmp_path, "all.log")
    async with bench.running():
        bench.put(*[batch(n, path=f"p{n % 3}", node=f"w{n % 2}") for n in range(50)])
    assert [int(row[5:-1]) for row in bench.files()["all.log"].splitlines()] == list(range(50))


@pytest.mark.parametrize("size", [4096, 4096 + 10, 10**6])
async def test_no_file_exceeds_the_size(tmp_path: Path, mock_clock: Clock, size: int) -> None:
    """Files are cut between rows, each as full as can be."""
    bench = Bench(tmp_path, rotate_size=size)
    async with bench.running():
        bench.put(batch(*range(1, 1000)), batch(*range(1000, 1500)), batch(1500))
    sizes = [len(text) for text in bench.files().values()]
    assert max(sizes) <= size
    assert all(length + 11 > size for length in sorted(sizes)[1:])
    assert sorted("".join(bench.files().values()).splitlines()) == [f'{{"n":{n:4}}}' for n in range(1, 1501)]
    assert bench.figures().delivered == 1500


async def test_row_that_is_larger_than_the_size_has_a_file_of_its_own(tmp_path: Path, mock_clock: Clock) -> None:
    """The rows before and after it are in other files."""
    bench = Bench(tmp_path, "f.log", rotate_size=4096)
    huge = "x" * 5000
    async with bench.running():
        bench.put(batch(1, huge, 2), batch(huge), batch(3))
    small = [f'{{"n":   {n}}}\n' for n in (1, 2, 3)]
    assert sorted(bench.files().values()) == sorted([*small, huge + "\n", huge + "\n"])


async def test_size_and_time_both_end_a_file(tmp_path: Path, mock_clock: Clock) -> None:
    """After a rotation by size the next file still ends at the boundary."""
    bench = Bench(tmp_path, rotate_size=4096)
    async with bench.running():
        bench.put(batch(*range(400)))
        await later(mock_clock, 1)
        await bench.settle()
        await later(mock_clock, TO_THE_HOUR_S)
        await wait_until(lambda: bench.names() == {"conn/22.log", "conn/22-1.log"})


async def test_wall_clock_that_is_stepped_neither_stops_nor_causes_a_rotation(
    tmp_path: Path, mock_clock: Clock
) -> None:
    """The open file lives as long as was planned; the next one has the new time's name."""
    bench = Bench(tmp_path)
    async with bench.running():
        bench.put(batch(1))
        await later(mock_clock, 1)
        await bench.settle()
        bench.wall_ns -= 5 * HOUR_S * S
        await later(mock_clock, TO_THE_HOUR_S - 2)
        await trio.testing.wait_all_tasks_blocked()
        assert bench.names() == {"conn/22.log.part"}
        await later(mock_clock, 1)
        await wait_until(lambda: bench.names() == {"conn/22.log"})
        bench.put(batch(2))
        await later(mock_clock, 1)
        await bench.settle()
        assert "conn/18.log.part" in bench.names()


async def test_name_that_is_taken_gets_a_number(tmp_path: Path, mock_clock: Clock) -> None:
    """A file that was there is never touched, nor that of another sink with the same name."""
    (tmp_path / "conn").mkdir()
    (tmp_path / "conn/22.log").write_text("old\n")
    one, two = Bench(tmp_path), Bench(tmp_path)
    async with one.running(), two.running():
        one.put(batch(1))
        two.put(batch(2))
    assert one.files()["conn/22.log"] == "old\n"
    assert {one.files()["conn/22-1.log"], one.files()["conn/22-2.log"]} == {'{"n":   1}\n', '{"n":   2}\n'}


@pytest.mark.parametrize(
    "path", ["../../etc/passwd", "a/b", ".hidden", "", "x" * 300, "é", "a\0b", "conn.log.part", "%H"]
)
async def test_log_path_from_the_network_cannot_leave_the_folder(tmp_path: Path, mock_clock: Clock, path: str) -> None:
    """Whatever it is, there is one finished file, in a folder of the pattern's."""
    bench = Bench(tmp_path / "logs")
    async with bench.running():
        bench.put(batch(1, path=path))
    (name,) = Bench(tmp_path).names()
    assert name.startswith("logs/")
    assert name.endswith("/22.log")
    assert name.count("/") == 2


async def test_paths_without_number_cost_files_and_nothing_else(
    tmp_path: Path, mock_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the bound the file that was idle longest is finished; no record is lost."""
    monkeypatch.setattr(files, "MAX_OPEN", 3)
    bench = Bench(tmp_path, "{path}.log")
    async with bench.running():
        for _ in range(2):
            bench.put(*[batch(n, path=f"p{n}") for n in range(10)])
            await later(mock_clock, 1)
            await bench.settle()
            assert bench.sink.statistics().open_files == 3
    assert len(bench.files()) == 20
    assert set(bench.files().values()) == {f'{{"n":{n:4}}}\n' for n in range(10)}
    assert bench.sink.statistics().finished_files == 20


async def test_file_in_use_is_not_the_one_that_is_finished(
    tmp_path: Path, mock_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest by use, not by opening."""
    monkeypatch.setattr(files, "MAX_OPEN", 2)
    bench = Bench(tmp_path, "{path}.log")
    async with bench.running():
        for path in ("a", "b", "a", "c"):
            bench.put(batch(1, path=path))
            await later(mock_clock, 1)
            await bench.settle()
        await wait_until(lambda: bench.names() == {"a.log.part", "b.log", "c.log.part"})


async def test_leftovers_are_finished_at_the_start(tmp_path: Path, mock_clock: Clock, told: list[EventDict]) -> None:
    """A torn last line is cut off; an empty file goes; what is no file of this pattern stays."""
    (tmp_path / "conn").mkdir()
    (tmp_path / "conn/21.log.part").write_text('{"n":1}\n{"n":')
    (tmp_path / "conn/20.log.part").write_text("{")
    (tmp_path / "conn/other.part").write_text("{}\n")
    bench = Bench(tmp_path)
    async with bench.running():
        bench.put(batch(1))
    assert bench.files() == {"conn/21.log": '{"n":1}\n', "conn/22.log": '{"n":   1}\n', "conn/other.part": "{}\n"}
    assert bench.sink.statistics().recovered_files == 1
    assert [entry["outcome"] for entry in told] == ["removed", "finished"]


async def test_cancellation_finishes_what_was_written(tmp_path: Path, mock_clock: Clock) -> None:
    """The rest is still queued."""
    bench = Bench(tmp_path, flush_every=1)
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: bench.sink.run(task_status=task_status))
        bench.put(batch(1))
        await later(mock_clock, 1)
        await bench.settle()
        bench.put(batch(2, 3))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert bench.files() == {"conn/22.log": '{"n":   1}\n'}
    assert (bench.figures().delivered, bench.figures().queued) == (1, 2)


async def test_cancellation_while_writing_neither_loses_nor_repeats(
    tmp_path: Path, mock_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block on its way is written to its end and is delivered; nothing is torn."""
    bench = Bench(tmp_path, flush_every=1)
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: bench.sink.run(task_status=task_status))
        write = bench.sink._files.write

        def write_and_cancel(*args: object) -> None:
            trio.from_thread.run_sync(nursery.cancel_scope.cancel)
            write(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(bench.sink._files, "write", write_and_cancel)
        bench.put(batch(1), batch(2, path="dns"))
        await later(mock_clock, 1)
    assert bench.files() == {"conn/22.log": '{"n":   1}\n', "dns/22.log": '{"n":   2}\n'}
    assert (bench.figures().delivered, bench.figures().queued) == (2, 0)


async def test_stop_before_run_ends_at_once(tmp_path: Path, mock_clock: Clock) -> None:
    """A service may be told to stop before it runs."""
    bench = Bench(tmp_path)
    bench.sink.stop()
    await bench.sink.run()
    assert bench.files() == {}


async def test_file_that_cannot_be_named_is_told_and_costs_no_other(
    tmp_path: Path, mock_clock: Clock, told: list[EventDict]
) -> None:
    """The folder went away under it."""
    bench = Bench(tmp_path)
    async with bench.running():
        bench.put(batch(1), batch(2, path="dns"))
        await later(mock_clock, 1)
        await bench.settle()
        (tmp_path / "conn/22.log.part").unlink()
        (tmp_path / "conn").rmdir()
    assert bench.files() == {"dns/22.log": '{"n":   2}\n'}
    assert [entry["event"] for entry in told] == ["cannot finish a file"]
    assert bench.sink.statistics().failed_files == 1


def test_batches_know_their_rows() -> None:
    """The harness builds what a door would."""
    item = batch(1, "{}")
    assert isinstance(item, LogBatch)
    assert item.rows() == [b'{"n":   1}', b"{}"]
