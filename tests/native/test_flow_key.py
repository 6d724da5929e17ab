"""Keys of packets against packets whose layers are known, Community IDs against the specification, hostile bytes."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from appliance.native import FlowKey, FlowTable, Seen, community_id, flow_key, packet_flow

from .packets import ETHERNET, RAW, TCP, UDP, Packet, ipv4, ipv6, link, ordered, packets, reference_id, transport

HERE, THERE = IPv4Address("10.0.0.9"), IPv4Address("10.0.0.1")
HERE6, THERE6 = IPv6Address("2001:db8::9"), IPv6Address("2001:db8::1")


def as_ends(key: FlowKey) -> tuple[tuple[object, int], tuple[object, int]]:
    return (key.first, key.first_port), (key.second, key.second_port)


@given(packets())
def test_every_kind_of_packet_is_understood(packet: Packet) -> None:
    """Ends, protocol, direction, payload length and Community ID are those the packet was built with."""
    found = packet_flow(packet.linktype, packet.data)
    ends, is_from_first = ordered(packet)
    assert as_ends(found.key) == ends
    assert found.key.proto == packet.proto
    assert found.key.has_ports == (packet.ports is not None)
    assert found.is_from_first == is_from_first
    assert found.payload == packet.payload
    assert found.tcp_flags == (0x18 if packet.proto == TCP else 0)
    assert community_id(found.key) == reference_id(packet)


@given(packets(), st.integers(0, 65535))
def test_a_key_from_its_parts_is_the_key_of_the_packet(packet: Packet, seed: int) -> None:
    """Addresses, protocol and ports give the same key and ID as the packet."""
    key = flow_key(packet.source, packet.destination, packet.proto, packet.ports)
    assert key == packet_flow(packet.linktype, packet.data).key
    assert community_id(key, seed) == reference_id(packet, seed)


@given(packets())
def test_both_directions_have_one_key(packet: Packet) -> None:
    """What is sent back belongs to the same flow, unless it is an ICMP message without an answer."""
    there = flow_key(packet.source, packet.destination, packet.proto, packet.ports)
    back = packet.ports and packet.ports[::-1]
    if packet.ports is not None and packet.proto in (1, 58):
        back = (there.second_port if packet.ports[0] == there.first_port else there.first_port, 0)
    if not there.is_one_way:
        assert flow_key(packet.destination, packet.source, packet.proto, back) == there


@settings(max_examples=50, deadline=None)
@given(packets())
def test_a_packet_cut_anywhere_is_understood_as_far_as_it_goes(packet: Packet) -> None:
    """At every length there is a key: the whole one, the addresses, or none; the true length counts."""
    whole = packet_flow(packet.linktype, packet.data)
    for size in range(len(packet.data)):
        found = packet_flow(packet.linktype, packet.data[:size], len(packet.data))
        if size >= packet.needed:
            assert found.key == whole.key
            assert packet.proto == TCP or found.payload == packet.payload
        elif found.key.first is not None:
            assert {found.key.first, found.key.second} == {packet.source, packet.destination}
            assert not found.key.has_ports


@given(
    st.sampled_from([0, 1, 12, 101, 108, 113, 147, 228, 229, 276]), st.binary(max_size=200), st.integers(0, 2**32 - 1)
)
@example(1, b"", 0)
def test_any_bytes_have_a_key(linktype: int, data: bytes, wire_len: int) -> None:
    """Nonsense is a flow, too, and always the same one."""
    found = packet_flow(linktype, data, wire_len)
    assert found == packet_flow(linktype, data, wire_len)
    assert found.payload <= max(wire_len, 65535 + 40)


@pytest.mark.parametrize(
    ("parts", "seed", "expected"),
    [
        (("128.232.110.120", "66.35.250.204", 6, (34855, 80)), 0, "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
        (("66.35.250.204", "128.232.110.120", 6, (80, 34855)), 0, "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
        (("128.232.110.120", "66.35.250.204", 6, (34855, 80)), 1, "1:3V71V58M3Ksw/yuFALMcW0LAHvc="),
        (("192.168.1.52", "8.8.8.8", 17, (54585, 53)), 0, "1:d/FP5EW3wiY1vCndhwleRRKHowQ="),
        (("192.168.0.89", "192.168.0.1", 1, (8, 0)), 0, "1:X0snYXpgwiv9TZtqg64sgzUn6Dk="),
        (("192.168.0.1", "192.168.0.2", 1, (3, 1)), 0, "1:siu8tOTQkocnykCnXRiQNKXFMow="),
        (("fe80::200:86ff:fe05:80da", "fe80::260:97ff:fe07:69ea", 58, (135, 0)), 0, "1:dGHyGvjMfljg6Bppwm3bg0LO8TY="),
        (("192.168.170.8", "192.168.170.56", 132, (7, 80)), 0, "1:jQgCxbku+pNGw8WPbEc/TS/uTpQ="),
        (("10.0.0.2", "10.0.0.1", 47, None), 0, "1:+KlEHDT0vJgzs/eNmzHq0aSpRYw="),
        (("2001:db8::1", "2001:db8::1", 6, (5, 5)), 65535, "1:fPOTjWeXbTYv7pMvcXEzJLnIslg="),
    ],
)
def test_community_ids_are_those_of_other_programs(
    parts: tuple[str, str, int, tuple[int, int] | None], seed: int, expected: str
) -> None:
    """The specification's examples and what its reference program gives."""
    assert community_id(flow_key(*parts), seed) == expected


def test_what_is_no_flow_has_no_community_id() -> None:
    """ARP has an EtherType instead of addresses; seeds have 16 bits; versions do not mix."""
    arp = packet_flow(ETHERNET, bytes(12) + b"\x08\x06" + bytes(28)).key
    assert arp == FlowKey(None, 0x0806, None, 0, 0, has_ports=False)
    with pytest.raises(ValueError, match="no Community ID"):
        community_id(arp)
    with pytest.raises(ValueError, match="no Community ID"):
        community_id(flow_key(HERE, THERE, 47), 65536)
    with pytest.raises(ValueError, match="different versions"):
        flow_key(HERE, HERE6, 6)
    with pytest.raises(ValueError, match="out of range"):
        flow_key(HERE, THERE, 6, (1, 65536))


def test_tunnels_are_flows_by_their_outer_headers() -> None:
    """GRE has no ports; VXLAN is UDP."""
    inner = ipv4(IPv4Address("172.16.0.1"), IPv4Address("172.16.0.2"), TCP, transport(TCP, (1, 2), b""))
    gre = packet_flow(RAW, ipv4(HERE, THERE, 47, b"\0\0\x08\0" + inner))
    assert as_ends(gre.key) == ((THERE, 0), (HERE, 0))
    vxlan = packet_flow(RAW, ipv4(HERE, THERE, UDP, transport(UDP, (9999, 4789), bytes(8) + inner)))
    assert as_ends(vxlan.key) == ((THERE, 4789), (HERE, 9999))


def test_segmentation_offload_leaves_lengths_open() -> None:
    """A total length of zero means the length of the frame."""
    ip = bytearray(ipv4(HERE, THERE, UDP, transport(UDP, (5, 6), bytes(100))))
    ip[2:4] = b"\0\0"
    assert packet_flow(RAW, bytes(ip)).payload == 100
    ip6 = bytearray(ipv6(HERE6, THERE6, UDP, transport(UDP, (5, 6), bytes(100))))
    ip6[4:6] = b"\0\0"
    assert packet_flow(RAW, bytes(ip6)).payload == 100


def test_ports_are_not_read_from_padding() -> None:
    """What is behind the length of the IP header is no transport header."""
    found = packet_flow(ETHERNET, link(ETHERNET, 4, [], 0, ipv4(HERE, THERE, UDP, b"")) + b"\1\2\3\4")
    assert not found.key.has_ports
    assert found.payload == 0


def test_pppoe_sessions_are_opened() -> None:
    """IP in PPP in Ethernet is IP."""
    ip = ipv4(HERE, THERE, UDP, transport(UDP, (5, 6), b""))
    session = struct.pack("!12xHBBHHH", 0x8864, 0x11, 0, 1, len(ip) + 2, 0x0021) + ip
    assert as_ends(packet_flow(ETHERNET, session).key) == ((THERE, 6), (HERE, 5))


def fragments4(ident: int, ports: tuple[int, int] = (5000, 53)) -> tuple[bytes, bytes]:
    body = transport(UDP, ports, bytes(24))
    first = ipv4(HERE, THERE, UDP, body[:16], fragment=0x2000, ident=ident)
    return first, ipv4(HERE, THERE, UDP, body[16:], fragment=2, ident=ident)


def fragments6(ident: int) -> tuple[bytes, bytes]:
    body = transport(UDP, (5000, 53), bytes(24))
    first = ipv6(HERE6, THERE6, 44, struct.pack("!BBHI", UDP, 0, 1, ident) + body[:16])
    return first, ipv6(HERE6, THERE6, 44, struct.pack("!BBHI", UDP, 0, 16, ident) + body[16:])


@pytest.mark.parametrize("fragments", [fragments4, fragments6])
def test_later_fragments_belong_to_the_flow_of_the_first(fragments: object) -> None:
    """A table remembers the ports of a datagram for 30 s, by addresses and identification."""
    assert callable(fragments)
    first, later = fragments(7)
    _, stranger = fragments(8)
    table, ns = FlowTable(64), 10**9
    packets = [Seen(0, first, 0), Seen(ns, later, 0), Seen(2 * ns, stranger, 0), Seen(32 * ns, later, 0)]
    keys = [verdict.flow.key for verdict in table.track(RAW, packets)]
    assert keys[0].has_ports
    assert keys[1] == keys[0]
    assert keys[2] == keys[3] == keys[0]._replace(first_port=0, second_port=0, has_ports=False)
    assert table.counts()[-3:-1] == (3, 2)


def test_a_later_fragment_before_its_first_stays_with_the_pair() -> None:
    """Out of order, the ports are not known yet."""
    first, later = fragments4(7)
    flows = [verdict.flow for verdict in FlowTable(64).track(RAW, [Seen(0, later, 0), Seen(1, first, 0)])]
    assert [flow.key.has_ports for flow in flows] == [False, True]
    assert [flow.is_later_fragment for flow in flows] == [True, False]
    assert flows[0].payload == 16


def test_an_atomic_fragment_is_a_whole_packet() -> None:
    """RFC 6946: a fragment header without a fragment."""
    body = transport(UDP, (5000, 53), b"abc")
    found = packet_flow(RAW, ipv6(HERE6, THERE6, 44, struct.pack("!BBHI", UDP, 0, 0, 1) + body))
    assert found.key == flow_key(HERE6, THERE6, UDP, (5000, 53))
    assert found.payload == 3
