"""Files: compression, torn ends, what is no capture file."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
import zstandard

from appliance.errors import ApplianceError, RemoteProtocolError
from appliance.pcap.reader import BLOCK_BYTES, CaptureReader, find_captures

from .build import enhanced, header, interface, read, record, section, simple

S = 10**9
BODIES = [bytes([i % 256]) * (i % 1500) for i in range(4000)]
PCAP = header() + b"".join(record(i * S, body) for i, body in enumerate(BODIES))
PCAPNG = section() + interface() + b"".join(enhanced(i * 10**6, body) for i, body in enumerate(BODIES))


@pytest.mark.parametrize("data", [PCAP, PCAPNG], ids=["pcap", "pcapng"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress], ids=["plain", "gzip", "zstd"])
def test_files_of_several_blocks_are_read_whole(tmp_path: Path, data: bytes, pack: object) -> None:
    """Also when they are compressed; and every byte of the file is told to whoever shows progress."""
    path = tmp_path / "x"
    path.write_bytes(pack(data))  # type: ignore[operator]
    assert len(data) > 2 * BLOCK_BYTES
    told: list[int] = []
    with CaptureReader(path, progress=told.append) as reader:
        packets = list(reader.packets())
        assert (reader.torn, reader.damage) == (0, "")
    assert [packet.data for packet in packets] == BODIES
    assert [packet.ts_ns for packet in packets] == [i * S for i in range(len(BODIES))]
    assert sum(told) == path.stat().st_size


def test_zstd_in_several_frames_is_read_whole(tmp_path: Path) -> None:
    """A compressor may begin a new frame at any byte."""
    path = tmp_path / "x"
    path.write_bytes(zstandard.compress(PCAP[:5000]) + zstandard.compress(PCAP[5000:]))
    assert len(read(path)) == len(BODIES)


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
def test_compressed_files_that_end_early_are_read_up_to_there(tmp_path: Path, pack: object) -> None:
    """That they do is told, as damage or as a torn end."""
    path = tmp_path / "x"
    data = pack(PCAP)  # type: ignore[operator]
    path.write_bytes(data[: len(data) * 3 // 4])
    with CaptureReader(path) as reader:
        packets = list(reader.packets())
        assert reader.torn or reader.damage
    assert [packet.data for packet in packets] == BODIES[: len(packets)]


def test_a_damaged_stream_is_told(tmp_path: Path) -> None:
    """Not an exception of a compression library."""
    path = tmp_path / "x"
    data = bytearray(gzip.compress(PCAP))
    data[-5] ^= 0xFF
    path.write_bytes(data)
    with CaptureReader(path) as reader:
        list(reader.packets())
        assert reader.damage == "the compressed data is damaged"


@pytest.mark.parametrize(("missing", "torn"), [(1, 16 + 999 - 1), (16 + 999 - 3, 3)])
def test_a_torn_end_is_measured(tmp_path: Path, missing: int, torn: int) -> None:
    """In bytes that belong to no whole packet."""
    path = tmp_path / "x"
    path.write_bytes((header() + record(S, b"a") + record(S, bytes(999)))[:-missing])
    with CaptureReader(path) as reader:
        assert [packet.data for packet in reader.packets()] == [b"a"]
        assert (reader.torn, reader.damage) == (torn, "")


@pytest.mark.parametrize("length", [0, 4, 23])
def test_a_file_without_a_whole_header_is_empty(tmp_path: Path, length: int) -> None:
    """Some recorders leave a file of 0 bytes behind when nothing comes."""
    path = tmp_path / "x"
    path.write_bytes(header()[:length])
    with CaptureReader(path) as reader:
        assert (list(reader.packets()), reader.torn) == ([], length)


@pytest.mark.parametrize("data", [b"a", b"text that is long enough", gzip.compress(b"text"), b"\x28\xb5\x2f\xfd" * 9])
def test_other_files_are_refused(tmp_path: Path, data: bytes) -> None:
    """By name."""
    path = tmp_path / "x"
    path.write_bytes(data)
    with pytest.raises(RemoteProtocolError, match="x: is no capture file"):
        CaptureReader(path)


def test_what_cannot_be_opened_is_told(tmp_path: Path) -> None:
    """And nobody waits for the writer of a FIFO."""
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ApplianceError, match="is no regular file"):
        CaptureReader(tmp_path / "fifo")
    with pytest.raises(ApplianceError, match="cannot be read: No such file"):
        CaptureReader(tmp_path / "none")


def test_a_packet_without_time_has_that_of_the_one_before(tmp_path: Path) -> None:
    """So that it stays where it was in the order of time."""
    path = tmp_path / "x"
    path.write_bytes(section() + interface() + simple(b"a") + enhanced(5, b"b") + simple(b"c"))
    assert [(packet.ts_ns, packet.data) for packet in read(path)] == [(0, b"a"), (5000, b"b"), (5000, b"c")]


def test_a_range_of_time_includes_its_start_only(tmp_path: Path) -> None:
    """So that ranges that follow each other share no packet."""
    path = tmp_path / "x"
    path.write_bytes(header() + b"".join(record(i, bytes([i])) for i in range(6)))
    with CaptureReader(path) as reader:
        assert [packet.ts_ns for packet in reader.packets(2, 4)] == [2, 3]


def test_a_folder_stands_for_its_finished_captures(tmp_path: Path) -> None:
    """In the order of their names; what is being written is left out unless it is named."""
    for name in ("b.pcap", "a.pcapng.zst", "c.pcap.part", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "d.pcap").mkdir()
    assert [path.name for path in find_captures([tmp_path])] == ["a.pcapng.zst", "b.pcap"]
    assert find_captures([tmp_path / "c.pcap.part"]) == [tmp_path / "c.pcap.part"]
    with pytest.raises(ApplianceError, match="none: No such file or directory"):
        find_captures([tmp_path / "none"])
