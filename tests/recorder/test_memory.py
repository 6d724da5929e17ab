"""``write = "triggered"``: packets are in memory, indexed, and nothing reaches the disk by itself."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
import trio

from appliance.native import FlowQuery, SegmentIndex
from appliance.recorder.memory import MemorySource
from appliance.runtime.packets import Source
from tests.native.packets import read_records
from tests.native.wanted import read_wanted

from .harness import MIB, SERIAL, Bench, Generator, udp, wait_until


def read(source: Source, query: FlowQuery) -> list[tuple[int, int]]:
    """Flow and serial number of the packets that a query gets from a source by its index."""
    with source.open() as opened:
        assert opened.index_fd is not None
        assert opened.pcap_bytes is not None
        extents = SegmentIndex(opened.index_fd).lookup(query, opened.pcap_bytes)
        records = read_records(read_wanted(opened.pcap_fd, query, extents))
        return [SERIAL.unpack_from(data, 42) for _, data, _ in records]


async def query(bench: Bench, flow: int) -> list[int]:
    """The serial numbers of a flow over all sources."""
    found: list[tuple[int, int]] = []
    for source in bench.recorder.sources():
        found += await trio.to_thread.run_sync(read, source, FlowQuery(ports=(1000 + flow,)))
    assert {number for number, _ in found} == {flow}
    return [serial for _, serial in found]


def make(folder: Path) -> Bench:
    return Bench(folder, write="triggered", memory=4 * MIB)


async def test_newest_packets_are_in_memory_and_found_by_their_flow(tmp_path: Path, generator: Generator) -> None:
    """Across segments, the growing one included; the disk has nothing but the file of gaps."""
    bench = make(tmp_path)
    async with bench.running() as recorder:
        generator.send(20_000)
        await bench.recorded(generator.total)
        assert all(isinstance(source, MemorySource) for source in recorder.sources())
        assert len(recorder.sources()) > 1
        assert [source.is_growing for source in recorder.sources()][-2:] == [False, True]
        assert await query(bench, 3) == list(range(5_000))
        assert bench.account.delivered == 20_000
        assert bench.figures().memory_bytes == 4 * MIB
        assert recorder.oldest_ns == recorder.sources()[0].first_ns
        assert [path.name for path in bench.folder.iterdir()] == ["edge.gaps.jsonl"]
    assert not bench.files()


async def test_oldest_packets_make_room_and_that_is_known(tmp_path: Path, generator: Generator) -> None:
    """Before the oldest one nothing is there, which is a gap for whoever asks for that time."""
    generator.size = 600
    bench = make(tmp_path)
    async with bench.running() as recorder:
        for _ in range(4):
            generator.send(2_900)
            await bench.recorded(generator.total)
        serials = await query(bench, 1)
        assert serials == list(range(serials[0], 2_900))
        assert serials[0] > 0
        oldest_ns = recorder.oldest_ns
        assert oldest_ns is not None
        (gap,) = recorder.gaps(0, 1 << 62)
        assert (gap.reason, gap.to_ns) == ("memory", oldest_ns - 1)
        assert recorder.gaps(oldest_ns, 1 << 62) == []


async def test_segments_of_another_time_do_not_hide_what_memory_has_forgotten(
    tmp_path: Path, generator: Generator
) -> None:
    """The gap is between the two."""
    generator.size = 600
    bench = Bench(tmp_path)
    async with bench.running():
        generator.send(100)
        await bench.recorded(100)
    bench.recorder = bench.make(write="triggered", memory=4 * MIB)
    async with bench.running() as recorder:
        for _ in range(4):
            generator.send(2_900)
            await bench.recorded(generator.total - 100)
        disk, memory = recorder.sources()[:2]
        gaps = {gap.reason: (gap.from_ns, gap.to_ns) for gap in recorder.gaps(0, 1 << 62)}
        assert gaps["memory"] == (disk.last_ns + 1, memory.first_ns - 1)
        assert recorder.gaps(0, disk.last_ns) == []


async def test_ring_that_is_never_idle_is_not_behind(tmp_path: Path, generator: Generator) -> None:
    """While packets come all the time, those of before are known to be recorded."""
    bench = make(tmp_path)
    is_over = threading.Event()

    def send() -> None:
        frame = udp(0, 0, size=1400)
        while not is_over.is_set():
            generator.send_raw(frame, 200)
            time.sleep(0.005)

    async with bench.running() as recorder, trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, send)
        try:
            for _ in range(2):
                with trio.fail_after(15):
                    await recorder.wait_recorded(time.time_ns())
        finally:
            is_over.set()


async def test_what_is_read_is_not_overwritten(tmp_path: Path, generator: Generator) -> None:
    """A reader keeps what it holds; one that comes too late is told."""
    generator.size = 600
    bench = make(tmp_path)
    async with bench.running() as recorder:
        generator.send(2_900)
        await bench.recorded(generator.total)
        first, second = recorder.sources()[:2]
        with first.open() as opened:
            before = os.pread(opened.pcap_fd, 1 << 20, 0)
            for _ in range(4):
                generator.send(2_900)
                await bench.recorded(generator.total)
            assert os.pread(opened.pcap_fd, 1 << 20, 0) == before
        with pytest.raises(FileNotFoundError), second.open():
            pass
    assert bench.account.dropped == {}


async def test_memory_can_be_read_when_the_rings_have_ended(tmp_path: Path, generator: Generator) -> None:
    """By whoever has its sources."""
    bench = make(tmp_path)
    async with bench.running() as recorder:
        generator.send(100)
        await bench.recorded(generator.total)
        sources = recorder.sources()
        recorder.stop()
        await wait_until(lambda: recorder.state == "stopped")
        assert len(read(sources[0], FlowQuery(ports=(1001,)))) == 25
