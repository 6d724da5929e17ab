"""Frames of a few hosts that talk about everything, and what a query should find among them."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import NamedTuple

import zstandard
from hypothesis import strategies as st

from appliance.extract.query import Query
from appliance.native import FlowTable, Seen, SegmentIndexWriter, index_pcap
from tests.native.packets import (
    ETHERNET,
    ICMP,
    SCTP,
    TCP,
    UDP,
    Address,
    Packet,
    ipv4,
    ipv6,
    link,
    make_pcap,
    reference_id,
    transport,
)

S = 10**9
T = 1_795_256_100 * S
"""2026-11-21T10:15:00Z."""
V4: list[Address] = [IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2"), IPv4Address("192.0.2.7")]
V6: list[Address] = [IPv6Address("2001:db8::1"), IPv6Address("2001:db8::2")]
PORTS = [53, 80, 1024]
PROTOS = [TCP, UDP, SCTP, ICMP]


class Timed(NamedTuple):
    """A packet at a time."""

    ts_ns: int
    packet: Packet

    @property
    def record(self) -> tuple[int, bytes, int]:
        return self.ts_ns, self.packet.data, len(self.packet.data)


@st.composite
def frames(draw: st.DrawFn) -> Packet:
    """Ethernet, with VLAN tags or without."""
    hosts = st.sampled_from(V6) if draw(st.integers(0, 2)) == 0 else st.sampled_from(V4)
    source, destination = draw(hosts), draw(hosts)
    proto = draw(st.sampled_from(PROTOS))
    ports = (8, 0) if proto == ICMP else (draw(st.sampled_from(PORTS)), draw(st.sampled_from(PORTS)))
    payload = draw(st.binary(max_size=8))
    body = transport(proto, ports, payload)
    if isinstance(source, IPv4Address) and isinstance(destination, IPv4Address):
        version, ip = 4, ipv4(source, destination, proto, body)
    else:
        assert isinstance(source, IPv6Address)
        assert isinstance(destination, IPv6Address)
        version, ip = 6, ipv6(source, destination, proto, body)
    tags = draw(st.lists(st.sampled_from([0x8100, 0x88A8]), max_size=2))
    return Packet(ETHERNET, link(ETHERNET, version, tags, 0, ip), source, destination, proto, ports, 0, 0)


def wants(query: Query, packet: Packet) -> bool:
    """The conditions, one by one; those of time are the caller's."""
    ends = [(packet.source, packet.ports[0] if packet.ports else None)]
    ends += [(packet.destination, packet.ports[1] if packet.ports else None)]
    if query.proto is not None and packet.proto != query.proto:
        return False
    if query.is_conn:
        asked = list(zip(query.hosts, query.ports, strict=True))
        if packet.proto == ICMP or asked not in (ends, ends[::-1]):
            return False
    hosts, ports = [end[0] for end in ends], [end[1] for end in ends]
    if not _covers(query.hosts, hosts):
        return False
    if query.ports and (packet.proto == ICMP or not _covers(query.ports, ports)):
        return False
    return query.community_id in (None, reference_id(packet))


def _covers(asked: Iterable[object], ends: Iterable[object]) -> bool:
    """Each of what is asked for is an end of its own."""
    left = list(ends)
    for each in asked:
        if each not in left:
            return False
        left.remove(each)
    return True


@st.composite
def queries(draw: st.DrawFn, packets: list[Timed]) -> Query:
    """Of what is there, and of what is not."""
    times = sorted({each.ts_ns for each in packets} | {T})
    from_ns = draw(st.sampled_from([0, *times]))
    to_ns = draw(st.sampled_from([each for each in times if each >= from_ns] or [from_ns]))
    two = draw(st.lists(st.sampled_from(V4 if draw(st.booleans()) else V6), max_size=2))
    ports = draw(st.lists(st.sampled_from(PORTS), max_size=2))
    community_ids = [None, *(reference_id(each.packet) for each in packets[:9])]
    community_id = draw(st.sampled_from(community_ids)) if draw(st.booleans()) else None
    proto = draw(st.sampled_from([None, *PROTOS]))
    is_conn = len(two) == 2 and len(ports) == 2 and proto is None and draw(st.booleans())
    return Query(
        from_ns=from_ns,
        to_ns=to_ns,
        hosts=tuple(two),
        ports=tuple(ports),
        proto=proto,
        is_conn=is_conn,
        community_id=community_id,
    )


KINDS = ("plain", "indexed", "packed", "growing")


def write_segment(directory: Path, name: str, packets: list[Timed], kind: str) -> None:
    """A segment as a recorder leaves it, or as it is while it grows: the journal lags behind."""
    path = directory / name
    content = make_pcap([each.record for each in packets])
    if kind == "growing":
        _write_growing(path, packets, content)
        return
    path.write_bytes(content)
    if kind != "plain":
        index_pcap(path, directory / f"{name}.idx")
    if kind == "packed":
        (directory / f"{name}.zst").write_bytes(zstandard.compress(content))
        path.unlink()


def _write_growing(path: Path, packets: list[Timed], content: bytes) -> None:
    table, writer = FlowTable(64), SegmentIndexWriter(64)
    writer.begin(ETHERNET)
    half = [Seen(each.ts_ns, each.packet.data, len(each.packet.data)) for each in packets[: len(packets) // 2]]
    writer.add(table, ETHERNET, half, 24)
    with path.with_name(f"{path.name}.idx.part").open("wb") as journal:
        writer.journal(journal.fileno())
    with path.with_name(f"{path.name}.part").open("wb") as part:
        part.write(content + content[24:44])  # the next record has begun
