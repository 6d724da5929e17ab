"""Headers for payloads that came without: by the RFCs, and as Wireshark checks and follows them."""

from __future__ import annotations

import ipaddress
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.native import LINKTYPE_RAW, Address, PcapBlock, TcpSynth, synthesise_udp

from .readers import run, tshark

CHECK = ("ip.check_checksum:TRUE", "udp.check_checksum:TRUE", "tcp.check_checksum:TRUE")
GOOD = "1"
CLIENT, SERVER = ("192.0.2.1", 40000), ("198.51.100.7", 80)
CLIENT6, SERVER6 = ("2001:db8::1", 40000), ("fe80::7", 80)

ports = st.integers(0, 65535)
ipv4 = st.tuples(st.ip_addresses(v=4).map(str), ports)
ipv6 = st.tuples(st.ip_addresses(v=6).map(str).filter(lambda ip: not ip.startswith("::ffff:")), ports)
pairs = st.tuples(ipv4, ipv4) | st.tuples(ipv6, ipv6)


def ones_sum(data: bytes) -> int:
    """RFC 1071: the one's complement sum of 16-bit words, big-endian."""
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def check_ip(packet: bytes, source: Address, target: Address, protocol: int) -> bytes:
    """The upper-layer part of a packet whose IP header is right, the checksum over its pseudo-header included."""
    if packet[0] >> 4 == 4:
        first, _, total, _, fragment, ttl, kind, _, *ends = struct.unpack_from(">BBHHHBBH4s4s", packet)
        assert (first, fragment, ttl, kind) == (0x45, 0x4000, 64, protocol)
        assert ones_sum(packet[:20]) == 0xFFFF
        upper, length = packet[20:], total - 20
    else:
        flow, length, kind, ttl, *ends = struct.unpack_from(">IHBB16s16s", packet)
        assert (flow, kind, ttl) == (6 << 28, protocol, 64)
        upper = packet[40:]
    assert [str(ipaddress.ip_address(end)) for end in ends] == [source[0], target[0]]
    assert struct.unpack_from(">HH", upper) == (source[1], target[1])
    assert len(upper) == length
    assert ones_sum(b"".join(ends) + struct.pack(">II", length, protocol) + upper) == 0xFFFF
    return upper


@given(pairs, st.binary(max_size=70))
@settings(max_examples=200, deadline=None)
def test_datagrams_are_right(ends: tuple[Address, Address], payload: bytes) -> None:
    """Both IP versions, any ports, odd and even lengths: the headers and their checksums say what they must."""
    upper = check_ip(synthesise_udp(*ends, payload), *ends, 17)
    assert struct.unpack_from(">H", upper, 4) == (len(upper),)
    assert upper[6:8] != b"\0\0"
    assert upper[8:] == payload


def test_a_checksum_of_zero_is_sent_as_ones() -> None:
    """Zero would mean that there is none."""
    for word in range(65536):
        packet = synthesise_udp(("0.0.0.0", 0), ("0.0.0.0", 0), struct.pack(">H", word))
        if packet[26:28] == b"\xff\xff":
            return
    raise AssertionError("no payload sums up to ones")


@pytest.mark.parametrize(("ends", "longest"), [((CLIENT, SERVER), 65507), ((CLIENT6, SERVER6), 65527)])
def test_the_longest_datagram(ends: tuple[Address, Address], longest: int) -> None:
    """What IP can hold is made, one byte more is refused."""
    check_ip(synthesise_udp(*ends, bytes(longest)), *ends, 17)
    with pytest.raises(ValueError, match="no UDP datagram"):
        synthesise_udp(*ends, bytes(longest + 1))


def test_a_cut_datagram_tells_its_length_and_has_no_checksum() -> None:
    """The headers are those of the whole datagram."""
    packet = synthesise_udp(CLIENT, SERVER, b"abc", wire_len=1000)
    assert struct.unpack_from(">H", packet, 2) == (1028,)
    assert struct.unpack_from(">HH", packet, 24) == (1008, 0)
    assert packet[28:] == b"abc"


@pytest.mark.parametrize(
    ("sender", "receiver"),
    [(CLIENT, SERVER6), (("localhost", 1), SERVER), (("192.0.2.1", 65536), SERVER), (("192.0.2.1", -1), SERVER)],
)
def test_addresses_that_do_not_go_together(sender: Address, receiver: Address) -> None:
    """Versions must agree, hosts be numeric, ports be ports."""
    for make in (lambda: synthesise_udp(sender, receiver, b""), lambda: TcpSynth(sender, receiver)):
        with pytest.raises(ValueError, match=r"no UDP|not of the same|does not appear|no port"):
            make()


def test_ipv4_in_ipv6_clothes_is_ipv4() -> None:
    """What a socket for both versions tells becomes an IPv4 packet; zones are left out."""
    assert synthesise_udp(("::ffff:192.0.2.1", 40000), SERVER, b"") == synthesise_udp(CLIENT, SERVER, b"")
    assert synthesise_udp(CLIENT6, ("fe80::7%eth0", 80), b"x") == synthesise_udp(CLIENT6, SERVER6, b"x")


def test_wireshark_finds_datagrams_right(tmp_path: Path) -> None:
    """Addresses, ports, lengths and checksums of both versions."""
    block = PcapBlock(1 << 20)
    block.header(262144, LINKTYPE_RAW)
    for i, ends in enumerate([(CLIENT, SERVER), (CLIENT6, SERVER6), (SERVER, CLIENT)]):
        block.append(10**18 + i, synthesise_udp(*ends, b"x" * (i + 100)))
    path = tmp_path / "a.pcap"
    path.write_bytes(block.peek())
    fields = ("ip.src", "ipv6.src", "udp.srcport", "ip.dst", "ipv6.dst", "udp.dstport", "udp.length")
    assert tshark(path, *fields, "udp.checksum.status", "ip.checksum.status", preferences=CHECK) == [
        ["192.0.2.1", "", "40000", "198.51.100.7", "", "80", "108", GOOD, GOOD],
        ["", "2001:db8::1", "40000", "", "fe80::7", "80", "109", GOOD, ""],
        ["198.51.100.7", "", "80", "192.0.2.1", "", "40000", "110", GOOD, GOOD],
    ]


@pytest.mark.parametrize(("client", "server"), [(CLIENT, SERVER), (CLIENT6, SERVER6)])
@given(
    chunks=st.lists(st.tuples(st.binary(max_size=30), st.booleans()), max_size=6),
    isns=st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)),
)
@settings(max_examples=60, deadline=None)
def test_a_connection_is_right(
    client: Address, server: Address, chunks: list[tuple[bytes, bool]], isns: tuple[int, int]
) -> None:
    """Numbers run on from any start, each side acknowledges what the other sent, nothing is lost."""
    synth = TcpSynth(client, server, client_isn=isns[0], server_isn=isns[1])
    packets = synth.open()
    for chunk, from_client in chunks:
        packets += synth.data(chunk, from_client=from_client)
    packets += synth.close(from_client=False)
    ends = {True: (client, server), False: (server, client)}
    following, sent = {True: isns[0], False: isns[1]}, {True: b"", False: b""}
    for packet in packets:
        port_at = 20 if packet[0] >> 4 == 4 else 40
        side = struct.unpack_from(">H", packet, port_at) == (client[1],)
        upper = check_ip(packet, *ends[side], 6)
        _, _, sequence, acknowledged, offset, flags, window, _, urgent = struct.unpack_from(">HHIIBBHHH", upper)
        data = upper[offset >> 2 :]
        assert (sequence, window, urgent) == (following[side], 65535, 0)
        assert acknowledged == (following[not side] if flags & 16 else 0)
        following[side] = (following[side] + len(data) + bool(flags & 3)) % 2**32
        sent[side] += data
    for side in (True, False):
        assert sent[side] == b"".join(chunk for chunk, from_client in chunks if from_client is side)


@pytest.mark.parametrize(("client", "server"), [(CLIENT, SERVER), (CLIENT6, SERVER6)])
def test_wireshark_follows_the_stream(tmp_path: Path, client: Address, server: Address) -> None:
    """Both directions come out whole, chunks longer than a packet included, and nothing looks odd."""
    block = PcapBlock(1 << 20)
    block.header(262144, LINKTYPE_RAW)
    synth = TcpSynth(client, server, client_isn=2**32 - 10, server_isn=5)
    question, answer = bytes(range(256)) * 600, b"the answer"
    packets = [*synth.open(), *synth.data(question, from_client=True), *synth.data(answer, from_client=False)]
    packets += synth.close(from_client=True)
    for i, packet in enumerate(packets):
        block.append(10**18 + i * 1000, packet)
    path = tmp_path / "a.pcap"
    path.write_bytes(block.peek())
    rows = tshark(path, "tcp.checksum.status", "tcp.analysis.flags", "tcp.len", preferences=CHECK)
    longest = 65535 - (40 if client is CLIENT else 20)
    lengths = [0, 0, 0, longest, longest, len(question) - 2 * longest, len(answer), 0, 0, 0]
    assert rows == [[GOOD, "", str(length)] for length in lengths]
    text = run("tshark", "-n", "-q", "-r", str(path), "-z", "follow,tcp,raw,0")
    lines = [line for line in text.splitlines() if line.strip() and set(line.strip()) <= set("0123456789abcdef")]
    assert bytes.fromhex("".join(line for line in lines if not line.startswith("\t"))) == question
    assert bytes.fromhex("".join(line.strip() for line in lines if line.startswith("\t"))) == answer


def test_an_end_by_error() -> None:
    """A reset carries the numbers of its side."""
    synth = TcpSynth(CLIENT, SERVER, client_isn=100, server_isn=200)
    synth.open()
    (packet,) = synth.reset(from_client=False)
    assert struct.unpack_from(">IIBB", check_ip(packet, SERVER, CLIENT, 6), 4) == (201, 101, 0x50, 0x14)


def test_an_empty_chunk_is_no_packet() -> None:
    """A read of nothing leaves no trace."""
    assert TcpSynth(CLIENT, SERVER).data(b"", from_client=True) == []
