"""What goes wrong while recording: said, counted, written into the file of gaps, and over when its cause is."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
import trio
from structlog.typing import EventDict

from appliance.errors import ApplianceError, PrivilegeError
from appliance.recorder import interface, member
from tests.native.netns import ip, namespace

from .harness import MIB, Bench, Generator, check_order, serials, use_new_threads, wait_until


async def test_deleted_segment_is_noticed_and_its_packets_are_lost(tmp_path: Path, generator: Generator) -> None:
    """Those that came until it was noticed; what comes afterwards is in another one."""
    bench = Bench(tmp_path)
    async with bench.running():
        generator.send(100)
        await bench.recorded(generator.total)
        (part,) = tmp_path.glob("*.pcap.part")
        part.unlink()
        generator.send(50)
        await wait_until(lambda: bench.account.dropped)
        generator.send(30)
        await bench.recorded(generator.total)
    assert check_order(serials(bench.files())) == bench.account.delivered == generator.total - 150
    assert bench.account.dropped == {"deleted": 150}
    assert bench.missing("deleted") == 150


async def test_directory_that_vanishes_is_made_again(
    tmp_path: Path, generator: Generator, told: list[EventDict]
) -> None:
    """What was in it is gone, which is written down; recording goes on."""
    folder = tmp_path / "edge"
    bench = Bench(folder)
    async with bench.running():
        generator.send(10_000)
        await bench.recorded(generator.total)
        await wait_until(lambda: len(bench.recorder._keeper.catalogue) == 1)
        shutil.rmtree(folder.rename(tmp_path / "gone"))  # at once: the recorder goes on making files
        generator.send(8)
        await wait_until(lambda: bench.figures().directory_made)
        await wait_until(lambda: bench.account.dropped)
        generator.send(40)
        await bench.recorded(generator.total)
        await wait_until(lambda: not bench.figures().disk_segments)
    assert check_order(serials(bench.files())) == 40
    assert bench.account.dropped["deleted"] == generator.total - 40 - bench.items()[0].packets
    assert "the directory was gone and is made again" in [entry["event"] for entry in told]
    gone = [gap for gap in bench.recorder.gaps(0, 1 << 62) if gap.reason == "deleted"]
    assert {gap.from_ns for gap in gone} >= {bench.items()[0].first_ns}
    assert (folder / "edge.gaps.jsonl").exists()


async def test_segment_that_somebody_deletes_is_a_gap(tmp_path: Path, generator: Generator) -> None:
    """Known from the next look at the disk on."""
    bench = Bench(tmp_path)
    async with bench.running() as recorder:
        generator.send(9_000)
        await bench.recorded(generator.total)
        await wait_until(lambda: len(recorder._keeper.catalogue) == 1)
        bench.files()[0].unlink()
        await trio.to_thread.run_sync(recorder._keeper.compare)
        (gap,) = recorder.gaps(0, 1 << 62)
        (item,) = bench.items()
        assert (gap.from_ns, gap.to_ns, gap.reason) == (item.first_ns, item.last_ns, "deleted")
        assert bench.figures().disk_segments == 0


async def test_interface_that_goes_down_goes_on_later(
    tmp_path: Path, generator: Generator, told: list[EventDict]
) -> None:
    """The ring stays; state and gap say so."""
    bench = Bench(tmp_path)
    async with bench.running():
        generator.send(10)
        await bench.recorded(generator.total)
        ip("link", "set", "dev", "near", "down")
        await wait_until(lambda: bench.figures().state == "down")
        assert [gap.reason for gap in bench.recorder.gaps(0, 1 << 62)] == ["down"]
        ip("link", "set", "dev", "near", "up")
        await wait_until(lambda: bench.figures().state == "recording")
        before = bench.figures().packets
        while bench.figures().packets == before:  # the far end drops what it is given until it has noticed
            generator.send(4)
            await trio.sleep(0.01)
        await bench.recorded(before)
    found = serials(bench.files())
    assert check_order(found) == bench.account.received
    assert [gap.reason for gap in bench.recorder.gaps(0, 1 << 62)] == ["down"]
    assert [entry["event"] for entry in told][-1] == "the interface is up again"


async def test_interface_that_is_removed_is_waited_for(tmp_path: Path, generator: Generator) -> None:
    """Its segment is finished at once; when there is one of that name again, it is recorded."""
    bench = Bench(tmp_path)
    async with bench.running():
        generator.send(10)
        await bench.recorded(generator.total)
        ip("link", "del", "dev", "near")
        await wait_until(lambda: bench.figures().state == "waiting")
        (item,) = bench.items()
        assert item.packets == 10
        ip("link", "add", "name", "near", "type", "veth", "peer", "name", "far")
        for name in ("near", "far"):
            ip("link", "set", "dev", name, "addrgenmode", "none", "arp", "off")
            ip("link", "set", "dev", name, "up")
        await wait_until(lambda: bench.figures().state == "recording")
        again = Generator()
        again.send(20)
        again.close()
        await bench.recorded(30)
    assert [len(serials([path])[0]) for path in bench.files()] == [3, 5]
    (gap,) = bench.recorder.gaps(0, 1 << 62)
    assert (gap.reason, gap.packets) == ("down", None)
    assert item.last_ns < gap.from_ns < gap.to_ns < time.time_ns()


async def test_interface_that_stays_away_is_a_gap_at_once_and_after_the_end(
    tmp_path: Path, generator: Generator
) -> None:
    """Who asks while it is removed is told, and who asks after the recorder was stopped meanwhile."""
    bench = Bench(tmp_path)
    async with bench.running() as recorder:
        generator.send(10)
        await bench.recorded(generator.total)
        ip("link", "del", "dev", "near")
        await wait_until(lambda: bench.figures().state == "waiting")
        (gap,) = recorder.gaps(0, 1 << 62)
        assert gap.reason == "down"
        last_ns = bench.items()[0].last_ns
    again = bench.make()
    until_ns = again._keeper.gaps.load()
    (gap,) = again.gaps(0, 1 << 62)
    assert gap.reason == "down"
    assert until_ns is not None
    assert last_ns < gap.from_ns < gap.to_ns <= until_ns


async def test_interface_that_is_down_at_the_end_is_a_gap(tmp_path: Path, generator: Generator) -> None:
    """The file of gaps has it, so the next run knows."""
    bench = Bench(tmp_path)
    async with bench.running():
        generator.send(10)
        await bench.recorded(generator.total)
        ip("link", "set", "dev", "near", "down")
        await wait_until(lambda: bench.figures().state == "down")
        held_ns = bench.recorder._silence[0] if bench.recorder._silence else 0
    again = bench.make()
    again._keeper.gaps.load()
    (gap,) = again.gaps(0, 1 << 62)
    assert (gap.from_ns, gap.reason) == (held_ns, "down")


async def test_time_of_the_gaps_is_that_until_which_a_crash_takes_nothing(
    tmp_path: Path, generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the present: what came a moment ago may not be in a file yet, and the next start takes it for recorded."""
    monkeypatch.setattr(member, "_LATE_NS", 3600 * 10**9)
    bench = Bench(tmp_path)
    flushed: list[int] = []
    flush = bench.recorder._keeper.gaps.flush

    def note(heard_ns: int) -> None:
        flush(heard_ns)
        flushed.append(heard_ns)

    monkeypatch.setattr(bench.recorder._keeper.gaps, "flush", note)
    async with bench.running() as recorder:
        generator.send(10)
        await wait_until(lambda: bench.figures().packets >= generator.total)
        seen = len(flushed)
        await wait_until(lambda: len(flushed) > seen + 1)
        assert (tmp_path / "edge.gaps.jsonl").stat().st_mtime_ns == recorder._began_ns
    assert (tmp_path / "edge.gaps.jsonl").stat().st_mtime_ns == flushed[-1] > recorder._began_ns


async def test_interface_that_is_missing_at_the_start_is_waited_for(tmp_path: Path, told: list[EventDict]) -> None:
    """The appliance starts, and the log says it once."""
    with namespace():
        use_new_threads()
        bench = Bench(tmp_path, interface="later", filter="udp")
        async with bench.running():
            assert bench.figures().state == "waiting"
            assert bench.around.recorders["edge"] is bench.recorder
            assert [gap.reason for gap in bench.recorder.gaps(0, 1 << 62)] == ["down"]
            assert bench.recorder.sources() == []
            ip("link", "add", "name", "later", "type", "veth", "peer", "name", "far")
            ip("link", "set", "dev", "later", "up")
            await wait_until(lambda: bench.figures().state == "recording")
    use_new_threads()
    assert [entry["event"] for entry in told] == ["waiting for the interface", "recording"]
    assert told[0]["why"] == "there is no interface later"


async def test_missing_capability_is_told_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person can mend that; the supervisor does not try again."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(interface, "Ring", refuse)
    told = r"cannot record from lo: CAP_NET_RAW is missing \(AmbientCapabilities=.*"
    with pytest.RaisesGroup(pytest.RaisesExc(PrivilegeError, match=told), flatten_subgroups=True):
        await Bench(tmp_path, interface="lo").recorder.run()


async def test_directory_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    """By its name."""
    (tmp_path / "file").touch()
    with pytest.raises(ApplianceError, match=r"recorder edge cannot use .*/file/edge: File exists"):
        await Bench(tmp_path / "file" / "edge", interface="lo").recorder.run()


async def test_cancelled_recorder_finishes_its_segment(tmp_path: Path, generator: Generator) -> None:
    """Nobody has to repair it."""
    bench = Bench(tmp_path)
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: bench.recorder.run(task_status=task_status))
        generator.send(100)
        await bench.recorded(generator.total)
        nursery.cancel_scope.cancel()
    bench.check()
    assert check_order(serials(bench.files())) == 100
    assert not list(tmp_path.glob("*.pcap.part"))


async def test_budget_deletes_the_oldest_exactly_enough(tmp_path: Path, generator: Generator) -> None:
    """With their indexes; one segment more would be too much, and what went is a gap."""
    generator.size = 600
    bench = Bench(tmp_path, budget=4 * MIB)
    async with bench.running():
        for _ in range(8):
            generator.send(1_400)
            await bench.recorded(generator.total)
        await wait_until(lambda: bench.figures().deleted_segments)
        await wait_until(lambda: bench.figures().disk_bytes <= 4 * MIB)
        figures = bench.figures()
        sizes = sum(path.stat().st_size for path in tmp_path.glob("edge-*") if not path.name.endswith(".idx.part"))
        assert sizes <= 4 * MIB
        assert sizes + MIB > 4 * MIB - MIB // 8
    items = bench.items()
    gone = [item for item in items if not Path(item.path).exists()]
    assert gone == items[: len(gone)]
    assert len(gone) >= figures.deleted_segments
    (gap,) = [gap for gap in bench.recorder.gaps(0, 1 << 62) if gap.reason == "budget"]
    assert (gap.from_ns, gap.to_ns) == (gone[0].first_ns, gone[-1].last_ns)
    assert gap.bytes is not None
    assert gap.bytes > MIB * len(gone) * 0.99
    assert bench.recorder.oldest_ns == items[len(gone)].first_ns
    assert {path.with_suffix("") for path in tmp_path.glob("*.idx")} == set(bench.files())


async def test_recorder_goes_on_where_another_run_stopped(tmp_path: Path, generator: Generator) -> None:
    """The time between is a gap, and segments of before count for the budget."""
    bench = Bench(tmp_path)
    async with bench.running():
        generator.send(9_000)
        await bench.recorded(generator.total)
    stopped_ns = time.time_ns()
    before = bench.files()
    generator.send(40)
    again = Bench(tmp_path)
    async with again.running() as recorder:
        assert again.figures().disk_segments == len(before)
        (gap,) = recorder.gaps(0, 1 << 62)
        assert gap.reason == "stopped"
        assert stopped_ns - 2 * 10**9 < gap.from_ns <= stopped_ns < gap.to_ns
        generator.send(10)
        await again.recorded(10)
        assert len(recorder.sources()) == len(before) + 1
    assert check_order(serials(again.files())) == 9_010


async def test_compressed_segments_keep_their_index(tmp_path: Path, generator: Generator) -> None:
    """They are announced under their last name, and count for the budget as they are."""
    bench = Bench(tmp_path, compress="zstd")
    async with bench.running() as recorder:
        generator.send(20_000)
        await bench.recorded(generator.total)
    assert not bench.files()
    packed = sorted(tmp_path.glob("*.pcap.zst"))
    assert [item.path for item in bench.items()] == [str(path) for path in packed]
    assert [item.disk_size for item in bench.items()] == [path.stat().st_size for path in packed]
    for path in packed:
        assert path.with_suffix(".idx").exists()
        assert path.stat().st_mtime_ns in [item.last_ns for item in bench.items()]
    assert recorder.statistics().disk_bytes == sum(path.stat().st_size for path in tmp_path.glob("edge-*"))
