"""Captures and awkward packets through an interface and the ring: the same packets are in the files, and each flow is
found by its index as others find it by search."""

from __future__ import annotations

import lzma
import socket
import struct
from collections import defaultdict
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import dpkt
import pytest

from appliance.native import (
    FlowKey,
    FlowQuery,
    FlowTable,
    OutputKind,
    Ring,
    RingStatus,
    RingTap,
    community_id,
    flow_key,
)

from .netns import ip, veth
from .packets import ETHERNET, UDP, ipv4, ipv6, link, read_records, transport, udp_frame
from .readers import run, tshark
from .test_ring import PACKET_VNET_HDR, sender
from .test_ring_tap import Segments
from .test_segment_extract import GOLDEN, by_key, keys_by_dpkt, needs_tshark
from .wanted import read_segment

MTU = 9000


@pytest.fixture
def ring() -> Iterator[Ring]:
    with veth():
        ring = Ring("near", ring_bytes=64 << 20, retire_ms=5)
        ring.listen()
        yield ring


class Files:
    """The segments that were recorded."""

    def __init__(self, directory: Path, count: int) -> None:
        self.pairs = [(directory / f"{i}.pcap", directory / f"{i}.idx") for i in range(count)]

    def found(self, query: FlowQuery) -> list[bytes]:
        blocks = (read_segment(pcap, query, index) for pcap, index in self.pairs)
        return [record[1] for record in read_records(b"".join(blocks))]

    def packets(self) -> list[bytes]:
        return [record[1] for pcap, _ in self.pairs for record in read_records(pcap.read_bytes()[24:])]


def record(ring: Ring, directory: Path, *, max_bytes: int = 1 << 20, cutoff: int | None = None) -> Files:
    segments = Segments(ring, RingTap(FlowTable(cutoff=cutoff)), directory, OutputKind.CACHED, max_bytes)
    segments.run()
    segments.end()
    return Files(directory, segments.number)


def replayed(ring: Ring, directory: Path, *, cutoff: int | None = None) -> tuple[Files, list[bytes]]:
    """A capture of many protocols, through tcpreplay."""
    path = directory / "mix1"
    path.write_bytes(lzma.decompress(GOLDEN.read_bytes()))
    with path.open("rb") as file:
        sent = [bytes(data) for _, data in dpkt.pcap.Reader(file)]
    run("tcpreplay", "--intf1=far", "--topspeed", str(path))
    files = record(ring, directory, cutoff=cutoff)
    assert ring.counts().kernel_drops == 0
    return files, sent


@pytest.mark.parametrize("cutoff", [None, 1 << 40], ids=["stored", "judged"])
def test_a_replayed_capture_comes_back_and_each_flow_by_index(ring: Ring, tmp_path: Path, cutoff: int | None) -> None:
    """Byte for byte in order, over several segments; each flow by its ends and by its Community ID."""
    files, sent = replayed(ring, tmp_path, cutoff=cutoff)
    assert files.packets() == sent
    assert len(files.pairs) > 3
    flows = keys_by_dpkt([(0, data, len(data)) for data in sent])
    assert len(flows) > 150
    for key, wanted in flows.items():
        expected = [sent[i] for i in wanted]
        assert files.found(by_key(key)) == expected
        assert files.found(FlowQuery(community_id=community_id(key))) == expected


@pytest.mark.slow
@needs_tshark
def test_every_flow_of_a_replayed_capture_is_as_tshark_sees_it(ring: Ring, tmp_path: Path) -> None:
    """Tshark's addresses and ports of the recorded packets, grouped, are what extraction gives for each flow."""
    files, _ = replayed(ring, tmp_path)
    flows: dict[FlowKey, list[bytes]] = defaultdict(list)
    fields = ("ip.src", "ip.dst", "ip.proto", "tcp.srcport", "tcp.dstport", "udp.srcport", "udp.dstport")
    for pcap, _ in files.pairs:
        packets = [row[1] for row in read_records(pcap.read_bytes()[24:])]
        for data, row in zip(packets, tshark(pcap, *fields, "icmp.type", "icmp.code"), strict=True):
            # of an ICMP error the first of each, not those that it quotes
            source, destination, proto, *numbers = [(cell.split(",") or [""])[0] for cell in row]
            if source:
                own = {6: numbers[:2], 17: numbers[2:4], 1: numbers[4:]}[int(proto)]
                key = flow_key(source, destination, int(proto), (int(own[0]), int(own[1])) if own[0] else None)
                flows[key].append(data)
    assert len(flows) > 150
    for key, expected in flows.items():
        assert files.found(by_key(key)) == expected


def fragmented(number: int) -> list[bytes]:
    """A UDP datagram in three parts, of which only the first has ports."""
    source, destination = IPv4Address("10.1.0.1"), IPv4Address("10.1.0.2")
    body = transport(UDP, (7000, 7001), struct.pack("!I", number) * 300)
    cuts = [(0, 400), (400, 800), (800, len(body))]
    return [
        link(ETHERNET, 4, [], 0, ipv4(source, destination, UDP, body[a:b], ident=number, fragment=flags | a // 8))
        for (a, b), flags in zip(cuts, (0x2000, 0x2000, 0), strict=True)
    ]


def awkward(number: int) -> dict[str, list[bytes]]:
    """Packets of one flow of each kind."""
    source, destination = IPv6Address("2001:db8::1"), IPv6Address("2001:db8::2")
    six = ipv6(source, destination, UDP, transport(UDP, (600, 601), struct.pack("!I", number) * 10))
    plain = udp_frame("10.2.0.1", "10.2.0.2", (700, 701), 200, serial=number)
    return {
        "fragments": fragmented(number),
        "ipv6": [link(ETHERNET, 6, [0x8100, 0x88A8][: number % 3], 0, six)],
        "vlan": [plain[:12] + struct.pack(">HH", 0x8100, number & 0xFFFF) + plain[12:]],
        "jumbo": [udp_frame("10.3.0.1", "10.3.0.2", (800, 801), MTU, serial=number)],
        "tiny": [plain[:12] + b"\x08\x06" + number.to_bytes(4, "big")],
    }


KEYS = {
    "fragments": flow_key("10.1.0.1", "10.1.0.2", UDP, (7000, 7001)),
    "ipv6": flow_key("2001:db8::1", "2001:db8::2", UDP, (600, 601)),
    "vlan": flow_key("10.2.0.1", "10.2.0.2", UDP, (700, 701)),
    "jumbo": flow_key("10.3.0.1", "10.3.0.2", UDP, (800, 801)),
}


@pytest.mark.parametrize("cutoff", [None, 1 << 40], ids=["stored", "judged"])
def test_awkward_packets_are_recorded_and_found(ring: Ring, tmp_path: Path, cutoff: int | None) -> None:
    """Fragments with the flow of their first one, IPv6, tags, jumbo frames, and what is not IP."""
    sent: dict[str, list[bytes]] = defaultdict(list)
    everything = []
    with sender("far") as far:
        for number in range(400):
            for kind, packets in awkward(number).items():
                sent[kind] += packets
                everything += packets
                for data in packets:
                    far.send(data)
    files = record(ring, tmp_path, cutoff=cutoff)
    assert ring.counts().kernel_drops == 0
    assert files.packets() == everything
    for kind, key in KEYS.items():
        assert files.found(by_key(key)) == sent[kind], kind


def test_a_train_is_found(ring: Ring, tmp_path: Path) -> None:
    """A frame of generic segmentation offload, of 60 kB, is one record of its flow."""
    source, destination = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2")
    body = struct.pack(">HHIIBBHHH", 1, 2, 3, 4, 0x50, 0x10, 100, 0, 0) + bytes(range(250)) * 240
    data = link(ETHERNET, 4, [], 0, ipv4(source, destination, 6, body))
    offload = struct.pack("=BBHHHH", 1, 1, 54, 1448, 34, 16)  # VIRTIO_NET_HDR_F_NEEDS_CSUM, GSO_TCPV4
    with sender("far") as far:
        far.setsockopt(getattr(socket, "SOL_PACKET", 263), PACKET_VNET_HDR, 1)
        for _ in range(40):
            far.send(offload + data)
    files = record(ring, tmp_path)
    if ring.counts().packets > 40:
        pytest.skip("this kernel cuts trains before they reach a veth")
    assert files.found(by_key(flow_key("10.0.0.1", "10.0.0.2", 6, (1, 2)))) == [data] * 40


def test_what_a_small_ring_drops_is_counted_and_the_rest_is_found(tmp_path: Path) -> None:
    """Sent is stored plus cut plus dropped; nothing twice, nothing out of order in a flow, the index has it all."""
    with veth():
        ring, sent = Ring("near", ring_bytes=2 << 20, retire_ms=10_000), 6000
        ring.listen()
        with sender("far") as far:
            for number in range(sent):
                flow = number % 7
                far.send(udp_frame("10.9.0.1", "10.9.0.2", (5000 + flow, 53), 1000, serial=number))
        files = record(ring, tmp_path, cutoff=50_000)
        counts = ring.counts()
    assert counts.kernel_drops > 0
    assert counts.cut > 0
    assert sent == counts.stored + counts.cut + counts.kernel_drops
    assert len(files.packets()) == counts.stored
    total = 0
    for flow in range(7):
        found = files.found(by_key(flow_key("10.9.0.1", "10.9.0.2", UDP, (5000 + flow, 53))))
        serials = [int.from_bytes(data[42:46], "big") for data in found]
        assert all(serial % 7 == flow for serial in serials)
        assert serials == sorted(set(serials))
        assert found == [udp_frame("10.9.0.1", "10.9.0.2", (5000 + flow, 53), 1000, serial=s) for s in serials]
        total += len(found)
    assert total == counts.stored


def test_the_index_is_whole_when_the_interface_is_gone(ring: Ring, tmp_path: Path) -> None:
    """All that had come before is in the segment and in its index."""
    segments = Segments(ring, RingTap(FlowTable(1024)), tmp_path, OutputKind.CACHED)
    sent = [udp_frame("10.0.0.1", "10.0.0.2", (1, 2), serial=number) for number in range(50)]
    with sender("far") as far:
        for data in sent:
            far.send(data)
    ip("link", "delete", "dev", "near")
    while segments.ring.run(segments.output, run_ms=1000) is not RingStatus.GONE:
        pass
    segments.output.sync()
    segments.write_journal()
    journal = tmp_path / "0.journal"
    assert journal.stat().st_size > 0
    query = by_key(flow_key("10.0.0.1", "10.0.0.2", UDP, (1, 2)))
    assert [record[1] for record in read_records(read_segment(tmp_path / "0.pcap", query, journal))] == sent
    segments.end()
    assert Files(tmp_path, 1).found(query) == sent
