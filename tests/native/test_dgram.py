"""Receiving real datagrams on loopback into PCAP blocks."""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from appliance.native import DatagramCounts, DatagramReceiver, PcapBlock, Received

TIMEOUT_S = 5


class Record(NamedTuple):
    ts_ns: int
    data: bytes
    wire_len: int


class Pair(NamedTuple):
    """Two connected UDP sockets: what is sent to one arrives at the other."""

    receiver: socket.socket
    sender: socket.socket


@pytest.fixture
def pair() -> Iterator[Pair]:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.bind(("127.0.0.1", 0))
        sender.connect(receiver.getsockname())
        yield Pair(receiver, sender)


def records(block: PcapBlock) -> list[Record]:
    """Flush the block, which holds records only, and take it apart."""
    descriptor = os.memfd_create("block")
    with os.fdopen(descriptor, "rb") as file:
        block.flush(descriptor)
        file.seek(0)
        data = file.read()
    found, at = [], 0
    while at < len(data):
        seconds, fraction, caplen, wire_len = struct.unpack_from("=IIII", data, at)
        at += 16 + caplen
        found.append(Record(seconds * 10**9 + fraction, data[at - caplen : at], wire_len))
    return found


def wait(pair: Pair) -> None:
    assert select.select([pair.receiver], [], [], TIMEOUT_S)[0]


def receive_all(receiver: DatagramReceiver, pair: Pair, block: PcapBlock, packets: int) -> None:
    """Receive until `packets` have come in all."""
    while receiver.counts().packets < packets:
        wait(pair)
        assert receiver.receive(block, 1000) is Received.EMPTY


def test_datagrams_become_records(pair: Pair) -> None:
    """Data, order and true lengths are kept, empty datagrams included."""
    receiver, block = DatagramReceiver(pair.receiver.fileno(), slots=4), PcapBlock(1 << 20)
    sent = [b"x" * size for size in (0, 1, 100, 1472, 9000, 0, 65507, 3)]
    for data in sent:
        pair.sender.send(data)
        receive_all(receiver, pair, block, receiver.counts().packets + 1)
    found = records(block)
    assert [record.data for record in found] == sent
    assert [record.wire_len for record in found] == [len(data) for data in sent]
    counts = receiver.counts()
    assert counts[:5] == (len(sent), sum(map(len, sent)), 0, 0, 0)


def wait_for_stamps(receiver: DatagramReceiver, pair: Pair) -> None:
    """Send until the kernel stamps on arrival.

    It begins to some time after the first socket of the machine has asked for it, and until then takes the moment of
    the receive (Linux, net/core/dev.c, net_enable_timestamp; net/socket.c, __sock_recv_timestamp).
    """
    block = PcapBlock(1 << 20)
    end = time.monotonic() + TIMEOUT_S
    while time.monotonic() < end:
        pair.sender.send(b"")
        wait(pair)
        sent_ns = time.time_ns()
        assert receiver.receive(block, 1) is not None
        if records(block)[0].ts_ns <= sent_ns:
            return
    raise AssertionError("the kernel does not stamp on arrival")


def test_times_are_the_kernels(pair: Pair) -> None:
    """Each time lies between the moments before and after its send, however late it is received."""
    receiver, block = DatagramReceiver(pair.receiver.fileno()), PcapBlock(1 << 20)
    wait_for_stamps(receiver, pair)
    before = receiver.counts().packets
    receiver.clear_span()
    moments = [time.time_ns()]
    for i in range(20):
        pair.sender.send(bytes([i]))
        moments.append(time.time_ns())
    receive_all(receiver, pair, block, before + 20)
    times = [record.ts_ns for record in records(block)]
    assert all(moments[i] <= ts_ns <= moments[i + 1] for i, ts_ns in enumerate(times))
    counts = receiver.counts()
    assert (counts.untimed, counts.first_ns, counts.last_ns) == (0, times[0], times[-1])


def test_truncated_datagrams_keep_their_true_length(pair: Pair) -> None:
    """Only what fits a slot is stored, and the record says how long the datagram was."""
    receiver, block = DatagramReceiver(pair.receiver.fileno(), slot_bytes=100), PcapBlock(1 << 20)
    for size in (99, 100, 101, 5000):
        pair.sender.send(bytes(range(100)) + b"y" * (size - 100) if size >= 100 else b"z" * size)
    receive_all(receiver, pair, block, 4)
    assert [(len(r.data), r.wire_len) for r in records(block)] == [(99, 99), (100, 100), (100, 101), (100, 5000)]
    assert receiver.counts()[:3] == (4, 5300, 2)


def test_kernel_drops_are_counted_exactly(pair: Pair) -> None:
    """With a tiny buffer, what was sent is what came plus what the kernel says it dropped, over several overflows."""
    pair.receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    receiver, block = DatagramReceiver(pair.receiver.fileno(), slots=8), PcapBlock(1 << 20)
    for sent in (100, 200, 300):
        for _ in range(100):
            pair.sender.send(b"x" * 200)
        assert receiver.receive(block, 1000) is Received.EMPTY
        counts = receiver.counts()
        assert counts.kernel_drops > 0
        assert counts.packets + counts.kernel_drops == sent
    pair.sender.send(b"x")
    assert receiver.receive(block, 1000) is Received.EMPTY
    assert receiver.counts().packets + receiver.counts().kernel_drops == 301


def test_used_memory_of_the_buffer_is_told(pair: Pair) -> None:
    """In the kernel's measure, which is more than the bytes that wait; nothing when they are received."""
    receiver, block = DatagramReceiver(pair.receiver.fileno()), PcapBlock(1 << 20)
    limit = pair.receiver.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    assert receiver.memory() == (0, limit)
    for _ in range(10):
        pair.sender.send(b"x" * 100)
    used, _ = receiver.memory()
    assert 1000 < used <= limit
    receive_all(receiver, pair, block, 10)
    assert (receiver.memory(), receiver.packets) == ((0, limit), 10)


def test_an_empty_socket_says_so(pair: Pair) -> None:
    """Nothing to receive is EMPTY at once, also for a blocking socket."""
    receiver, block = DatagramReceiver(pair.receiver.fileno()), PcapBlock(1 << 20)
    assert pair.receiver.getblocking()
    assert receiver.receive(block, 10) is Received.EMPTY
    assert receiver.counts() == DatagramCounts(0, 0, 0, 0, 0, 0, 0, 0)
    assert block.used == 0


def test_the_packet_limit_holds(pair: Pair) -> None:
    """MORE after max_packets, whatever the number of slots; zero takes nothing."""
    receiver, block = DatagramReceiver(pair.receiver.fileno(), slots=3, slot_bytes=100), PcapBlock(1 << 20)
    for i in range(10):
        pair.sender.send(bytes([i]))
    wait(pair)
    results = [receiver.receive(block, limit) for limit in (0, 1, 7, 2, 1)]
    assert results == [Received.MORE] * 4 + [Received.EMPTY]
    assert [record.data for record in records(block)] == [bytes([i]) for i in range(10)]


def test_a_full_block_leaves_the_rest_in_the_socket(pair: Pair) -> None:
    """Each call takes only what surely fits, and after a flush the next call goes on where it stopped."""
    receiver = DatagramReceiver(pair.receiver.fileno(), slots=4, slot_bytes=84)
    block = PcapBlock(1000 + 99)
    for i in range(25):
        pair.sender.send(bytes([i]) * 84)
    wait(pair)
    found, results = [], []
    for _ in range(3):
        results.append(receiver.receive(block, 1000))
        found.append(records(block))
    assert results == [Received.FULL, Received.FULL, Received.EMPTY]
    assert [len(part) for part in found] == [10, 10, 5]
    assert [record.data[0] for part in found for record in part] == list(range(25))
    assert receiver.counts().kernel_drops == 0


def test_a_block_without_room_for_one_slot_is_full(pair: Pair) -> None:
    """Too small a block is FULL, without a datagram being taken and lost."""
    receiver, block = DatagramReceiver(pair.receiver.fileno(), slot_bytes=100), PcapBlock(115)
    pair.sender.send(b"x")
    wait(pair)
    assert receiver.receive(block, 10) is Received.FULL
    assert receiver.counts().packets == 0
    assert receiver.receive(PcapBlock(116), 10) is Received.FULL
    assert receiver.counts().packets == 1


def test_spans_begin_anew(pair: Pair) -> None:
    """clear_span() forgets the times and the packets of the span, and nothing else."""
    receiver, block = DatagramReceiver(pair.receiver.fileno()), PcapBlock(1 << 20)
    for packets in (3, 5):
        for _ in range(packets):
            pair.sender.send(b"x")
        total = receiver.counts().packets + packets
        receive_all(receiver, pair, block, total)
        times = [record.ts_ns for record in records(block)]
        counts = receiver.counts()
        assert (counts.packets, counts.span_packets) == (total, packets)
        assert (counts.first_ns, counts.last_ns) == (times[0], times[-1])
        receiver.clear_span()
        assert receiver.counts()[5:] == (0, 0, 0)


def test_unix_datagrams_work_as_well(tmp_path: Path) -> None:
    """A unix socket gives times and true lengths too."""
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
    ):
        bound.bind(str(tmp_path / "s"))
        receiver, block = DatagramReceiver(bound.fileno(), slot_bytes=10), PcapBlock(1 << 20)
        before = time.time_ns()
        sender.sendto(b"0123456789abc", str(tmp_path / "s"))
        after = time.time_ns()
        assert receiver.receive(block, 10) is Received.EMPTY
        (record,) = records(block)
    assert (record.data, record.wire_len) == (b"0123456789", 13)
    assert before <= record.ts_ns <= after or receiver.counts().untimed == 1


def test_a_socket_error_is_raised_once(pair: Pair) -> None:
    """An ICMP refusal of what we sent comes as ECONNREFUSED, then the socket goes on."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        address = gone.getsockname()
    pair.receiver.connect(address)
    pair.receiver.send(b"anybody?")
    receiver, block = DatagramReceiver(pair.receiver.fileno()), PcapBlock(1 << 20)
    wait(pair)
    with pytest.raises(ConnectionRefusedError):
        receiver.receive(block, 10)
    assert receiver.receive(block, 10) is Received.EMPTY


@pytest.mark.parametrize("limits", [{"slots": 0}, {"slots": 1025}, {"slot_bytes": 0}, {"slot_bytes": 65536}])
def test_limits_are_checked(pair: Pair, limits: dict[str, Any]) -> None:
    """Slots and their size have bounds."""
    with pytest.raises(ValueError, match="out of range"):
        DatagramReceiver(pair.receiver.fileno(), **limits)


def test_only_datagram_sockets_will_do(tmp_path: Path) -> None:
    """Files, closed descriptors and streams are refused when the receiver is made."""
    with (tmp_path / "file").open("wb") as file, socket.socket() as stream:
        for descriptor, expected in (
            (file.fileno(), errno.ENOTSOCK),
            (-1, errno.EBADF),
            (stream.fileno(), errno.EPROTOTYPE),
        ):
            with pytest.raises(OSError, match=r".") as caught:
                DatagramReceiver(descriptor)
            assert caught.value.errno == expected


def test_closed_objects_refuse(pair: Pair) -> None:
    """A closed receiver or block is a ValueError, a closed socket an OSError."""
    receiver, block = DatagramReceiver(pair.receiver.fileno()), PcapBlock(1 << 20)
    closed = PcapBlock(100)
    closed.close()
    with pytest.raises(ValueError, match="PcapBlock is closed"):
        receiver.receive(closed, 1)
    pair.receiver.close()
    with pytest.raises(OSError, match="descriptor"):
        receiver.receive(block, 1)
    receiver.close()
    for call in (lambda: receiver.receive(block, 1), receiver.counts, receiver.clear_span):
        with pytest.raises(ValueError, match="DatagramReceiver is closed"):
            call()
