"""Outputs of a ring: files past and through the page cache, memory, full and broken disks, readers meanwhile."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.native import MemoryRing, OutputKind, Ring, RingOutput, RingStatus, scan_pcap

from .netns import veth
from .readers import records
from .recording import HEADER_BYTES, drain
from .test_ring import frame, sender

FILES = [OutputKind.CACHED, OutputKind.DIRECT]
PAYLOAD = b"x" * 986


@pytest.fixture
def ring() -> Iterator[Ring]:
    with veth():
        ring = Ring("near", ring_bytes=32 << 20, retire_ms=5)
        ring.listen()
        yield ring


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of two mebibytes."""
    mount = ("mount", "-t", "tmpfs", "-o", "size=2m", "none", str(tmp_path))
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("cannot mount a disk here")
    yield tmp_path
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def send(count: int, payload: bytes = PAYLOAD) -> None:
    with sender("far") as far:
        for number in range(count):
            far.send(frame(number.to_bytes(8, "big") + payload))


def numbers(data: bytes) -> list[int]:
    return [int.from_bytes(record.data[14:22], "big") for record in records(data[HEADER_BYTES:])]


@pytest.mark.parametrize("kind", FILES, ids=lambda kind: kind.name)
def test_a_full_disk_ends_a_segment_between_records(ring: Ring, small_disk: Path, kind: OutputKind) -> None:
    """What did not reach the file is counted, the file is whole, and another goes on when there is space again."""
    output = RingOutput(kind)
    send(4000)
    with (small_disk / "first").open("xb+") as file:
        output.begin(file.fileno(), linktype=1)
        while (status := ring.run(output, run_ms=20)) is not RingStatus.FAILED:
            assert ring.pending, status
        assert output.error == errno.ENOSPC
        assert ring.run(output) is RingStatus.FAILED
        segment = output.finish()
        scan = scan_pcap(file.fileno())
    data = (small_disk / "first").read_bytes()
    kept = numbers(data)
    assert segment.error == errno.ENOSPC
    assert (segment.packets, segment.bytes) == (len(kept), len(data)) == (scan.packets, scan.good_bytes)
    assert (segment.first_ns, segment.last_ns) == (scan.first_ns, scan.last_ns)
    assert kept == list(range(len(kept)))
    assert len(data) > (2 << 20) - 8192
    assert segment.lost_packets > 0
    assert segment.lost_packets * 1008 == segment.lost_bytes
    assert segment.packets + segment.lost_packets == ring.counts().stored
    stored = ring.counts().stored
    drain(ring, None)
    assert ring.counts().discarded == 4000 - stored
    (small_disk / "first").unlink()
    send(100)
    with (small_disk / "second").open("xb+") as file:
        output.begin(file.fileno(), linktype=1)
        drain(ring, output)
        assert output.finish()[0] == 100
    assert numbers((small_disk / "second").read_bytes()) == list(range(100))


def test_space_that_comes_back_in_time_saves_the_segment(ring: Ring, small_disk: Path) -> None:
    """The end writes once more what could not be written."""
    output = RingOutput(OutputKind.CACHED)
    (small_disk / "filler").write_bytes(bytes(1 << 20))
    send(1500)
    with (small_disk / "pcap").open("xb+") as file:
        output.begin(file.fileno(), linktype=1)
        while ring.run(output, run_ms=20) is not RingStatus.FAILED:
            assert ring.pending
        (small_disk / "filler").unlink()
        segment = output.finish()
    assert (segment.error, segment.lost_packets) == (0, 0)
    assert numbers((small_disk / "pcap").read_bytes()) == list(range(ring.counts().stored))


def test_a_file_that_cannot_be_written(ring: Ring, tmp_path: Path) -> None:
    """Its error is told, everything is counted as lost, and the output can go on."""
    output = RingOutput(OutputKind.CACHED)
    (tmp_path / "pcap").touch()
    send(10)
    with (tmp_path / "pcap").open("rb") as file:
        output.begin(file.fileno(), linktype=1)
        while ring.run(output, run_ms=20) is not RingStatus.FAILED:
            pass
        segment = output.finish()
    assert segment.error == errno.EBADF
    assert (segment.packets, segment.bytes, segment.lost_packets) == (0, 0, 10)
    with pytest.raises(ValueError, match="no segment"):
        output.finish()


@pytest.mark.parametrize("kind", FILES, ids=lambda kind: kind.name)
def test_a_growing_segment_is_readable(ring: Ring, tmp_path: Path, kind: OutputKind) -> None:
    """After sync() a reader finds every record so far, and what is written later does not disturb it."""
    output, path = RingOutput(kind), tmp_path / "pcap"
    with path.open("xb+") as file:
        output.begin(file.fileno(), linktype=1, preallocate=1 << 24)
        total = 0
        for count in (1, 10, 3000, 1, 5):
            send(count)
            drain(ring, output)
            output.sync()
            total += count
            data = path.read_bytes()
            assert len(data) == output.visible == output.segment().bytes
            assert len(numbers(data)) == total
        segment = output.finish()
        assert os.fstat(file.fileno()).st_blocks * 512 < segment.bytes + (1 << 20)
    assert (segment.packets, segment.bytes) == (total, path.stat().st_size)
    assert numbers(path.read_bytes())[-6:] == [0, 0, 1, 2, 3, 4]


def test_cached_segments_are_readable_at_each_pause(ring: Ring, tmp_path: Path) -> None:
    """Nobody has to ask for it."""
    output, path = RingOutput(OutputKind.CACHED), tmp_path / "pcap"
    with path.open("xb+") as file:
        output.begin(file.fileno(), linktype=1)
        send(3)
        drain(ring, output)
        assert numbers(path.read_bytes()) == [0, 1, 2]
        output.finish()


def test_a_memory_segment_is_read_as_a_file(ring: Ring) -> None:
    """The same bytes as a file, by its descriptor; full is told; the next segment takes its place."""
    output = RingOutput(OutputKind.MEMORY, buffer_bytes=1 << 20)
    for begin in (0, 1):
        output.begin(linktype=1, max_bytes=1 << 20)
        send(1500)
        while (status := ring.run(output, run_ms=20)) is not RingStatus.FULL:
            assert ring.pending, status
        segment = output.finish()
        data = os.pread(output.fileno(), output.visible, 0)
        assert segment.bytes == len(data) == output.visible
        assert (1 << 20) - 1024 < len(data) <= 1 << 20
        found = numbers(data)
        assert len(found) == segment.packets
        assert segment.error == 0
        assert found == [number % 1500 for number in range(found[0], found[0] + len(found))]
        assert (found[0] > 0) == bool(begin)
    drain(ring, None)


def test_kinds(tmp_path: Path, small_disk: Path) -> None:
    """What a file system does not support falls back; one in memory is written through its cache."""
    for kind, expected in ((OutputKind.AUTOMATIC, OutputKind.CACHED), (OutputKind.CACHED, OutputKind.CACHED)):
        output = RingOutput(kind)
        with (small_disk / f"{kind}").open("xb+") as file:
            output.begin(file.fileno(), linktype=1)
            assert output.kind is expected
            assert output.finish().bytes == HEADER_BYTES
    memory = RingOutput(OutputKind.MEMORY, buffer_bytes=1 << 20)
    assert memory.kind is OutputKind.MEMORY
    reader, writer = os.pipe()
    output = RingOutput(OutputKind.DIRECT)
    output.begin(writer, linktype=1)
    assert output.finish().error == errno.ESPIPE
    os.close(reader)
    os.close(writer)


def test_limits(tmp_path: Path) -> None:
    """Arguments out of range are refused, and a segment is begun once."""
    for kind, size in ((OutputKind.CACHED, 1024), (OutputKind.DIRECT, 1 << 30), (OutputKind.MEMORY, 0), (9, 0)):
        with pytest.raises(ValueError, match="out of range"):
            RingOutput(kind, buffer_bytes=size)  # type: ignore[arg-type]
    machine_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if machine_bytes < 1 << 36:
        with pytest.raises(MemoryError):
            RingOutput(OutputKind.MEMORY, buffer_bytes=1 << 36)
    output = RingOutput()
    assert output.fileno() == -1
    with pytest.raises(ValueError, match="no segment"):
        output.sync()
    with (tmp_path / "pcap").open("xb+") as file:
        with pytest.raises(ValueError, match="out of range"):
            output.begin(file.fileno(), linktype=1, snaplen=0)
        output.begin(file.fileno(), linktype=1)
        with pytest.raises(ValueError, match="is open"):
            output.begin(file.fileno(), linktype=1)
        assert output.finish().bytes == HEADER_BYTES
    output.close()
    with pytest.raises(ValueError, match="closed"):
        output.finish()


def test_memory_keeps_the_newest(ring: Ring) -> None:
    """What is left is the end of what came, without a gap; what is read stays while the ring goes on."""
    memory = MemoryRing(4 << 20, segment_bytes=1 << 20)

    def record(output: RingOutput, count: int) -> RingOutput:
        for _ in range(count // 1000):
            send(1000)
            while ring.pending:
                if ring.run(output, run_ms=20) is RingStatus.FULL:
                    output = memory.begin(linktype=1)
        return output

    def kept() -> list[int]:
        with memory.reading() as segments:
            found = [numbers(os.pread(segment.fd, segment.bytes, 0)) for segment in segments]
            assert [len(part) for part in found] == [segment.segment.packets for segment in segments]
            return [number for part in found for number in part]

    output = record(memory.begin(linktype=1), 1000)
    assert kept() == list(range(1000))
    output = record(output, 10_000)
    newest = kept()
    assert newest == [number % 1000 for number in range(11_000 - len(newest), 11_000)]
    assert (3 << 20) - 8192 < len(newest) * 1024 < 4 << 20
    with memory.reading() as segments:
        before = [os.pread(segment.fd, segment.bytes, 0) for segment in segments]
        output = record(output, 8000)
        assert [os.pread(segment.fd, segment.bytes, 0) for segment in segments] == before
    assert len(kept()) * 1024 > (3 << 20) - 8192
    memory.end()
    memory.end()
    assert kept()[-1] == 999
    with pytest.raises(ValueError, match="fewer than two"):
        MemoryRing(1 << 20)
