"""Datagrams with their addresses, in batches for many blocks and for Python, and exact limits."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.native import (
    LINKTYPE_RAW,
    DatagramReceiver,
    PacketBatch,
    PcapBlock,
    PcapFormat,
    Received,
    Stored,
    record_bytes,
)

from .readers import epoch_ns, records, tshark

TIMEOUT_S = 5


@pytest.fixture(params=["127.0.0.1", "::1"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A bound receiver, and a bound sender that is connected to it."""
    host: str = request.param
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as receiver, socket.socket(family, socket.SOCK_DGRAM) as sender:
        try:
            receiver.bind((host, 0))
        except OSError:
            pytest.skip(f"no {host} here")
        sender.bind((host, 0))
        sender.connect(receiver.getsockname())
        yield receiver, sender


Pair = tuple[socket.socket, socket.socket]


def wait(pair: Pair) -> None:
    assert select.select([pair[0]], [], [], TIMEOUT_S)[0]


def filled(receiver: DatagramReceiver, batch: PacketBatch, pair: Pair, count: int) -> None:
    """Fill the batch with what waits, which is on loopback already there."""
    wait(pair)
    receiver.fill(batch)
    assert len(batch) == count


def test_python_gets_packets_with_addresses(pair: Pair) -> None:
    """Times, data, true lengths, who sent it and where it went."""
    receiver, batch = DatagramReceiver(pair[0].fileno()), PacketBatch(slots=8, slot_bytes=10)
    sent = [b"", b"abc", b"0123456789abc"]
    for data in sent:
        pair[1].send(data)
    filled(receiver, batch, pair, 3)
    packets = batch.packets()
    assert [packet.data for packet in packets] == [data[:10] for data in sent]
    assert [packet.wire_len for packet in packets] == [0, 3, 13]
    assert {packet.sender for packet in packets} == {pair[1].getsockname()[:2]}
    assert {packet.local for packet in packets} == {pair[0].getsockname()[:2]}
    assert packets[0].ts_ns <= packets[1].ts_ns <= packets[2].ts_ns
    assert batch.packets(1, 2) == packets[1:2]
    assert batch.packets(3) == batch.packets(2, 1) == []
    assert receiver.counts()[:3] == (3, 16, 1)


def test_addresses_only_if_wanted(pair: Pair) -> None:
    """They can be turned off and on; datagrams that wait in the kernel get them as well."""
    receiver, batch = DatagramReceiver(pair[0].fileno(), addresses=False), PacketBatch()
    ends = [(pair[1].getsockname()[:2], pair[0].getsockname()[:2])]
    for wanted, expected in ((False, [(None, None)]), (True, ends), (False, [(None, None)])):
        pair[1].send(b"x")
        wait(pair)
        receiver.set_addresses(wanted=wanted)
        receiver.fill(batch)
        assert [(packet.sender, packet.local) for packet in batch.packets()] == expected
    pair[0].close()
    with pytest.raises(OSError, match="descriptor"):
        receiver.set_addresses(wanted=True)


def test_a_batch_goes_into_many_blocks(pair: Pair) -> None:
    """One system call, several files of different kinds, the same packets in each."""
    receiver, batch = DatagramReceiver(pair[0].fileno()), PacketBatch()
    sent = [bytes([i]) * i for i in range(20)]
    for data in sent:
        pair[1].send(data)
    filled(receiver, batch, pair, 20)
    blocks = [PcapBlock(1 << 16) for _ in range(100)]
    cut = PcapBlock(1 << 16, snaplen=5)
    for block in (*blocks, cut):
        assert batch.copy_to(block) == Stored(20, Received.EMPTY)
    assert len({block.peek() for block in blocks}) == 1
    assert [record.data for record in records(blocks[0].peek())] == sent
    assert [record.data for record in records(cut.peek())] == [data[:5] for data in sent]
    assert receiver.counts().packets == 20


def test_limits_of_a_copy(pair: Pair) -> None:
    """Packets, bytes and room end it, and the next block begins where it ended."""
    receiver, batch = DatagramReceiver(pair[0].fileno()), PacketBatch()
    for _ in range(10):
        pair[1].send(b"x" * 100)
    filled(receiver, batch, pair, 10)
    block = PcapBlock(1 << 16)
    assert batch.copy_to(block, max_packets=3) == Stored(3, Received.MORE)
    assert batch.copy_to(block, start=3, max_bytes=2 * 116 + 115) == Stored(5, Received.LIMIT)
    assert batch.copy_to(block, start=5, max_bytes=-1) == Stored(5, Received.LIMIT)
    assert batch.copy_to(PcapBlock(300), start=5) == Stored(7, Received.FULL)
    assert batch.copy_to(block, start=5) == Stored(10, Received.EMPTY)
    assert batch.copy_to(block, start=10, max_packets=0) == Stored(10, Received.EMPTY)
    assert len(records(block.peek())) == 10
    with pytest.raises(IndexError, match="batch of 10"):
        batch.copy_to(block, start=11)


def test_filling_replaces_and_tells_the_end(pair: Pair) -> None:
    """A full batch says MORE, a short one EMPTY, and what was in it before is gone."""
    receiver, batch = DatagramReceiver(pair[0].fileno()), PacketBatch(slots=4)
    for i in range(6):
        pair[1].send(bytes([i]))
    wait(pair)
    assert receiver.fill(batch) is Received.MORE
    assert [packet.data[0] for packet in batch.packets()] == [0, 1, 2, 3]
    assert receiver.fill(batch) is Received.EMPTY
    assert [packet.data[0] for packet in batch.packets()] == [4, 5]
    assert receiver.fill(batch) is Received.EMPTY
    assert len(batch) == 0
    assert batch.packets() == []


def test_a_full_file_leaves_the_rest_pending(pair: Pair) -> None:
    """By bytes exactly: the packet that does not fit is the first one of the next file, and nothing is lost."""
    receiver = DatagramReceiver(pair[0].fileno(), slots=8, slot_bytes=2000)
    sizes = [100, 200, 300, 50, 60, 1000, 5]
    for size in sizes:
        pair[1].send(b"x" * size)
    wait(pair)
    files, results = [], []
    for _ in range(4):
        block = PcapBlock(1 << 16)
        results.append(receiver.receive(block, 100, max_bytes=700))
        files.append([record.wire_len for record in records(block.peek())])
        if results[-1] is Received.LIMIT and not files[-1]:
            results.append(receiver.receive(block, 1))
            files[-1] = [record.wire_len for record in records(block.peek())]
    assert files == [[100, 200, 300], [50, 60], [1000], [5]]
    assert results == [Received.LIMIT, Received.LIMIT, Received.LIMIT, Received.MORE, Received.EMPTY]
    assert (receiver.pending, receiver.counts().packets) == (0, len(sizes))


def test_pending_packets_are_told_and_not_counted_yet(pair: Pair) -> None:
    """They are handed over by the next receive, and a batch does not pass them by."""
    receiver, batch = DatagramReceiver(pair[0].fileno()), PacketBatch()
    for _ in range(3):
        pair[1].send(b"x" * 84)
    wait(pair)
    assert receiver.receive(PcapBlock(1 << 20), 10, max_bytes=150) is Received.LIMIT
    assert (receiver.pending, receiver.counts().packets) == (2, 1)
    with pytest.raises(ValueError, match="pending"):
        receiver.fill(batch)
    assert receiver.receive(PcapBlock(1 << 20), 1) is Received.MORE
    assert receiver.pending == 1
    assert receiver.receive(PcapBlock(1 << 20), 10) is Received.EMPTY
    assert receiver.counts().packets == 3


@pytest.mark.parametrize("kind", list(PcapFormat))
def test_wireshark_sees_who_spoke_to_whom(tmp_path: Path, pair: Pair, kind: PcapFormat) -> None:
    """With IP headers: addresses, ports and checksums right, times and lengths those of the datagrams."""
    receiver = DatagramReceiver(pair[0].fileno())
    block = PcapBlock(1 << 20, format=kind, ip_headers=True)
    block.header(262144, LINKTYPE_RAW)
    sizes = [0, 1, 8, 1000, 65507]
    for size in sizes:
        pair[1].send(b"\xa5" * size)
    wait(pair)
    assert receiver.receive(block, 100) is Received.EMPTY
    span = block.take_span()
    assert (span.packets, span.wire_bytes) == (5, sum(sizes))
    path = tmp_path / "a.pcap"
    path.write_bytes(block.peek())
    (sender, sender_port), (local, local_port) = (end.getsockname()[:2] for end in (pair[1], pair[0]))
    source, target = ("ipv6.src", "ipv6.dst") if ":" in local else ("ip.src", "ip.dst")
    fields = (source, "udp.srcport", target, "udp.dstport", "udp.length", "udp.checksum.status", "frame.time_epoch")
    rows = tshark(path, *fields, preferences=("udp.check_checksum:TRUE",))
    ends = [sender, str(sender_port), local, str(local_port)]
    assert [row[:6] for row in rows] == [[*ends, str(size + 8), "1"] for size in sizes]
    times = [epoch_ns(row[6]) for row in rows]
    assert times == sorted(times)
    assert (times[0], times[-1]) == (span.first_ns, span.last_ns)


def test_headers_count_into_limits_and_snap_length(pair: Pair) -> None:
    """max_bytes and snaplen are those of the file, headers included."""
    receiver, batch = DatagramReceiver(pair[0].fileno()), PacketBatch()
    for _ in range(4):
        pair[1].send(b"x" * 100)
    filled(receiver, batch, pair, 4)
    headers = 48 if pair[0].family == socket.AF_INET6 else 28
    block = PcapBlock(1 << 16, ip_headers=True)
    assert batch.copy_to(block, max_bytes=2 * record_bytes(PcapFormat.PCAP, 100 + headers)).next == 2
    assert {(len(record.data), record.wire_len) for record in records(block.peek())} == {(100 + headers,) * 2}
    for snaplen in (headers - 1, headers + 1):
        cut = PcapBlock(1 << 16, ip_headers=True, snaplen=snaplen)
        batch.copy_to(cut)
        assert {(len(record.data), record.wire_len) for record in records(cut.peek())} == {(snaplen, 100 + headers)}
        assert cut.take_span().truncated == 4
        assert cut.peek()[16 : 16 + snaplen] == block.peek()[16 : 16 + snaplen]


def test_a_socket_for_both_versions_tells_ipv4() -> None:
    """IPv4 through an IPv6 socket has IPv4 addresses on both sides."""
    with (
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        receiver.bind(("::", 0))
        port = receiver.getsockname()[1]
        sender.sendto(b"hi", ("127.0.0.1", port))
        batch = PacketBatch()
        assert select.select([receiver], [], [], TIMEOUT_S)[0]
        DatagramReceiver(receiver.fileno()).fill(batch)
        (packet,) = batch.packets()
        assert packet.local == ("127.0.0.1", port)
        assert packet.sender is not None
        assert packet.sender[0] == "127.0.0.1"


def test_a_multicast_group_is_where_it_went() -> None:
    """The local address is the group, not the interface's."""
    group = "239.1.2.3"
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.bind(("", 0))
        membership = socket.inet_aton(group) + socket.inet_aton("127.0.0.1")
        receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        sender.sendto(b"hi", (group, receiver.getsockname()[1]))
        batch = PacketBatch()
        assert select.select([receiver], [], [], TIMEOUT_S)[0]
        DatagramReceiver(receiver.fileno()).fill(batch)
        assert [packet.local for packet in batch.packets()] == [(group, receiver.getsockname()[1])]


def test_unix_sockets_have_no_addresses(tmp_path: Path) -> None:
    """Neither a sender nor headers, even if headers are wanted."""
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
    ):
        bound.bind(str(tmp_path / "s"))
        sender.sendto(b"abc", str(tmp_path / "s"))
        batch, block = PacketBatch(), PcapBlock(1000, ip_headers=True)
        DatagramReceiver(bound.fileno()).fill(batch)
        assert [(packet.sender, packet.local) for packet in batch.packets()] == [(None, None)]
        batch.copy_to(block)
        assert [record.data for record in records(block.peek())] == [b"abc"]


def test_many_senders_do_not_pile_up() -> None:
    """The addresses that are remembered are bounded."""
    batch = PacketBatch(slots=1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        taker = DatagramReceiver(receiver.fileno())
        for i in range(4200):
            batch._addresses[i.to_bytes(20, "big")] = None
        batch._addresses = dict(list(batch._addresses.items())[:4096])
        receiver.sendto(b"x", receiver.getsockname())
        taker.fill(batch)
        assert batch.packets()[0].sender == receiver.getsockname()
        assert len(batch._addresses) <= 2


@pytest.mark.parametrize("limits", [{"slots": 0}, {"slots": 1025}, {"slot_bytes": 0}, {"slot_bytes": 262145}])
def test_limits_are_checked(limits: dict[str, int]) -> None:
    """Slots and their size have bounds."""
    with pytest.raises(ValueError, match="out of range"):
        PacketBatch(**limits)


def test_a_closed_batch_refuses(pair: Pair) -> None:
    """Nothing works after close."""
    receiver, batch = DatagramReceiver(pair[0].fileno()), PacketBatch()
    batch.close()
    for call in (lambda: len(batch), lambda: receiver.fill(batch), batch.packets):
        with pytest.raises(ValueError, match="PacketBatch is closed"):
            call()
