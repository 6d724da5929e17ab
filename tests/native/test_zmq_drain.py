"""Draining real pyzmq sockets into an intake."""

from __future__ import annotations

import errno
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from appliance.native import LogGroup, LogIntake, ZmqDrain

TIMEOUT_MS = 5000


class Link:
    """Connected pairs of sockets; keeps them until they are closed together."""

    def __init__(self) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.sockets: list[zmq.Socket[bytes]] = []

    def connect(self, address: str) -> tuple[zmq.Socket[bytes], zmq.Socket[bytes]]:
        """A publisher that has seen the subscription, and its subscriber."""
        publisher, subscriber = self.context.socket(zmq.XPUB), self.context.socket(zmq.SUB)
        self.sockets += [publisher, subscriber]
        for socket in (publisher, subscriber):
            socket.set_hwm(0)
        subscriber.subscribe(b"")
        subscriber.bind(address)
        publisher.connect(subscriber.get_string(zmq.LAST_ENDPOINT))
        # the subscription leaves only when the subscriber's own thread is in libzmq after the connection was made
        assert any(publisher.poll(10) or subscriber.poll(0) for _ in range(TIMEOUT_MS // 10))
        assert publisher.recv() == b"\x01"
        return publisher, subscriber

    def close(self) -> None:
        for socket in self.sockets:
            socket.close(linger=0)


@pytest.fixture
def link() -> Iterator[Link]:
    link = Link()
    yield link
    link.close()
    link.context.term()


@pytest.fixture
def intake() -> LogIntake:
    return LogIntake(max_row=1000, max_rows=5000)


def drain_all(subscriber: zmq.Socket[bytes], intake: LogIntake, count: int) -> None:
    """Drain until `count` messages have come."""
    drain = ZmqDrain()
    while count > 0:
        assert subscriber.poll(TIMEOUT_MS)
        received, _ = drain.drain(subscriber.underlying, intake, count)
        count -= received


@pytest.mark.parametrize("transport", ["tcp", "ipc", "inproc"])
def test_published_rows_arrive(link: Link, intake: LogIntake, tmp_path: Path, transport: str) -> None:
    """Rows of two paths arrive whole and in order over every transport."""
    address = {"tcp": "tcp://127.0.0.1:*", "ipc": f"ipc://{tmp_path}/s", "inproc": "inproc://logs"}[transport]
    publisher, subscriber = link.connect(address)
    rows = [b'{"_seq":%d}' % i for i in range(1, 1001)]
    for data in rows:
        publisher.send_multipart([b"conn", data])
        publisher.send_multipart([b"dns", data])
    drain_all(subscriber, intake, 2000)
    whole = b"".join(data + b"\n" for data in rows)
    assert intake.take() == [LogGroup("conn", "", whole, 1000), LogGroup("dns", "", whole, 1000)]
    assert [(s.last, s.missing, s.unseen) for s in intake.sequences()] == [(1000, 0, 0)] * 2


def test_an_empty_socket_says_so(link: Link, intake: LogIntake) -> None:
    """Nothing there is (0, empty), and never an error."""
    _, subscriber = link.connect("inproc://logs")
    assert ZmqDrain().drain(subscriber.underlying, intake, 10) == (0, True)


def test_a_limit_is_not_emptiness(link: Link, intake: LogIntake) -> None:
    """Stopping at max_messages does not claim that the socket is empty, even if it is."""
    publisher, subscriber = link.connect("inproc://logs")
    for _ in range(5):
        publisher.send_multipart([b"conn", b"{}"])
    drain = ZmqDrain()
    results = [drain.drain(subscriber.underlying, intake, limit) for limit in (0, 2, 3, 1)]
    assert results == [(0, False), (2, False), (3, False), (0, True)]


def test_a_full_intake_stops_the_drain(link: Link) -> None:
    """No message is taken from the socket that the intake could not hold."""
    publisher, subscriber = link.connect("inproc://logs")
    for i in range(10):
        publisher.send_multipart([b"conn", b'{"_seq":%d}' % (i + 1)])
    drain, intake = ZmqDrain(), LogIntake(max_row=100, max_rows=4)
    results, rows = [], 0
    for _ in range(3):
        results.append(drain.drain(subscriber.underlying, intake, 1000))
        rows += sum(group.count for group in intake.take())
    assert results == [(4, False), (4, False), (2, True)]
    assert rows == 10
    assert intake.counts().accepted == intake.counts().messages == 10
    assert intake.sequences()[0].missing == 0


def test_bad_messages_are_received_and_counted(link: Link, intake: LogIntake) -> None:
    """Odd frame counts, bad paths, long rows and bad JSON go to the counts; the good ones between them get through."""
    publisher, subscriber = link.connect("inproc://logs")
    bad = [[b"conn"], [b"conn", b"{}", b"{}"], [b"", b"{}"], [b"conn", b"x" * 1001], [b"conn", b"x"]]
    for frames in bad:
        publisher.send_multipart(frames)
        publisher.send_multipart([b"conn", b"{}"])
    assert ZmqDrain().drain(subscriber.underlying, intake, 100) == (10, True)
    assert intake.counts() == (10, 5, 2, 1, 1, 1)
    assert intake.take() == [LogGroup("conn", "", b"{}\n" * 5, 5)]


def test_rows_of_every_size_arrive(link: Link) -> None:
    """libzmq stores short and long messages differently; both come through unchanged."""
    publisher, subscriber = link.connect("tcp://127.0.0.1:*")
    sizes = [0, 1, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 100, 8191, 8192, 8193, 100_000]
    rows = [b'{"a":"' + b"x" * size + b'"}' for size in sizes]
    for data in rows:
        publisher.send_multipart([b"conn", data])
    intake = LogIntake(max_row=200_000)
    drain_all(subscriber, intake, len(rows))
    assert intake.take()[0].data.splitlines() == rows


def test_the_edge_of_the_descriptor_is_not_lost(link: Link, intake: LogIntake) -> None:
    """After (n, empty) the socket's readiness starts anew with the next message."""
    publisher, subscriber = link.connect("tcp://127.0.0.1:*")
    for round_ in range(1, 20):
        publisher.send_multipart([b"conn", b"{}"])
        drain_all(subscriber, intake, 1)
        assert ZmqDrain().drain(subscriber.underlying, intake, 10) == (0, True)
        assert intake.counts().accepted == round_


def test_a_terminated_context_is_an_error(link: Link, intake: LogIntake) -> None:
    """Terminating the context ends the drain with ETERM, not with emptiness."""
    _, subscriber = link.connect("inproc://logs")
    terminator = threading.Thread(target=link.context.term)
    terminator.start()
    try:
        with pytest.raises(zmq.ContextTerminated):
            subscriber.poll(TIMEOUT_MS)
        with pytest.raises(OSError, match=r".") as caught:
            ZmqDrain().drain(subscriber.underlying, intake, 10)
    finally:
        link.close()
        terminator.join()
    assert caught.value.errno == zmq.ETERM


def test_what_is_no_socket_is_an_error(intake: LogIntake) -> None:
    """A null pointer gives ENOTSOCK."""
    with pytest.raises(OSError, match="non-socket") as caught:
        ZmqDrain().drain(0, intake, 10)
    assert caught.value.errno == errno.ENOTSOCK


def test_closed_objects_refuse(link: Link, intake: LogIntake) -> None:
    """A closed drain or a closed intake is a ValueError."""
    _, subscriber = link.connect("inproc://logs")
    drain, closed = ZmqDrain(), ZmqDrain()
    closed.close()
    with pytest.raises(ValueError, match="ZmqDrain is closed"):
        closed.drain(subscriber.underlying, intake, 1)
    intake.close()
    with pytest.raises(ValueError, match="LogIntake is closed"):
        drain.drain(subscriber.underlying, intake, 1)


def test_without_libzmq_the_error_says_what_to_do() -> None:
    """A process that has not imported zmq gets an ApplianceError with a hint."""
    program = (
        "import appliance.native as n, appliance.errors as e\ntry: n.ZmqDrain()\nexcept e.ApplianceError as x: print(x)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("no libzmq is loaded in this process (import zmq first")
