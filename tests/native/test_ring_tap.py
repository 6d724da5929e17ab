"""The tap of a ring: flows counted and cut as packets pass, and an index of the segments they go into."""

from __future__ import annotations

import os
import struct
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from appliance.native import (
    Extent,
    FlowKey,
    FlowQuery,
    FlowTable,
    MemoryRing,
    OutputKind,
    Ring,
    RingOutput,
    RingStatus,
    RingTap,
    SegmentIndex,
    SegmentIndexWriter,
    flow_key,
)

from .netns import veth
from .packets import read_records, udp_frame
from .recording import drain
from .test_ring import sender
from .wanted import read_wanted

FLOWS = 16
FILES = [OutputKind.CACHED, OutputKind.DIRECT]
TAGS = [b"", struct.pack(">HH", 0x8100, 0xA005), struct.pack(">HHHH", 0x88A8, 7, 0x8100, 0xFFFF)]


@pytest.fixture
def ring() -> Iterator[Ring]:
    with veth():
        ring = Ring("near", ring_bytes=16 << 20, retire_ms=5)
        ring.listen()
        yield ring


def packet(number: int, flow: int, size: int = 300) -> bytes:
    """Of one of `FLOWS` flows, both directions, with and without tags."""
    ends, ports = ("10.0.0.1", f"10.0.1.{flow}"), (1000 + flow, 53)
    if number // FLOWS % 2:
        ends, ports = (ends[1], ends[0]), (ports[1], ports[0])
    data = udp_frame(*ends, ports, size, serial=number)
    return data[:12] + TAGS[flow % 3] + data[12:]


def key_of(flow: int) -> FlowKey:
    return flow_key("10.0.0.1", f"10.0.1.{flow}", 17, (1000 + flow, 53))


def query_of(flow: int) -> FlowQuery:
    return FlowQuery(hosts=("10.0.0.1", f"10.0.1.{flow}"), ports=(1000 + flow, 53), proto=17, is_conn=True)


def send(numbers: range, size: int = 300) -> list[bytes]:
    sent = [packet(number, number % FLOWS, size) for number in numbers]
    with sender("far") as far:
        for data in sent:
            far.send(data)
    return sent


def found(pcap_fd: int, index_fd: int, query: FlowQuery, pcap_bytes: int) -> tuple[list[bytes], list[Extent]]:
    """Packets by the index, and what was read for them."""
    extents = SegmentIndex(index_fd).lookup(query, pcap_bytes)
    return [record[1] for record in read_records(read_wanted(pcap_fd, query, extents))], extents


def assert_indexed(pcap_fd: int, index_fd: int, stored: list[bytes], pcap_bytes: int | None = None) -> None:
    """Every flow is found as a search through what was sent finds it."""
    size = os.fstat(pcap_fd).st_size if pcap_bytes is None else pcap_bytes
    for flow in range(FLOWS):
        host = IPv4Address(f"10.0.1.{flow}").packed
        assert found(pcap_fd, index_fd, query_of(flow), size)[0] == [data for data in stored if host in data[:50]]


class Segments:
    """A segment after the other, each with its journal and index, by two writers in turn."""

    def __init__(self, ring: Ring, tap: RingTap, directory: Path, kind: OutputKind, max_bytes: int = 1 << 19) -> None:
        self.ring, self.tap, self.directory, self.max_bytes = ring, tap, directory, max_bytes
        self.output = RingOutput(kind)
        self.writers = [SegmentIndexWriter(1024), SegmentIndexWriter(1024)]
        self.packets = self.number = 0
        ring.attach(tap)
        self.begin()

    @property
    def writer(self) -> SegmentIndexWriter:
        return self.writers[self.number % 2]

    def begin(self) -> None:
        self.pcap = (self.directory / f"{self.number}.pcap").open("xb+")
        self.journal = (self.directory / f"{self.number}.journal").open("xb+", buffering=0)
        self.output.begin(self.pcap.fileno(), linktype=1, max_bytes=self.max_bytes)
        self.tap.begin(self.writer, linktype=1)

    def end(self) -> int:
        segment, writer = self.output.finish(), self.writer
        self.tap.begin(None, linktype=1)
        with (self.directory / f"{self.number}.idx").open("xb+", buffering=0) as index:
            self.tap.finish(writer, index.fileno(), segment)
            assert SegmentIndex(index.fileno()).info().packets == segment.packets
        self.pcap.close()
        self.journal.close()
        self.number += 1
        self.packets += segment.packets
        return segment.packets

    def write_journal(self) -> None:
        self.tap.journal(self.writer, self.journal.fileno(), self.output.visible)

    def run(self) -> None:
        while self.ring.pending:
            if self.ring.run(self.output, max_blocks=1, run_ms=20) is RingStatus.FULL:
                self.end()
                self.begin()


@pytest.mark.parametrize("kind", FILES, ids=lambda kind: kind.name)
@pytest.mark.parametrize("cutoff", [None, 1 << 40], ids=["stored", "judged"])
def test_every_flow_is_found_in_every_segment(ring: Ring, tmp_path: Path, kind: OutputKind, cutoff: int | None) -> None:
    """By the index of finished segments and by the journal of the growing one, with tags; others are not read."""
    tap = RingTap(FlowTable(1024, cutoff=cutoff))
    segments, sent = Segments(ring, tap, tmp_path, kind), []
    for begin in range(0, 6000, 1500):
        sent += send(range(begin, begin + 1500))
        segments.run()
        segments.output.sync()
        segments.write_journal()
        visible = segments.output.visible
        now = sent[segments.packets : segments.packets + segments.output.segment().packets]
        assert_indexed(segments.pcap.fileno(), segments.journal.fileno(), now, visible)
    segments.end()
    assert ring.counts().kernel_drops == 0
    assert segments.number > 2
    at = 0
    for number in range(segments.number):
        with (tmp_path / f"{number}.pcap").open("rb") as pcap, (tmp_path / f"{number}.idx").open("rb") as index:
            packets = SegmentIndex(index.fileno()).info().packets
            assert_indexed(pcap.fileno(), index.fileno(), sent[at : at + packets])
            at += packets
            assert (
                SegmentIndex(index.fileno()).lookup(FlowQuery(hosts=("192.0.2.1",)), os.fstat(pcap.fileno()).st_size)
                == []
            )
    assert at == len(sent)
    assert tap.counts().packets == len(sent)
    totals = tap.get(key_of(3))
    assert totals is not None
    assert sum(totals.packets) == len(sent) // FLOWS


def test_a_flow_is_cut_behind_its_cutoff_and_lifted_again(ring: Ring, tmp_path: Path) -> None:
    """Exactly what comes after the packet that crosses it; a lifted flow is whole from then on; all is counted."""
    tap = RingTap(FlowTable(1024))
    segments = Segments(ring, tap, tmp_path, OutputKind.CACHED, 1 << 24)
    tap.set_cutoff(4000)
    first = send(range(FLOWS * 20))
    segments.run()
    tap.lift(key_of(5), time.time_ns())
    second = send(range(FLOWS * 20, FLOWS * 40))
    segments.run()
    tap.unlift(key_of(5))
    tap.set_cutoff(None)
    third = send(range(FLOWS * 40, FLOWS * 41))
    segments.run()
    kept, lengths = [], defaultdict[int, int](int)
    for number, data in enumerate(first + second + third):
        flow = number % FLOWS
        if lengths[flow] < 4000 or (flow == 5 and number >= len(first)) or number >= len(first) + len(second):
            kept.append(data)
        lengths[flow] += len(data)
    segments.output.sync()
    with (tmp_path / "0.pcap").open("rb") as file:
        assert [record[1] for record in read_records(file.read()[24:])] == kept
    counts = ring.counts()
    assert (counts.stored, counts.cut) == (len(kept), len(first + second + third) - len(kept))
    assert counts.cut_bytes == sum(map(len, first + second + third)) - sum(map(len, kept))
    assert tap.counts().cut_packets == counts.cut
    segments.write_journal()
    assert_indexed(segments.pcap.fileno(), segments.journal.fileno(), kept)
    segments.end()


def test_other_threads_lift_and_ask_while_the_ring_runs(ring: Ring, tmp_path: Path) -> None:
    """Nothing is lost or stuck: every packet is stored or cut, and the journal is right at any moment."""
    tap = RingTap(FlowTable(1024, cutoff=10_000))
    segments = Segments(ring, tap, tmp_path, OutputKind.CACHED, 1 << 26)
    stop = threading.Event()

    def record() -> None:
        while not stop.is_set():
            ring.run(segments.output, run_ms=50)

    thread = threading.Thread(target=record)
    thread.start()
    sent = []
    for begin in range(0, 8000, 800):
        sent += send(range(begin, begin + 800))
        for flow in range(FLOWS):
            tap.lift(key_of(flow), time.time_ns())
            assert tap.get(key_of(flow)) is not None
            assert tap.unlift(key_of(flow))
        tap.set_cutoff(None if begin % 1600 else 10_000)
        segments.write_journal()
        assert tap.counts().packets <= len(sent)
    stop.set()
    ring.wake()
    thread.join()
    segments.run()
    counts = ring.counts()
    assert counts.packets == counts.stored + counts.cut == len(sent) - counts.kernel_drops
    segments.output.sync()
    segments.write_journal()
    with (tmp_path / "0.pcap").open("rb") as file:
        stored = [record[1] for record in read_records(file.read()[24:])]
    assert len(stored) == counts.stored
    assert_indexed(segments.pcap.fileno(), segments.journal.fileno(), stored)
    segments.end()


@pytest.mark.parametrize("kind", FILES, ids=lambda kind: kind.name)
def test_the_index_ends_where_a_failed_write_ended_the_file(ring: Ring, tmp_path: Path, kind: OutputKind) -> None:
    """A full disk: journal and index point at what the file holds, and at nothing else."""
    mount = ("mount", "-t", "tmpfs", "-o", "size=2m", "none", str(tmp_path))
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("cannot mount a disk here")
    try:
        output, writer, tap = RingOutput(kind), SegmentIndexWriter(1024), RingTap(FlowTable(1024))
        ring.attach(tap)
        sent = send(range(5000), 1000)
        journal, index = os.memfd_create("journal"), os.memfd_create("index")
        with (tmp_path / "pcap").open("xb+") as pcap:
            output.begin(pcap.fileno(), linktype=1)
            tap.begin(writer, linktype=1)
            while ring.run(output, max_blocks=1, run_ms=20) is not RingStatus.FAILED:
                tap.journal(writer, journal, output.visible)
            segment = output.finish()
            tap.begin(None, linktype=1)
            tap.journal(writer, journal, output.visible)
            tap.finish(writer, index, segment)
            assert segment.lost_packets > 0
            info = SegmentIndex(index).info()
            assert info.pcap_bytes == segment.bytes == os.fstat(pcap.fileno()).st_size
            assert segment.packets <= info.packets <= segment.packets + (16 << 10) // 1016 + 1
            for fd in (journal, index):
                assert_indexed(pcap.fileno(), fd, sent[: segment.packets])
                others = SegmentIndex(fd).lookup(FlowQuery(hosts=("192.0.2.1",)), segment.bytes)
                assert sum(extent.length for extent in others) < 16 << 10
        os.close(journal)
        os.close(index)
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def test_memory_is_indexed_too(ring: Ring) -> None:
    """Each segment by the journal beside it, the growing one as well, while the ring goes on."""
    tap = RingTap(FlowTable(1024))
    ring.attach(tap)
    memory = MemoryRing(4 << 20, segment_bytes=1 << 20, tap=tap)
    output, sent = memory.begin(linktype=1), []
    for begin in range(0, 16_000, 2000):
        sent += send(range(begin, begin + 2000))
        while ring.pending:
            if ring.run(output, run_ms=20) is RingStatus.FULL:
                output = memory.begin(linktype=1)
        with memory.reading() as segments:
            at = len(sent) - sum(segment.segment.packets for segment in segments)
            for segment in segments:
                part = sent[at : at + segment.segment.packets]
                assert_indexed(segment.fd, segment.index_fd, part, segment.bytes)
                at += len(part)
            read = found(segments[0].fd, segments[0].index_fd, FlowQuery(hosts=("192.0.2.1",)), segments[0].bytes)[1]
            assert sum(extent.length for extent in read) < 2 << 14
            if begin == 8000:  # what is read stays, also when its place is taken by others
                growing = segments[-1]
                sent += send(range(begin + 2000, begin + 2001))
                while ring.pending:
                    ring.run(output, run_ms=20)
                part = sent[-1 - growing.segment.packets : -1]
                with memory.reading():
                    assert_indexed(growing.fd, growing.index_fd, part, growing.bytes)
    memory.end()
    with memory.reading() as segments:
        assert_indexed(
            segments[-1].fd, segments[-1].index_fd, sent[-segments[-1].segment.packets :], segments[-1].bytes
        )


def test_a_tap_does_not_change_while_packets_wait(ring: Ring, tmp_path: Path) -> None:
    """What it has judged it must see stored; a ring without one goes on, and a closed tap is refused."""
    tap = RingTap(FlowTable(1024, cutoff=1 << 40))
    ring.attach(tap)
    send(range(100))
    with (tmp_path / "pcap").open("xb+") as pcap:
        output = RingOutput(OutputKind.CACHED)
        output.begin(pcap.fileno(), linktype=1, max_bytes=2000)
        while ring.run(output, run_ms=20) is not RingStatus.FULL:
            pass
        with pytest.raises(ValueError, match="packets wait"):
            ring.attach(None)
        output.finish()
        drain(ring, None)
    assert ring.counts().waiting == 0
    ring.attach(None)
    send(range(10))
    drain(ring, None)
    assert tap.counts().packets == 100
    tap.close()
    with pytest.raises(ValueError, match="closed"):
        ring.attach(tap)
    with pytest.raises(ValueError, match="16 bits"):
        RingTap(FlowTable(8), community_seed=1 << 16)
