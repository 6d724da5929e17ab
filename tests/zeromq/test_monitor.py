"""The peer monitor: who is there, who went, who was put out, who never was a peer; fed by hand and by real sockets."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import zmq

from appliance.zeromq.endpoint import bind
from appliance.zeromq.monitor import PeerFigures, PeerMonitor, open_monitor

from .harness import Writer, go_deaf, raw_peer, shake_hands, wait_until

Context = zmq.Context[zmq.Socket[bytes]]
ACCEPTED, READY, GONE = zmq.EVENT_ACCEPTED, zmq.EVENT_HANDSHAKE_SUCCEEDED, zmq.EVENT_DISCONNECTED
FAILED = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
NO_FD = 1 << 20
"""Numbers from here on are nobody's descriptors."""


def feed(monitor: PeerMonitor, *events: tuple[int, int]) -> PeerFigures:
    """The figures after these events; descriptors count from `NO_FD`."""
    for event, value in events:
        fd = value + NO_FD if event in (ACCEPTED, GONE) else value
        monitor.feed([struct.pack("=HI", event, fd), b"tcp://127.0.0.1:1"])
    return monitor.statistics()


def figures(connected: int, accepted: int, disconnected: int, cut: int, failed: int) -> PeerFigures:
    return PeerFigures(connected=connected, accepted=accepted, disconnected=disconnected, cut=cut, failed=failed)


def descriptors() -> set[str]:
    """The numbers that are open; that of the listing itself is the same each time."""
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}


# ── fed by hand ──


def test_peers_come_and_go() -> None:
    """Each that finished its handshake counts until it is disconnected; the event does not say whose it was."""
    monitor = PeerMonitor()
    assert feed(monitor, (ACCEPTED, 1), (READY, 0), (ACCEPTED, 2), (READY, 0)) == figures(2, 2, 0, 0, 0)
    assert feed(monitor, (GONE, 1)) == figures(1, 2, 1, 0, 0)
    assert feed(monitor, (ACCEPTED, 1), (READY, 0)) == figures(2, 3, 1, 0, 0)
    assert feed(monitor, (GONE, 2), (GONE, 1)) == figures(0, 3, 3, 0, 0)


def test_a_failed_handshake_takes_no_writer_away() -> None:
    """Whether libzmq tells of the failure or not, only that connection is counted as failed."""
    monitor = PeerMonitor()
    feed(monitor, (ACCEPTED, 1), (READY, 0))
    assert feed(monitor, (ACCEPTED, 2), (FAILED, 7), (GONE, 2)) == figures(1, 2, 0, 0, 1)
    assert feed(monitor, (ACCEPTED, 2), (GONE, 2)) == figures(1, 3, 0, 0, 2)


def test_a_silent_connection_is_not_taken_for_a_writer() -> None:
    """Of several that are in their handshake the youngest is thought to have finished it."""
    monitor = PeerMonitor()
    feed(monitor, (ACCEPTED, 1), (ACCEPTED, 2), (READY, 0))
    assert feed(monitor, (GONE, 2)) == figures(0, 2, 1, 0, 0)
    assert feed(monitor, (GONE, 1)) == figures(0, 2, 1, 0, 1)


def test_a_wrong_guess_is_corrected() -> None:
    """If the one that is thought to be a writer fails in its handshake, the other one is the writer."""
    monitor = PeerMonitor()
    feed(monitor, (ACCEPTED, 1), (ACCEPTED, 2), (READY, 0))
    assert feed(monitor, (FAILED, 7), (GONE, 2)) == figures(1, 2, 0, 0, 1)
    assert feed(monitor, (GONE, 1)) == figures(0, 2, 1, 0, 1)


def test_a_missed_end_is_made_up_for() -> None:
    """A descriptor that is accepted again was closed in between."""
    monitor = PeerMonitor()
    feed(monitor, (ACCEPTED, 1), (READY, 0))
    assert feed(monitor, (ACCEPTED, 1)) == figures(0, 2, 1, 0, 0)


def test_what_is_no_event_is_ignored() -> None:
    """Neither odd frames nor events out of place change a figure."""
    monitor = PeerMonitor()
    for frames in ([], [b""], [b"x" * 5], [b"x" * 7, b""]):
        monitor.feed(frames)
    assert feed(monitor, (GONE, 1), (READY, 0), (FAILED, 1), (zmq.EVENT_LISTENING, 3)) == figures(0, 0, 0, 0, 0)


def test_a_number_that_is_no_connection_any_more_is_left_alone(tmp_path: Path) -> None:
    """By the time of the event, the descriptor may be a file's; that one is not touched."""
    before = descriptors()
    with (tmp_path / "file").open("wb") as file:
        monitor = PeerMonitor()
        monitor.feed([struct.pack("=HI", ACCEPTED, file.fileno())])
        monitor.feed([struct.pack("=HI", READY, 0)])
        monitor.feed([struct.pack("=HI", GONE, file.fileno())])
        assert monitor.statistics() == figures(0, 1, 1, 0, 0)
        file.write(b"still open")
    assert descriptors() == before


@pytest.mark.parametrize(
    ("peer_does", "outcome"),
    [("nothing", "cut"), ("sends", "cut"), ("sends and closes", "cut"), ("closes", "disconnected")],
)
def test_who_ended_a_connection_is_seen_from_its_state(peer_does: str, outcome: str) -> None:
    """Open, or with something unread: we ended it. At its end: the peer did."""
    reports: list[int] = []
    monitor = PeerMonitor(lambda: reports.append(1))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        monitor.feed([struct.pack("=HI", ACCEPTED, ours.fileno())])
        monitor.feed([struct.pack("=HI", READY, 0)])
        if "sends" in peer_does:
            theirs.sendall(b"x")
        if "closes" in peer_does:
            theirs.close()
        monitor.feed([struct.pack("=HI", GONE, ours.fileno())])
    assert getattr(monitor.statistics(), outcome) == 1
    assert len(reports) == (outcome == "cut")


def test_a_second_descriptor_does_not_outlive_its_connection() -> None:
    """After the event, and after `forget`, the peer sees the end."""
    for end in ("event", "forget"):
        monitor = PeerMonitor()
        ours, theirs = socket.socketpair()
        with theirs:
            fd = ours.fileno()
            monitor.feed([struct.pack("=HI", ACCEPTED, fd)])
            ours.close()
            theirs.setblocking(False)
            with pytest.raises(BlockingIOError):
                theirs.recv(1)
            if end == "event":
                monitor.feed([struct.pack("=HI", GONE, fd)])
            else:
                monitor.forget()
            assert theirs.recv(1) == b""


# ── with real sockets ──


class Bound:
    """A bound SUB whose monitor runs."""

    def __init__(self, sock: zmq.Socket[bytes], endpoint: str, monitor: PeerMonitor) -> None:
        self.sock, self.endpoint, self.monitor = sock, endpoint, monitor

    async def wait(self, **wanted: int) -> None:
        """Wait until the figures are as wanted, and check that they add up then."""
        await wait_until(lambda: all(getattr(self.monitor.statistics(), k) == n for k, n in wanted.items()))
        now = self.monitor.statistics()
        assert now.accepted == now.connected + now.disconnected + now.cut + now.failed


@asynccontextmanager
async def open_bound(
    endpoint: str = "tcp://127.0.0.1:0", *, max_bytes: int = -1, dead_after_ms: int = 0
) -> AsyncIterator[Bound]:
    context: Context = zmq.Context()
    sock = context.socket(zmq.SUB)
    sock.setsockopt(zmq.MAXMSGSIZE, max_bytes)
    if dead_after_ms:
        for option in (zmq.TCP_KEEPALIVE, zmq.TCP_KEEPALIVE_IDLE, zmq.TCP_KEEPALIVE_INTVL):
            sock.setsockopt(option, 1)
        sock.setsockopt(zmq.TCP_MAXRT, dead_after_ms)
    sock.setsockopt(zmq.SUBSCRIBE, b"")
    pair = open_monitor(sock, context)
    try:
        monitor = PeerMonitor()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(monitor.run, pair)
            yield Bound(sock, bind(sock, endpoint), monitor)
            nursery.cancel_scope.cancel()
    finally:
        sock.disable_monitor()
        context.destroy(linger=0)
        monitor.forget()


@pytest.mark.parametrize("kind", ["tcp", "ipc"])
async def test_writers_are_counted_up_and_down(kind: str, tmp_path: Path) -> None:
    """Five writers, three leave, one comes."""
    async with open_bound("tcp://127.0.0.1:0" if kind == "tcp" else f"ipc://{tmp_path}/s") as bound:
        writers = [Writer(bound.endpoint) for _ in range(5)]
        await bound.wait(connected=5)
        for writer in writers[:3]:
            writer.close()
        await bound.wait(connected=2, disconnected=3)
        writers = [*writers[3:], Writer(bound.endpoint)]
        await bound.wait(connected=3, accepted=6)
        for writer in writers:
            writer.close()
        await bound.wait(connected=0, disconnected=6, cut=0, failed=0)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\xff" + bytes(8) + b"\x7f" + b"\xff" * 100,
        bytes(64),
        b"\x16\x03\x01",
    ],
    ids=["nothing", "http", "bad greeting", "zeros", "tls"],
)
async def test_a_client_that_does_not_speak_zeromq_is_counted_as_failed(sent: bytes) -> None:
    """Whatever it sends, it is no writer, and the writer that is there stays."""
    async with open_bound() as bound:
        writer = Writer(bound.endpoint)
        await bound.wait(connected=1)
        with raw_peer(bound.endpoint) as peer:
            peer.sendall(sent)
            await wait_until(lambda: bound.monitor.statistics().accepted == 2)
        await bound.wait(failed=1, connected=1)
        writer.close()
        await bound.wait(disconnected=1, cut=0)


async def test_an_oversized_frame_is_counted_as_a_cut() -> None:
    """The writer is put out, which is told apart from one that goes; the others stay."""
    async with open_bound(max_bytes=1 << 20) as bound:
        other, writer = Writer(bound.endpoint), Writer(bound.endpoint)
        await bound.wait(connected=2)
        with pytest.raises(zmq.Again):
            bound.sock.recv(zmq.NOBLOCK)  # lets the subscriptions out
        await writer.wait_subscribed()
        writer.sock.send_multipart([b"conn", bytes(8 << 20)])
        await bound.wait(cut=1, accepted=3, connected=2)  # libzmq connects again
        writer.close()
        await bound.wait(connected=1, disconnected=1)
        other.close()
        await bound.wait(connected=0, disconnected=2, cut=1)


async def test_a_header_that_announces_too_much_is_a_cut() -> None:
    """Already the length is refused, without waiting for the frame."""
    async with open_bound(max_bytes=1 << 20) as bound:
        with raw_peer(bound.endpoint) as peer:
            shake_hands(peer)
            await bound.wait(connected=1)
            peer.sendall(b"\x02" + struct.pack(">Q", 1 << 62))
            await bound.wait(cut=1, connected=0)


@pytest.mark.slow
async def test_a_machine_that_is_gone_is_noticed() -> None:
    """A peer whose kernel no longer answers is disconnected by keep-alive; it is not called a cut."""
    async with open_bound(dead_after_ms=500) as bound:
        with raw_peer(bound.endpoint) as peer:
            shake_hands(peer)
            await bound.wait(connected=1)
            go_deaf(peer)
            await bound.wait(connected=0, disconnected=1)


async def test_a_flood_of_connections_stops_nothing_while_nobody_reads() -> None:
    """libzmq's I/O thread never waits for us, so traffic goes on and the socket can be closed."""
    context: Context = zmq.Context()
    sock = context.socket(zmq.SUB)
    pair = open_monitor(sock, context)
    endpoint = bind(sock, "tcp://127.0.0.1:0")
    for _ in range(2500):
        with raw_peer(endpoint) as peer:
            assert peer.recv(1) == b"\xff"  # the greeting: it was accepted
    monitor = PeerMonitor()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(monitor.run, pair)
        await wait_until(lambda: monitor.statistics().failed == 2500)
        nursery.cancel_scope.cancel()
    sock.disable_monitor()
    context.destroy(linger=0)
