"""The recorder on a wire of its own: what was sent is in its files, indexed and announced, or counted."""

from __future__ import annotations

import os
import re
import threading
import time
from functools import partial
from pathlib import Path

import msgspec
import pytest
import trio

from appliance.cli.details import describe
from appliance.native import FlowQuery, SegmentIndex
from appliance.recorder.opener import PENS
from tests.native.wanted import read_segment

from .harness import MIB, Bench, Generator, check_order, frames, serials, table, wait_until


async def test_everything_that_was_sent_is_in_the_files(tmp_path: Path, generator: Generator) -> None:
    """In its order; the books say so, and nothing is left but segments, their indexes and the file of gaps."""
    bench = Bench(tmp_path)
    async with bench.running():
        generator.send(20_000)
        await bench.recorded(generator.total)
    assert check_order(serials(bench.files())) == generator.total
    account = bench.account
    assert (account.received, account.delivered, account.dropped) == (generator.total, generator.total, {})
    assert len(bench.files()) > 1
    endings = {re.sub(r".*-0", "", path.name) for path in tmp_path.iterdir()}
    assert endings == {".pcap", ".pcap.idx", "edge.gaps.jsonl"}
    assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("edge-*")} <= {0o640, 0o600}


async def test_event_loop_that_hangs_costs_no_packet(tmp_path: Path, generator: Generator) -> None:
    """More segments end meanwhile than there are pens: they are finished without it."""
    bench = Bench(tmp_path)
    async with bench.running():
        sender = threading.Thread(target=generator.send, args=(50_000,))
        sender.start()
        sender.join()  # which is what hangs the loop
        assert len(bench.files()) > PENS
        await bench.recorded(generator.total)
    assert check_order(serials(bench.files())) == generator.total
    assert bench.account.dropped == {}


async def test_next_segment_is_open_before_it_is_needed(tmp_path: Path, generator: Generator) -> None:
    """Its file is the one that grows then; it goes if it was deleted or is not as a reload wants it."""

    def ahead() -> list[Path]:
        return sorted(tmp_path.glob("*.pcap.next"))

    bench = Bench(tmp_path)
    async with bench.running() as recorder:
        await wait_until(ahead)
        (first,) = ahead()
        inode = first.stat().st_ino
        generator.send(100)
        await bench.recorded(generator.total)
        await recorder.rotate_all()
        generator.send(10)
        await bench.recorded(generator.total)
        (part,) = tmp_path.glob("*.pcap.part")
        assert part.stat().st_ino == inode
        await wait_until(ahead)
        (second,) = ahead()
        second.unlink()
        await wait_until(lambda: ahead() and ahead() != [second])
        (third,) = ahead()
        assert recorder.apply(table(tmp_path, segment_size=2 * MIB))
        await wait_until(lambda: ahead() and third not in ahead())
        generator.send(15_000)
        await bench.recorded(generator.total)
    assert check_order(serials(bench.files())) == generator.total
    assert max(item.disk_size for item in bench.items()) > MIB
    assert not ahead()


async def test_segments_end_when_they_are_told_to(tmp_path: Path, generator: Generator) -> None:
    """With what they hold then; one that holds nothing goes on."""
    bench = Bench(tmp_path)

    def announced(count: int) -> bool:
        return len(bench.items()) == count

    async with bench.running() as recorder:
        for count in (1, 2):
            generator.send(100)
            await bench.recorded(generator.total)
            await recorder.rotate_all()
            await wait_until(partial(announced, count))
            await recorder.rotate_all()
    assert [item.packets for item in bench.items()] == [100, 100]


async def test_segments_are_announced_as_they_are(tmp_path: Path, generator: Generator) -> None:
    """With their packets, size and times; none is larger than it may be, and each has the time of its first packet."""
    bench = Bench(tmp_path)
    async with bench.running():
        generator.send(15_000)
        await bench.recorded(generator.total)
    items = bench.items()
    assert [item.path for item in items] == [str(path) for path in bench.files()]
    assert sum(item.packets for item in items) == generator.total
    for item in items:
        status = Path(item.path).stat()
        assert (item.disk_size, item.last_ns) == (status.st_size, status.st_mtime_ns)
        assert item.disk_size <= MIB
        assert f".{item.first_ns % 10**9:09}Z-0.pcap" in item.path
        assert (item.kind, item.name, item.source, item.linktype) == ("segment", "edge", "recorder.edge", 1)


async def test_index_of_each_segment_finds_its_flows(tmp_path: Path, generator: Generator) -> None:
    """A lookup gives all packets of a flow, and reads no other segment part than the index names."""
    bench = Bench(tmp_path)
    async with bench.running():
        generator.send(9_000)
        await bench.recorded(generator.total)
    found = 0
    for path in bench.files():
        index = path.with_name(path.name + ".idx")
        with index.open("rb") as file:
            assert SegmentIndex(file.fileno()).info().is_complete
        found += read_segment(path, FlowQuery(ports=(1001,)), index).count(b"\x03\xe9\x00\x35")  # 1001 to 53
    assert found == generator.sent[1]


async def test_growing_segment_is_readable_a_second_later(tmp_path: Path, generator: Generator) -> None:
    """By its source, with a journal; it is named after its first packet from the beginning."""
    bench = Bench(tmp_path, segment_size=64 * MIB, segment_every=3600 * 10**9)
    async with bench.running() as recorder:
        generator.send(2_000)
        await bench.recorded(generator.total)
        (source,) = recorder.sources()
        assert source.is_growing
        assert source.first_ns == recorder.oldest_ns
        with source.open() as opened:
            assert opened.index_fd is not None
            assert os.fstat(opened.pcap_fd).st_size > 2_000 * 100
        (part,) = tmp_path.glob("*.pcap.part")
        assert f".{source.first_ns % 10**9:09}Z-0" in part.name
        assert bench.figures().members[0].open_file == str(part)
        assert bench.account.delivered == 2_000
    assert bench.files() == [part.with_suffix("")]


async def test_idle_recorder_ends_its_segment_by_the_clock(tmp_path: Path, generator: Generator) -> None:
    """And an empty one goes on, without a file for each second of silence."""
    bench = Bench(tmp_path, segment_every=10**9)
    async with bench.running():
        generator.send(10)
        await wait_until(bench.items)
        (item,) = bench.items()
        assert item.packets == 10
        empty = bench.figures().members[0].open_file
        await trio.sleep(1.5)
        assert bench.figures().members[0].open_file == empty
        generator.send(10)
        await bench.recorded(generator.total)
    assert [len(frames([path])) for path in bench.files()] == [10, 10]


@pytest.mark.parametrize("fanout", [2, 3])
async def test_members_of_a_group_share_the_flows(tmp_path: Path, generator: Generator, fanout: int) -> None:
    """Each flow is in the segments of one member only, in its order."""
    many = Generator(64)
    bench = Bench(tmp_path, fanout=fanout)
    async with bench.running():
        many.send(10_000)
        await bench.recorded(many.total)
    many.close()
    members = [serials([path for path in bench.files() if path.name.endswith(f"-{n}.pcap")]) for n in range(fanout)]
    assert all(members)
    assert sum(check_order(found) for found in members) == many.total
    assert sum(map(len, members)) == 64


async def test_cutoff_keeps_the_beginning_of_every_connection(tmp_path: Path, generator: Generator) -> None:
    """What is left out is counted, and is no loss; a flow that is lifted is kept."""
    bench = Bench(tmp_path, cutoff=2_000, index=False)
    async with bench.running():
        generator.send(400)
        await bench.recorded(generator.total)
    kept = check_order(serials(bench.files()))
    assert 4 * 15 <= kept <= 4 * 25
    assert bench.account.dropped == {"cutoff": generator.total - kept}
    assert (bench.account.lost, bench.ledger.lost) == (0, 0)
    figures = bench.figures()
    assert (figures.cutoff_packets, figures.stored) == (generator.total - kept, kept)
    assert figures.cutoff_bytes > 100 * figures.cutoff_packets
    assert not list(tmp_path.glob("*.idx"))


async def test_filter_leaves_out_in_the_kernel(tmp_path: Path, generator: Generator) -> None:
    """Nothing of it is counted."""
    bench = Bench(tmp_path, filter="udp src port 1002")
    async with bench.running():
        generator.send(400)
        await bench.recorded(100)
    assert serials(bench.files()) == {2: list(range(100))}
    assert bench.account.received == 100


async def test_figures_say_what_is_there(tmp_path: Path, generator: Generator) -> None:
    """State, span, disk, and rates that are not nought; a line of them is in the table of services."""
    bench = Bench(tmp_path)
    before_ns = time.time_ns()
    async with bench.running():
        generator.send(12_000)
        await bench.recorded(generator.total)
        await wait_until(lambda: bench.figures().disk_limit)
        figures = bench.figures()
        assert (figures.state, figures.interface, figures.linktype) == ("recording", "near", 1)
        assert (figures.packets, figures.stored, figures.flows) == (12_000, 12_000, 4)
        assert before_ns <= figures.oldest_ns < figures.newest_ns <= time.time_ns()
        assert figures.span_s > 0
        assert figures.disk_segments == figures.segments >= 1
        assert figures.disk_bytes > 12_000 * 118
        assert figures.packets_per_s.last_10s > 0
        line = {"service": {"name": "recorder.edge"}, "figures": msgspec.to_builtins(figures), "queue": None}
        told = r"near recording, [\d,]+ packets/s, \d segments, 1\.\d MiB of [\d.,]+ [GT]iB, back \d s"
        assert re.fullmatch(told, describe(line))
    assert bench.figures().state == "stopped"
