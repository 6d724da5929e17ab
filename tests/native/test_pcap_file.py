"""PCAP blocks byte for byte, flushing onto awkward descriptors, and scans of whole and torn files."""

from __future__ import annotations

import errno
import io
import os
import resource
import struct
from collections.abc import Iterator
from pathlib import Path

import dpkt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.native import PcapBlock, PcapScan, scan_pcap, scan_pcap_bytes

T0_NS = 1_700_000_000_123_456_789
PACKETS = [(T0_NS, b"", 0), (T0_NS + 1, b"\x00" * 3, 3), (T0_NS + 999_999_999, b"payload", 1500)]


def write_block(block: PcapBlock, path: Path) -> bytes:
    with path.open("wb") as file:
        assert block.flush(file.fileno()) == path.stat().st_size
    return path.read_bytes()


def make_pcap(
    packets: list[tuple[int, bytes, int]], *, order: str = "=", nano: bool = True, snaplen: int = 65535
) -> bytes:
    """A PCAP made without our code."""
    data = struct.pack(order + "IHHiIII", 0xA1B23C4D if nano else 0xA1B2C3D4, 2, 4, 0, 0, snaplen, 101)
    for ts_ns, payload, wire_len in packets:
        fraction = ts_ns % 10**9 // (1 if nano else 1000)
        data += struct.pack(order + "IIII", ts_ns // 10**9, fraction, len(payload), wire_len) + payload
    return data


@pytest.fixture
def block() -> Iterator[PcapBlock]:
    block = PcapBlock(1 << 20)
    yield block
    block.close()


def test_golden_bytes(block: PcapBlock, tmp_path: Path) -> None:
    """Header and record are what pcap-savefile(5) says, in host byte order."""
    block.header(262144, 101)
    block.record(T0_NS, b"abc", 1500)
    numbers = [0xA1B23C4D, 2 | 4 << 16, 0, 0, 262144, 101, 1_700_000_000, 123_456_789, 3, 1500]
    if struct.pack("=H", 1) == b"\x01\x00":
        golden = bytes.fromhex(
            "4d3cb2a1 0200 0400 00000000 00000000 00000400 65000000 00f15365 15cd5b07 03000000 dc050000 616263"
        )
    else:
        golden = struct.pack(">IHHiIIIIIII", numbers[0], 2, 4, *numbers[2:]) + b"abc"
    assert write_block(block, tmp_path / "golden.pcap") == golden


def test_an_independent_reader_agrees(block: PcapBlock, tmp_path: Path) -> None:
    """Dpkt reads back the link type, times and data."""
    block.header(65535, 113)
    for ts_ns, data, wire_len in PACKETS:
        block.record(ts_ns, data, wire_len)
    reader = dpkt.pcap.Reader(io.BytesIO(write_block(block, tmp_path / "a.pcap")))
    assert reader.datalink() == 113
    assert reader.snaplen == 65535
    read = [(int(ts * 10**9), data) for ts, data in reader]
    assert read == [(ts_ns, data) for ts_ns, data, _ in PACKETS]


def test_the_bytes_are_those_of_the_format(block: PcapBlock, tmp_path: Path) -> None:
    """Several records equal an encoding made with struct."""
    block.header(65535, 101)
    for packet in PACKETS:
        block.record(*packet)
    assert write_block(block, tmp_path / "a.pcap") == make_pcap(PACKETS)


def test_records_go_in_whole_or_not_at_all() -> None:
    """A record that does not fit leaves the block as it was; one that fits exactly goes in."""
    block = PcapBlock(24 + 16 + 10)
    block.header(65535, 1)
    with pytest.raises(OSError, match="buffer") as caught:
        block.record(T0_NS, b"x" * 11, 11)
    assert caught.value.errno == errno.ENOBUFS
    assert (block.used, block.free) == (24, 26)
    block.record(T0_NS, b"x" * 10, 10)
    assert (block.used, block.free) == (50, 0)
    with pytest.raises(OSError, match="buffer"):
        block.header(65535, 1)


@pytest.mark.parametrize(
    ("ts_ns", "caplen", "wire_len"),
    [(-1, 1, 1), (2**32 * 10**9, 1, 1), (2**64, 1, 1), (0, 2, 1), (0, 262145, 262145), (0, 1, 2**32), (0, 1, -1)],
)
def test_what_the_format_cannot_say_is_refused(block: PcapBlock, ts_ns: int, caplen: int, wire_len: int) -> None:
    """Times outside 32 bits of seconds, lengths that contradict, and records that no reader takes."""
    with pytest.raises(ValueError, match="no PCAP record"):
        block.record(ts_ns, b"x" * caplen, wire_len)
    assert block.used == 0


def test_the_limits_themselves_are_legal(block: PcapBlock) -> None:
    """The last nanosecond and the longest record."""
    block.record(2**32 * 10**9 - 1, b"x" * 262144, 2**32 - 1)
    assert block.used == 16 + 262144


def test_a_full_device_keeps_the_block(block: PcapBlock, tmp_path: Path) -> None:
    """ENOSPC loses nothing: the same block can be flushed elsewhere."""
    block.header(65535, 101)
    block.record(*PACKETS[2])
    device = os.open("/dev/full", os.O_WRONLY)
    try:
        with pytest.raises(OSError, match="space") as caught:
            block.flush(device)
    finally:
        os.close(device)
    assert (caught.value.errno, block.last_written, block.used) == (errno.ENOSPC, 0, 47)
    assert write_block(block, tmp_path / "a.pcap") == make_pcap(PACKETS[2:])
    assert (block.last_written, block.used) == (47, 0)


def test_a_short_write_goes_on_without_a_gap(block: PcapBlock, tmp_path: Path) -> None:
    """At the file size limit the first part is written; after it is lifted, the rest follows."""
    packets = [(T0_NS + i, b"x" * 100, 100) for i in range(50)]
    block.header(65535, 101)
    for packet in packets:
        block.record(*packet)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    path = tmp_path / "a.pcap"
    with path.open("wb") as file:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1001, limits[1]))
        try:
            with pytest.raises(OSError, match="large") as caught:
                block.flush(file.fileno())
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert (caught.value.errno, block.last_written, block.used) == (errno.EFBIG, 1001, 24 + 50 * 116 - 1001)
        assert block.flush(file.fileno()) == 24 + 50 * 116 - 1001
    assert path.read_bytes() == make_pcap(packets)


def test_a_full_pipe_keeps_the_rest(block: PcapBlock) -> None:
    """A non-blocking pipe takes what it can, in several rounds."""
    packets = [(T0_NS + i, bytes([i % 256]) * 1000, 1000) for i in range(300)]
    block.header(65535, 101)
    for packet in packets:
        block.record(*packet)
    reader, writer = os.pipe2(os.O_NONBLOCK)
    received, rounds = b"", 0
    try:
        while block.used:
            try:
                block.flush(writer)
            except BlockingIOError:
                rounds += 1
            received += os.read(reader, block.last_written)
    finally:
        os.close(reader)
        os.close(writer)
    assert rounds >= 2
    assert received == make_pcap(packets)


def test_flushing_an_empty_block_writes_nothing(block: PcapBlock) -> None:
    """Nothing to write is no error, not even on a bad descriptor."""
    assert block.flush(-1) == 0
    block.header(1, 1)
    with pytest.raises(OSError, match="descriptor"):
        block.flush(-1)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("nano", [True, False])
def test_every_dialect_is_scanned(order: str, nano: bool) -> None:
    """Both byte orders and both resolutions give the same times, to the resolution."""
    data = make_pcap(PACKETS, order=order, nano=nano)
    first, last = (ts_ns if nano else ts_ns // 1000 * 1000 for ts_ns in (PACKETS[0][0], PACKETS[-1][0]))
    assert scan_pcap_bytes(data) == PcapScan(len(data), 3, first, last, 101, 65535)


def test_a_file_torn_at_any_byte_ends_at_its_last_whole_record(tmp_path: Path) -> None:
    """For each length, the good part is the whole records before it; memory and file agree."""
    data = make_pcap(PACKETS)
    ends = [24, 40, 59, 82]
    assert len(data) == ends[-1]
    path = tmp_path / "torn.pcap"
    path.write_bytes(data)
    with path.open("r+b") as file:
        for size in range(len(data), -1, -1):
            file.truncate(size)
            scan = scan_pcap_bytes(data[:size])
            whole = [end for end in ends if end <= size]
            assert scan.good_bytes == (whole[-1] if whole else 0)
            assert scan.packets == max(len(whole) - 1, 0)
            assert scan.first_ns == (T0_NS if scan.packets else 0)
            assert scan.last_ns == (PACKETS[scan.packets - 1][0] if scan.packets else 0)
            assert scan_pcap(file.fileno()) == scan


@given(
    st.lists(st.sampled_from([0, 1, 16, 1000, 65000, 65519, 65520, 65536, 200_000]), max_size=12), st.integers(0, 99)
)
@settings(max_examples=30, deadline=None)
def test_large_files_are_scanned_like_memory(sizes: list[int], cut: int) -> None:
    """Records around the size of the read window do not confuse it."""
    whole = make_pcap([(T0_NS + i, b"\xa5" * size, size) for i, size in enumerate(sizes)])
    data = whole[: max(len(whole) - cut, 24)]
    descriptor = os.memfd_create("pcap")
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        assert scan_pcap(descriptor) == scan_pcap_bytes(data)
        assert file.tell() == len(data)
    assert scan_pcap_bytes(whole).packets == len(sizes)


@pytest.mark.parametrize(("snaplen", "limit"), [(100, 262144), (300_000, 300_000)])
def test_an_impossible_length_ends_the_good_part(snaplen: int, limit: int) -> None:
    """A captured length above max(snaplen, 262144) is damage, even if the bytes are there."""
    for size, packets in ((limit, 3), (limit + 1, 1)):
        data = make_pcap([(T0_NS, b"a", 1), (T0_NS, b"b" * size, size), (T0_NS, b"c", 1)], snaplen=snaplen)
        assert scan_pcap_bytes(data).packets == packets
    assert scan_pcap_bytes(data).good_bytes == 41


def test_the_link_type_is_read_without_the_checksum_bits() -> None:
    """The bits above the link type tell about frame check sequences."""
    data = struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1 | 0x24000000)
    assert scan_pcap_bytes(data).linktype == 1


def test_what_is_no_pcap(tmp_path: Path) -> None:
    """A wrong magic is a ValueError, too short for a header is just not good, what cannot be read is an OSError."""
    with pytest.raises(ValueError, match="not a PCAP file"):
        scan_pcap_bytes(b"\x0a\x0d\x0d\x0a" + bytes(100))
    assert scan_pcap_bytes(b"") == scan_pcap_bytes(b"\xff" * 23) == PcapScan(0, 0, 0, 0, 0, 0, interfaces=0)
    reader, writer = os.pipe()
    try:
        with pytest.raises(OSError, match="seek") as caught:
            scan_pcap(reader)
    finally:
        os.close(reader)
        os.close(writer)
    assert caught.value.errno == errno.ESPIPE
    with pytest.raises(OSError, match="descriptor"):
        scan_pcap(-1)


def test_a_closed_block_refuses_every_call(block: PcapBlock) -> None:
    """Nothing works after close."""
    block.close()
    for call in (lambda: block.header(1, 1), lambda: block.record(0, b"", 0), lambda: block.flush(1)):
        with pytest.raises(ValueError, match="PcapBlock is closed"):
            call()
    with pytest.raises(ValueError, match="closed"):
        _ = block.used
    with pytest.raises(ValueError, match="closed"):
        _ = block.free


def test_no_memory_is_an_error() -> None:
    """A block that cannot be is a MemoryError."""
    with pytest.raises(MemoryError):
        PcapBlock(2**63)
