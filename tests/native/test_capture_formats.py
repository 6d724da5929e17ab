"""Files of both formats and every link type, read by others: counts, times, lengths, statistics, comments."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import dpkt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.native import (
    PcapBlock,
    PcapFormat,
    PcapSpan,
    Received,
    Stored,
    make_file_header,
    record_bytes,
    scan_pcap_bytes,
)

from .readers import blocks, epoch_ns, options, records, run, tshark

T0_NS = 1_700_000_000_123_456_789
FORMATS = list(PcapFormat)
LINKTYPES = [1, 101, 147]
PACKETS = [(T0_NS + i * 1_000_001, bytes(range(i)), i + i % 3) for i in (0, 1, 2, 3, 20, 64, 255)]


def make_file(kind: PcapFormat, linktype: int = 147, packets: list[tuple[int, bytes, int]] = PACKETS) -> bytes:
    block = PcapBlock(1 << 20, format=kind)
    block.header(65535, linktype, interface="udp:8500", comment="täglich", application="the writer", os="Linux")
    assert block.extend(packets) == Stored(len(packets), Received.EMPTY)
    block.statistics(ts_ns=T0_NS + 10**9, first_ns=T0_NS, last_ns=T0_NS + 10**9, received=len(packets), os_dropped=7)
    return block.peek()


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("linktype", LINKTYPES)
def test_wireshark_sees_every_packet(tmp_path: Path, kind: PcapFormat, linktype: int) -> None:
    """Count, times to the nanosecond, lengths and link type."""
    path = tmp_path / "a.pcap"
    path.write_bytes(make_file(kind, linktype))
    rows = tshark(path, "frame.time_epoch", "frame.cap_len", "frame.len")
    assert [(epoch_ns(time), int(caplen), int(wire_len)) for time, caplen, wire_len in rows] == [
        (ts_ns, len(data), wire_len) for ts_ns, data, wire_len in PACKETS
    ]
    told = run("capinfos", "-T", "-m", "-E", "-c", "-t", str(path)).splitlines()[-1]
    name = {1: "ether", 101: "rawip", 147: "user0"}[linktype]
    assert ("pcapng" if kind is PcapFormat.PCAPNG else "nsecpcap") in told
    assert name in told


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("linktype", LINKTYPES)
def test_tcpdump_and_dpkt_see_every_packet(tmp_path: Path, kind: PcapFormat, linktype: int) -> None:
    """libpcap reads as many, dpkt the same data."""
    path = tmp_path / "a.pcap"
    path.write_bytes(make_file(kind, linktype))
    # "greater 0" makes libpcap take the link type seriously
    assert len(run("tcpdump", "-nn", "-tt", "-r", str(path), "greater", "0").splitlines()) >= len(PACKETS)
    reader = (dpkt.pcapng if kind is PcapFormat.PCAPNG else dpkt.pcap).Reader(io.BytesIO(path.read_bytes()))
    assert reader.datalink() == linktype
    assert [data for _, data in reader] == [data for _, data, _ in PACKETS]


def test_capinfos_shows_what_pcapng_can_say(tmp_path: Path) -> None:
    """Comment, application, system, interface name, resolution."""
    path = tmp_path / "a.pcapng"
    path.write_bytes(make_file(PcapFormat.PCAPNG))
    text = run("capinfos", str(path))
    for told in ("täglich", "the writer", "Linux", "Name = udp:8500", "nanoseconds (9)", "Number of stat entries = 1"):
        assert told in text


def test_pcapng_by_the_book() -> None:
    """Section, interface, packets and statistics have the draft's numbers, options and paddings."""
    section, interface, *packets, statistics = blocks(make_file(PcapFormat.PCAPNG))
    assert (section.kind, section.body[:16]) == (0x0A0D0D0A, struct.pack("=IHHq", 0x1A2B3C4D, 1, 0, -1))
    assert options(section.body[16:]) == [(1, "täglich".encode()), (3, b"Linux"), (4, b"the writer")]
    assert (interface.kind, interface.body[:8]) == (1, struct.pack("=HHI", 147, 0, 65535))
    assert options(interface.body[8:]) == [(2, b"udp:8500"), (9, b"\x09")]
    for packet, (ts_ns, data, wire_len) in zip(packets, PACKETS, strict=True):
        assert packet.kind == 6
        assert struct.unpack_from("=IIIII", packet.body) == (0, ts_ns >> 32, ts_ns & 0xFFFFFFFF, len(data), wire_len)
        assert packet.body[20:] == data + bytes(-len(data) % 4)
    end_ns = T0_NS + 10**9
    time, end = (struct.pack("=II", ns >> 32, ns & 0xFFFFFFFF) for ns in (T0_NS, end_ns))
    assert (statistics.kind, statistics.body[:12]) == (5, struct.pack("=I", 0) + end)
    counters = [(code, struct.pack("=Q", value)) for code, value in ((4, len(PACKETS)), (5, 0), (7, 7))]
    assert options(statistics.body[12:]) == [(2, time), (3, end), *counters]


def test_long_texts_are_cut_at_a_character() -> None:
    """A text longer than an option may be does not break the file."""
    start = make_file_header(PcapFormat.PCAPNG, snaplen=1, linktype=1, comment="ä" * 60000, filter="\udcff")
    section, interface = blocks(start)
    ((_, comment),) = options(section.body[16:])
    assert comment.decode() == "ä" * 8192
    assert options(interface.body[8:])[-1] == (11, b"\0?")


@pytest.mark.parametrize("kind", FORMATS)
def test_the_header_is_what_a_block_would_write(kind: PcapFormat) -> None:
    """make_file_header() gives the bytes of PcapBlock.header()."""
    block = PcapBlock(1000, format=kind)
    block.header(100, 1, interface="eth0")
    assert make_file_header(kind, snaplen=100, linktype=1, interface="eth0") == block.peek()
    assert scan_pcap_bytes(block.peek()).snaplen == 100


def test_statistics_are_nothing_in_pcap() -> None:
    """The format has no place for them."""
    block = PcapBlock(1000)
    block.statistics(ts_ns=1, first_ns=1, last_ns=1, received=1)
    assert block.used == 0


@pytest.mark.parametrize("kind", FORMATS)
@given(st.lists(st.tuples(st.integers(0, 2**32 * 10**9 - 1), st.binary(max_size=40), st.integers(0, 50)), max_size=8))
@settings(max_examples=60, deadline=None)
def test_whatever_goes_in_is_scanned_back(kind: PcapFormat, found: list[tuple[int, bytes, int]]) -> None:
    """The scan finds every packet and the times of the first and the last one, and the span says the same."""
    packets = [(ts_ns, data, len(data) + more) for ts_ns, data, more in found]
    block = PcapBlock(1 << 16, format=kind)
    header = make_file_header(kind, snaplen=65535, linktype=1)
    block.extend(packets)
    data = header + block.peek()
    scan = scan_pcap_bytes(data)
    assert (scan.good_bytes, scan.packets, scan.format) == (len(data), len(packets), kind)
    times = [ts_ns for ts_ns, _, _ in packets]
    assert [scan.first_ns, scan.last_ns] == ([times[0], times[-1]] if times else [0, 0])
    span = block.take_span()
    assert span == PcapSpan(
        packets=len(packets),
        size=sum(record_bytes(kind, len(data)) for _, data, _ in packets),
        wire_bytes=sum(wire_len for _, _, wire_len in packets),
        truncated=sum(wire_len > len(data) for _, data, wire_len in packets),
        first_ns=min(times, default=0),
        last_ns=max(times, default=0),
    )
    assert span.size == block.used
    assert block.take_span() == PcapSpan(0, 0, 0, 0, 0, 0)


@pytest.mark.parametrize("kind", FORMATS)
def test_the_snap_length_cuts_what_is_stored(kind: PcapFormat) -> None:
    """The record keeps the true length, and the packet counts as truncated."""
    block = PcapBlock(1000, format=kind, snaplen=3)
    block.append(T0_NS, b"abcd")
    block.append(T0_NS, b"abc")
    span = block.take_span()
    assert (span.truncated, span.wire_bytes, span.size) == (1, 7, 2 * record_bytes(kind, 3))
    if kind is PcapFormat.PCAP:
        assert [(record.data, record.wire_len) for record in records(block.peek())] == [(b"abc", 4), (b"abc", 3)]


@pytest.mark.parametrize("kind", FORMATS)
def test_limits_stop_where_the_file_is_full(kind: PcapFormat) -> None:
    """Packets and bytes are exact, the block's own end too, and the next call goes on."""
    packets = [(T0_NS + i, b"x" * 10, 10) for i in range(10)]
    size = record_bytes(kind, 10)
    block = PcapBlock(8 * size + 1, format=kind)
    assert block.extend(packets, max_packets=3) == Stored(3, Received.MORE)
    assert block.extend(packets, start=3, max_bytes=2 * size) == Stored(5, Received.LIMIT)
    assert block.extend(packets, start=5, max_bytes=2 * size - 1) == Stored(6, Received.LIMIT)
    assert block.extend(packets, start=6, max_bytes=0) == Stored(6, Received.LIMIT)
    assert block.extend(packets, start=6, max_packets=0) == Stored(6, Received.MORE)
    assert block.extend(packets, start=6) == Stored(8, Received.FULL)
    assert block.take_span().packets == 8
    assert block.extend(packets, start=10) == Stored(10, Received.EMPTY)
    assert block.used == 8 * size


def test_a_packet_that_cannot_be_is_named() -> None:
    """extend() stores those before it and says which one."""
    block = PcapBlock(1000)
    with pytest.raises(ValueError, match="index 2"):
        block.extend([(0, b"a", 1), (T0_NS, b"a", 1), (2**32 * 10**9, b"a", 1), (T0_NS, b"b", 1)], start=1)
    assert [record.data for record in records(block.peek())] == [b"a"]
    for packet in ((-1, b"", 0), (0, b"", 2**32), (2**64, b"", 0)):
        with pytest.raises(ValueError, match="out of range"):
            block.extend([packet])
    later = PcapBlock(1000, format=PcapFormat.PCAPNG)
    later.append(2**64 - 1, b"in the year 2554")
    assert later.take_span().last_ns == 2**64 - 1


def test_a_block_changes_its_format_when_it_is_empty() -> None:
    """configure() serves another file with the same memory, and refuses what is wrong."""
    block = PcapBlock(1000)
    block.append(T0_NS, b"a")
    with pytest.raises(ValueError, match="not empty"):
        block.configure(PcapFormat.PCAPNG)
    with Path("/dev/null").open("wb") as file:
        block.flush(file.fileno())
    block.configure(PcapFormat.PCAPNG, snaplen=10)
    block.header(10, 1)
    assert scan_pcap_bytes(block.peek()).format is PcapFormat.PCAPNG
    for snaplen in (0, 262145):
        with pytest.raises(ValueError, match="out of range"):
            PcapBlock(10, snaplen=snaplen)


def test_one_header_at_a_time() -> None:
    """Two PCAP headers in one block would be two files in one."""
    block = PcapBlock(1000)
    block.header(10, 1)
    with pytest.raises(ValueError, match="waits"):
        block.header(10, 1)


def test_what_does_not_fit_is_told() -> None:
    """A pcapng header or statistics for which there is no room leave the block as it was."""
    block = PcapBlock(10, format=PcapFormat.PCAPNG)
    with pytest.raises(OSError, match="buffer"):
        block.header(10, 1)
    with pytest.raises(OSError, match="buffer"):
        block.statistics(ts_ns=0, first_ns=0, last_ns=0, received=0)
    assert block.used == 0
