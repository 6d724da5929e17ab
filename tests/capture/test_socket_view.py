"""Packets that come from the socket straight into a block, as a view."""

from __future__ import annotations

import errno
import select
import socket
from collections.abc import Iterator

import pytest

from appliance.capture.batch import SocketView
from appliance.native.pcap import PcapBlock, Received
from appliance.native.receivers import DatagramReceiver

LONGEST = 65535


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A bound socket, and one that sends to it."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        bound.bind(("127.0.0.1", 0))
        sender.connect(bound.getsockname())
        yield bound, sender


def test_length_shrinks_to_what_came(ends: tuple[socket.socket, socket.socket]) -> None:
    """It is what may come until the socket is empty."""
    view, block = SocketView(DatagramReceiver(ends[0].fileno()), longest=LONGEST), PcapBlock(1 << 20)
    for i in range(5):
        ends[1].send(bytes([i]))
    view.begin(10)
    assert view.copy_to(block, max_packets=2) == (2, Received.MORE)
    assert (len(view), view.is_empty) == (10, False)
    assert view.copy_to(block, start=2) == (5, Received.EMPTY)
    assert (len(view), view.is_empty, view.error) == (5, True, None)


def test_no_more_come_than_was_asked_for(ends: tuple[socket.socket, socket.socket]) -> None:
    """The others stay in the socket for the next time."""
    view, block = SocketView(DatagramReceiver(ends[0].fileno()), longest=LONGEST), PcapBlock(1 << 20)
    for i in range(5):
        ends[1].send(bytes([i]))
    for count in (3, 2):
        view.begin(3)
        assert view.copy_to(block).next == count
    assert view.is_empty


def test_error_of_the_socket_stands_behind_the_packets(ends: tuple[socket.socket, socket.socket]) -> None:
    """Those that came are counted; the socket is not called empty, and goes on the next time."""
    bound, sender = ends
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        nobody = gone.getsockname()
    view, block = SocketView(DatagramReceiver(bound.fileno()), longest=LONGEST), PcapBlock(1 << 20)
    bound.connect(sender.getsockname())
    sender.send(b"before")
    bound.connect(nobody)
    bound.send(b"anybody?")
    assert select.select([bound], [], [], 5)[0]
    found, errors = 0, []
    for _ in range(3):
        view.begin(10)
        found += view.copy_to(block).next
        errors += [view.error.errno] if view.error else []
    assert (found, errors) == (1, [errno.ECONNREFUSED])
    assert view.is_empty
