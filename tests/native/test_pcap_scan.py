"""Scans of pcapng files, whole, torn and damaged, as others write them too."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.native import PcapBlock, PcapFormat, PcapScan, scan_pcap, scan_pcap_bytes

from .readers import run

T0_NS = 1_700_000_000_123_456_789


def option(order: str, code: int, value: bytes) -> bytes:
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def block(order: str, kind: int, body: bytes) -> bytes:
    size = len(body) + 12
    return struct.pack(order + "II", kind, size) + body + struct.pack(order + "I", size)


def section(order: str = "=", version: int = 1) -> bytes:
    return block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, version, 0, -1))


def interface(order: str = "=", linktype: int = 1, snaplen: int = 65535, options: bytes = b"") -> bytes:
    return block(order, 1, struct.pack(order + "HHI", linktype, 0, snaplen) + options)


def packet(order: str = "=", ticks: int = 0, data: bytes = b"abcde", number: int = 0) -> bytes:
    body = struct.pack(order + "IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, len(data), len(data))
    return block(order, 6, body + data + bytes(-len(data) % 4))


def scan_file(data: bytes) -> PcapScan:
    descriptor = os.memfd_create("pcapng")
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        return scan_pcap(descriptor)


def test_a_file_torn_at_any_byte_ends_at_its_last_whole_block() -> None:
    """For each length the good part is the whole blocks before it; memory and file agree."""
    parts = [section(), interface(), packet(ticks=1), block("=", 0xBAD, bytes(8)), packet(ticks=2), packet(ticks=3)]
    data = b"".join(parts)
    ends = [sum(map(len, parts[: i + 1])) for i in range(len(parts))]
    for size in range(len(data) + 1):
        scan = scan_pcap_bytes(data[:size])
        whole = [end for end in ends if end <= size]
        assert scan.good_bytes == (whole[-1] if whole else 0)
        assert scan.packets == sum(end in whole for end in (ends[2], ends[4], ends[5]))
        assert scan_file(data[:size]) == scan


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("options", "ticks", "expected_ns"),
    [
        ((), 1_700_000_000_123_456, 1_700_000_000_123_456_000),
        (((9, b"\x09"),), T0_NS, T0_NS),
        (((2, b"eth0"), (9, b"\x03")), 1_700_000_000_123, 1_700_000_000_123_000_000),
        (((9, b"\x0c"),), 1_700_000_000_123_456, 1_700_000_000_123),
        (((9, b"\x00"),), 1_700_000_000, 1_700_000_000_000_000_000),
        (((9, b"\x7f"),), 2**64 - 1, 0),
        (((9, b"\x00"),), 2**64 - 1, 2**64 - 1),
        (((9, b"\x94"),), 5 << 20 | 1 << 19, 5_500_000_000),
        (((9, b"\xff"),), 2**64 - 1, 0),
        (((9, b"\x80"),), 7, 7_000_000_000),
        (((14, 2), (9, b"\x09")), 5, 2_000_000_005),
        (((14, -2), (9, b"\x09")), 3_000_000_000, 1_000_000_000),
        (((14, -2), (9, b"\x09")), 5, 0),
        (((0, b""), (9, b"\x09")), 7, 7_000),
        (((9, b"\x09\x09"),), 7, 7_000),
    ],
)
def test_times_come_in_every_resolution(
    order: str, options: tuple[tuple[int, bytes | int], ...], ticks: int, expected_ns: int
) -> None:
    """Powers of ten and two, an offset, saturation; what is no such option is ignored; the default is microseconds."""
    made = b"".join(
        option(order, code, struct.pack(order + "q", value) if isinstance(value, int) else value)
        for code, value in options
    )
    data = section(order) + interface(order, 147, 1000, made) + packet(order, ticks)
    assert scan_pcap_bytes(data) == PcapScan(len(data), 1, expected_ns, expected_ns, 147, 1000, PcapFormat.PCAPNG, 1)


def test_sections_begin_anew() -> None:
    """A second section has another byte order and interfaces of its own; the first interface names the link type."""
    nano = option("<", 9, b"\x09")
    data = section(">") + interface(">", 1) + interface(">", 101) + packet(">", 7, number=1)
    second = section("<") + interface("<", 147, options=nano) + packet("<", 9)
    scan = scan_pcap_bytes(data + second)
    assert (scan.packets, scan.linktype, scan.interfaces, scan.first_ns, scan.last_ns) == (2, 1, 3, 7_000, 9)
    assert scan.good_bytes == len(data + second)
    beyond = scan_pcap_bytes(data + second + packet("<", number=1))
    assert (beyond.packets, beyond.good_bytes) == (2, len(data + second))


def test_old_and_simple_packets_count() -> None:
    """The obsolete packet block has a time, the simple one has none."""
    old = block("=", 2, struct.pack("=HHIIII", 0, 3, 0, 5, 2, 2) + b"ab\0\0")
    simple = block("=", 3, struct.pack("=I", 2) + b"ab\0\0")
    scan = scan_pcap_bytes(section() + interface() + simple + old + simple)
    assert (scan.packets, scan.first_ns, scan.last_ns) == (3, 5_000, 5_000)
    assert scan_pcap_bytes(section() + simple).packets == 0


@pytest.mark.parametrize(
    "damage",
    [
        packet(number=1),
        block("=", 6, struct.pack("=IIIII", 0, 0, 0, 9, 9) + bytes(8)),
        block("=", 6, bytes(16)),
        block("=", 1, bytes(4)),
        block("=", 0x0A0D0D0A, bytes(16)),
        section(version=2),
        struct.pack("=III", 0xBAD, 8, 8),
        struct.pack("=III", 0xBAD, 13, 13) + b"\0",
        struct.pack("=III", 0xBAD, 12, 16),
        struct.pack("=II", 0xBAD, 0xFFFFFFFC) + bytes(100),
        bytes(100),
        packet(data=bytes(262145)),
    ],
)
def test_what_cannot_be_ends_the_good_part(damage: bytes) -> None:
    """Lengths that contradict each other, unknown interfaces, absurd packets: the file is good up to there."""
    good = section() + interface() + packet()
    scan = scan_pcap_bytes(good + damage + packet())
    assert (scan.good_bytes, scan.packets) == (len(good), 1)
    assert scan_file(good + damage + packet()) == scan


def test_a_large_snap_length_allows_large_packets() -> None:
    """The limit is the larger of the interface's and libpcap's."""
    data = section() + interface(snaplen=300_000) + packet(data=bytes(262145)) + packet(data=bytes(300_001))
    assert scan_pcap_bytes(data).packets == 1


def test_too_many_interfaces_are_refused() -> None:
    """A file with more than 65536 interfaces in a section is none that we repair."""
    assert scan_pcap_bytes(section() + interface() * 65536).interfaces == 65536
    with pytest.raises(ValueError, match="not a PCAP"):
        scan_pcap_bytes(section() + interface() * 65537)


@pytest.mark.parametrize("data", [section(version=2), b"\x0a\x0d\x0d\x0a" + bytes(24)])
def test_other_versions_are_refused(data: bytes) -> None:
    """A first section that we do not know is not cut down to nothing."""
    with pytest.raises(ValueError, match="not a PCAP"):
        scan_pcap_bytes(data)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_damage_anywhere_is_survived(data: st.DataObject) -> None:
    """Any change of any bytes: no crash, memory and file agree, and the good part scans as wholly good."""
    file = bytearray(section() + interface(options=option("=", 9, b"\x09")) + packet() * 2 + block("=", 5, bytes(8)))
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, len(file) - 1), st.integers(0, 255)), max_size=8)):
        file[at] = value
    damaged = bytes(file[: data.draw(st.integers(0, len(file)))])
    try:
        scan = scan_pcap_bytes(damaged)
    except ValueError:
        with pytest.raises(ValueError, match="not a PCAP"):
            scan_file(damaged)
        return
    assert scan_file(damaged) == scan
    assert scan.good_bytes <= len(damaged)
    if scan.good_bytes:
        assert scan_pcap_bytes(damaged[: scan.good_bytes]) == scan


def test_what_wireshark_writes_is_scanned(tmp_path: Path) -> None:
    """A file of its making, with options of its own."""
    source, copy = tmp_path / "a.pcap", tmp_path / "a.pcapng"
    made = PcapBlock(1 << 16)
    made.header(65535, 1)
    for i in range(100):
        made.append(T0_NS + i, bytes(60))
    source.write_bytes(made.peek())
    run("editcap", "-F", "pcapng", "--capture-comment", "a comment", str(source), str(copy))
    with copy.open("rb") as file:
        scan = scan_pcap(file.fileno())
    assert (scan.good_bytes, scan.packets, scan.linktype) == (copy.stat().st_size, 100, 1)
    assert (scan.first_ns, scan.last_ns) == (T0_NS, T0_NS + 99)
