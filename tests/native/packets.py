"""Packets built layer by layer, so that what they hold is known without a parser; and PCAP files of them."""

from __future__ import annotations

import base64
import hashlib
import struct
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from hypothesis import strategies as st

ETHERNET, NULL, RAW, LOOP, SLL, SLL2 = 1, 0, 101, 108, 113, 276
ICMP, TCP, UDP, ICMPV6, SCTP = 1, 6, 17, 58, 132
ANSWERS = {
    ICMP: {0: 8, 8: 0, 9: 10, 10: 9, 13: 14, 14: 13, 15: 16, 16: 15, 17: 18, 18: 17},
    ICMPV6: {type_: type_ ^ 1 for type_ in (128, 129, 130, 131, 144, 145)}
    | {133: 134, 134: 133, 135: 136, 136: 135, 139: 140, 140: 139},
}

Address = IPv4Address | IPv6Address
Ends = tuple[tuple[Address, int], tuple[Address, int]]


class Packet(NamedTuple):
    """A packet and what must be found in it."""

    linktype: int
    data: bytes
    source: IPv4Address | IPv6Address
    destination: IPv4Address | IPv6Address
    proto: int
    ports: tuple[int, int] | None
    """As they were sent; ICMP: type and code."""
    payload: int
    needed: int
    """Bytes that must be captured for the ports to be found."""


def transport(proto: int, ports: tuple[int, int], payload: bytes) -> bytes:
    if proto == TCP:
        return struct.pack("!HHIIBBHHH", *ports, 1, 2, 6 << 4, 0x18, 1024, 0, 0) + b"\1\1\1\0" + payload
    if proto == UDP:
        return struct.pack("!HHHH", *ports, 8 + len(payload), 0) + payload
    if proto == SCTP:
        return struct.pack("!HHII", *ports, 1, 2) + payload
    if proto in (ICMP, ICMPV6):
        return struct.pack("!BBHI", *ports, 0, 1) + payload
    return payload


def ipv4(
    source: IPv4Address,
    destination: IPv4Address,
    proto: int,
    body: bytes,
    *,
    options: int = 0,
    fragment: int = 0,
    ident: int = 0,
) -> bytes:
    header = 20 + 4 * options
    fields = (
        0x40 | header // 4,
        0,
        header + len(body),
        ident,
        fragment,
        64,
        proto,
        0,
        source.packed,
        destination.packed,
    )
    return struct.pack("!BBHHHBBH4s4s", *fields) + bytes([1] * 4 * options) + body


def ipv6(source: IPv6Address, destination: IPv6Address, next_header: int, body: bytes) -> bytes:
    return struct.pack("!IHBB16s16s", 6 << 28, len(body), next_header, 64, source.packed, destination.packed) + body


def link(linktype: int, version: int, tags: list[int], labels: int, ip: bytes) -> bytes:
    """Ethernet and the cooked ones carry tags and labels."""
    ethertype = 0x0800 if version == 4 else 0x86DD
    if labels and linktype in (ETHERNET, SLL, SLL2):
        ethertype = 0x8847
        ip = b"".join(struct.pack("!I", 0x10040 | (i == labels - 1) << 8) for i in range(labels)) + ip
    if linktype in (ETHERNET, SLL, SLL2):
        types = [*tags, ethertype]
        shim = b"".join(struct.pack("!HH", 0xE00A, type_) for type_ in types[1:])
        first = struct.pack("!H", types[0])
        heads = {ETHERNET: bytes(12) + first, SLL: bytes(14) + first, SLL2: first + bytes(18)}
        return heads[linktype] + shim + ip
    family = 2 if version == 4 else 10
    return {NULL: struct.pack("=I", family), LOOP: struct.pack("!I", family), RAW: b""}[linktype] + ip


V4, V6 = st.builds(IPv4Address, st.integers(0, 2**32 - 1)), st.builds(IPv6Address, st.integers(0, 2**128 - 1))
FEW_V4 = st.sampled_from([IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2"), IPv4Address("192.0.2.7")])
FEW_V6 = st.sampled_from([IPv6Address("2001:db8::1"), IPv6Address("2001:db8::2")])
EXTENSIONS = st.lists(st.sampled_from([0, 43, 60, 51, 135, 139, 140]), max_size=4)


def extend(headers: list[int], proto: int, body: bytes) -> tuple[int, bytes]:
    for number in reversed(headers):
        length = 4 if number == 51 else 1  # words of four bytes less two, or of eight less one
        size = (length + 2) * 4 if number == 51 else (length + 1) * 8
        body = bytes([proto, length]).ljust(size, b"\7") + body
        proto = number
    return proto, body


@st.composite
def packets(draw: st.DrawFn) -> Packet:
    """Whole packets of every kind."""
    version = draw(st.sampled_from([4, 6]))
    addresses: st.SearchStrategy[Address] = st.one_of(V4, FEW_V4) if version == 4 else st.one_of(V6, FEW_V6)
    source, destination = draw(addresses), draw(addresses)
    proto = draw(st.sampled_from([TCP, UDP, SCTP, ICMP if version == 4 else ICMPV6, 47, 50]))
    ports = None
    if proto in ANSWERS:
        ports = draw(st.tuples(st.sampled_from([*ANSWERS[proto], 3, 1, 137]), st.integers(0, 20)))
    elif proto in (TCP, UDP, SCTP):
        ports = draw(st.tuples(st.integers(0, 65535), st.integers(0, 65535)))
    payload = draw(st.binary(max_size=20))
    body = transport(proto, ports or (0, 0), payload)
    if isinstance(source, IPv4Address) and isinstance(destination, IPv4Address):
        ip = ipv4(source, destination, proto, body, options=draw(st.integers(0, 10)))
    else:
        ip = ipv6(source, destination, *extend(draw(EXTENSIONS), proto, body))  # type: ignore[arg-type]
    linktype = draw(st.sampled_from([ETHERNET, ETHERNET, SLL, SLL2, NULL, LOOP, RAW]))
    tags = draw(st.lists(st.sampled_from([0x8100, 0x88A8, 0x9100]), max_size=3))
    data = link(linktype, version, tags, draw(st.integers(0, 3)), ip)
    needed = len(data) - len(body) + (2 if proto in ANSWERS else 4)
    # An IPv6 length of zero is that of an empty packet, and that of one before segmentation offload.
    has_length = version == 4 or len(ip) > 40
    padding = draw(st.integers(0, 12)) if linktype == ETHERNET and has_length else 0
    return Packet(linktype, data + bytes(padding), source, destination, proto, ports, len(payload), needed)


def ordered(packet: Packet) -> tuple[Ends, bool]:
    """The two ends in the order of the Community ID specification, and whether the source is the first."""
    ports, may_turn = packet.ports or (0, 0), True
    if packet.ports is not None and packet.proto in ANSWERS:
        answer = ANSWERS[packet.proto].get(ports[0])
        may_turn = answer is not None
        ports = (ports[0], ports[1] if answer is None else answer)
    source, destination = (packet.source, ports[0]), (packet.destination, ports[1])
    if may_turn and (source[0].packed, source[1]) > (destination[0].packed, destination[1]):
        return (destination, source), False
    return (source, destination), True


def reference_id(packet: Packet, seed: int = 0) -> str:
    """Community ID from hashlib, written from the specification."""
    (first, second), _ = ordered(packet)
    data = struct.pack("!H", seed) + first[0].packed + second[0].packed + bytes([packet.proto, 0])
    if packet.ports is not None:
        data += struct.pack("!HH", first[1], second[1])
    return "1:" + base64.b64encode(hashlib.sha1(data).digest()).decode()


def make_pcap(
    records: list[tuple[int, bytes, int]], *, linktype: int = ETHERNET, order: str = "=", nano: bool = True
) -> bytes:
    """A PCAP file of (nanoseconds, captured bytes, true length)."""
    parts = [struct.pack(order + "IHHiIII", 0xA1B23C4D if nano else 0xA1B2C3D4, 2, 4, 0, 0, 262144, linktype)]
    for ts_ns, packet, wire_len in records:
        fraction = ts_ns % 10**9 // (1 if nano else 1000)
        parts += struct.pack(order + "IIII", ts_ns // 10**9, fraction, len(packet), wire_len), packet
    return b"".join(parts)


def read_records(data: bytes) -> list[tuple[int, bytes, int]]:
    """Records with nanosecond headers in host order, as extraction gives them."""
    records, at = [], 0
    while at < len(data):
        seconds, fraction, caplen, wire_len = struct.unpack_from("=IIII", data, at)
        records.append((seconds * 10**9 + fraction, data[at + 16 : at + 16 + caplen], wire_len))
        at += 16 + caplen
    return records


def udp_frame(source: str, destination: str, ports: tuple[int, int], size: int = 60, *, serial: int = 0) -> bytes:
    """An Ethernet frame of UDP that carries a serial number."""
    payload = struct.pack("!I", serial).ljust(max(size - 42, 4), b".")
    ip = ipv4(IPv4Address(source), IPv4Address(destination), UDP, transport(UDP, ports, payload))
    return link(ETHERNET, 4, [], 0, ip)


def tcp_frame(source: str, destination: str, ports: tuple[int, int], flags: int, size: int = 0) -> bytes:
    """An Ethernet frame of TCP with flags and payload."""
    head = struct.pack("!HHIIBBHHH", *ports, 1, 2, 5 << 4, flags, 1024, 0, 0)
    ip = ipv4(IPv4Address(source), IPv4Address(destination), TCP, head + bytes(size))
    return link(ETHERNET, 4, [], 0, ip)
