"""A log subscriber with real sockets around it: writers like Zeek's, a consumer that keeps what it gets."""

from __future__ import annotations

import ctypes
import json
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import trio
import zmq

from appliance.config import Zmq
from appliance.model import LogBatch
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.ledger import Account, AccountFigures, Ledger
from appliance.runtime.queue import ItemQueue
from appliance.zeromq.subscriber import LogSubscriber, SubscriberFigures

DEADLINE_S = 10.0
LOOPBACK = ("tcp://127.0.0.1:0",)
ROOMY = {"max_records": 10_000_000, "max_bytes": 1 << 30}


def row(seq: int | None = None, node: str = "", **fields: Any) -> bytes:
    """A record, with the marks that are given."""
    marks: dict[str, Any] = {"_node": node} if node else {}
    if seq is not None:
        marks["_seq"] = seq
    return json.dumps(marks | fields, separators=(",", ":")).encode()


async def wait_until(condition: Callable[[], bool], *, timeout_s: float = DEADLINE_S) -> None:
    """Look again and again until `condition` holds."""
    with trio.fail_after(timeout_s):
        while not condition():  # noqa: ASYNC110 - what is looked at are plain figures
            await trio.sleep(0.002)


class Writer:
    """A publisher that connects, as a writer thread of Zeek does: a socket and a context of its own.

    It is an XPUB, which is a PUB that can be asked whether somebody has subscribed.
    """

    def __init__(self, endpoint: str, *, hwm: int = 0) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.sock = self._context.socket(zmq.XPUB)
        self.sock.setsockopt(zmq.SNDHWM, hwm)
        self.sock.setsockopt(zmq.IPV6, int("[" in endpoint))
        self.sock.connect(endpoint)

    async def wait_subscribed(self) -> None:
        """Wait until the subscription has arrived; what is sent from then on is not lost."""
        with trio.fail_after(DEADLINE_S):
            while True:
                try:
                    message = self.sock.recv(zmq.NOBLOCK)
                except zmq.Again:
                    await trio.lowlevel.wait_readable(self.sock.fileno())
                else:
                    assert message == b"\x01"
                    return

    def send(self, path: str, *rows: bytes) -> None:
        """One message for each row."""
        for each in rows:
            self.sock.send_multipart([path.encode(), each])

    def close(self) -> None:
        """End as Zeek does: what is still in the pipe is sent first."""
        self._context.destroy(linger=2000)


@asynccontextmanager
async def open_writer(endpoint: str, *, hwm: int = 0) -> AsyncIterator[Writer]:
    """A writer that knows of the subscription."""
    writer = Writer(endpoint, hwm=hwm)
    try:
        await writer.wait_subscribed()
        yield writer
    finally:
        writer.close()


class Door:
    """A subscriber under test, its ledger, and a consumer that wants all logs."""

    def __init__(self, *, policy: str = "drop_newest", limits: dict[str, int] | None = None, **config: Any) -> None:
        self.ledger = Ledger()
        self.dispatcher = Dispatcher()
        self.account: Account = self.ledger.account("zmq.bro")
        self.queue = ItemQueue(self.ledger.account("sink.all"), policy=policy, **(limits or ROOMY))
        self.dispatcher.subscribe("sink.all", self.queue, on=["log:*"], sources=[])
        self.config = Zmq(name="bro", **({"bind": LOOPBACK} | config))
        self.subscriber = LogSubscriber(self.config, account=self.account, dispatcher=self.dispatcher)
        self.batches: list[LogBatch] = []

    @property
    def endpoint(self) -> str:
        return self.figures.endpoints[0]

    @property
    def figures(self) -> SubscriberFigures:
        return self.subscriber.statistics()

    @property
    def books(self) -> AccountFigures:
        """The door's account; every look is a check of all accounts."""
        assert [a.imbalance for a in self.ledger.statistics()] == [0] * len(self.ledger.statistics())
        return self.account.statistics()

    async def wait_received(self, count: int, *, timeout_s: float = DEADLINE_S) -> AccountFigures:
        """Wait until exactly `count` messages are booked, and until none of them is in hand."""
        await wait_until(lambda: self.books.received >= count and not self.books.queued, timeout_s=timeout_s)
        assert self.books.received == count
        return self.books

    async def take(self) -> None:
        """Move what waits for the consumer to `batches`."""
        while self.queue.waiting:
            async with self.queue.lease(1_000_000) as parcel:
                self.batches += [item for item in parcel.items if isinstance(item, LogBatch)]
                parcel.deliver(parcel.count)

    async def run_consumer(self) -> None:
        """Take whatever comes, until cancelled."""
        while True:
            await self.queue.wait_any()
            await self.take()

    async def rows(self, path: str, node: str | None = None) -> list[bytes]:
        """All rows of a path that have been dispatched, in order."""
        await self.take()
        return [r for b in self.batches if b.path == path and node in (None, b.node) for r in b.rows()]

    async def paths(self) -> set[str]:
        """The log paths that have been dispatched."""
        await self.take()
        return {batch.path for batch in self.batches}

    async def stop(self, timeout_s: float = DEADLINE_S) -> None:
        """Ask the subscriber to end; `open_door` waits for it."""
        self.subscriber.stop()
        await wait_until(lambda: not self.figures.endpoints, timeout_s=timeout_s)


@asynccontextmanager
async def run_door(door: Door) -> AsyncIterator[Door]:
    """Run the subscriber; at the end it is stopped and the books are looked at."""
    async with trio.open_nursery() as nursery:
        with trio.fail_after(DEADLINE_S):
            await nursery.start(lambda *, task_status: door.subscriber.run(task_status=task_status))
        yield door
        await door.stop()
    assert not door.books.queued


@asynccontextmanager
async def open_door(**settings: Any) -> AsyncIterator[Door]:
    """A running door; settings as for `Door`."""
    async with run_door(Door(**settings)) as door:
        yield door


@contextmanager
def raw_peer(endpoint: str) -> Iterator[socket.socket]:
    """A TCP connection to a ``tcp`` endpoint, without any ZeroMQ."""
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=DEADLINE_S) as sock:
        yield sock


def shake_hands(sock: socket.socket) -> None:
    """Send what a PUB socket sends first. Source: ZMTP 3.1 (rfc.zeromq.org/spec/37), mechanism NULL."""
    ready = b"\x05READY\x0bSocket-Type" + struct.pack(">I", 3) + b"PUB"
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"NULL".ljust(20, b"\0") + b"\0" + bytes(31)
    sock.sendall(greeting + b"\x04" + bytes([len(ready)]) + ready)


def go_deaf(sock: socket.socket) -> None:
    """Make the kernel drop whatever arrives for `sock`, acknowledgements included, as if its machine had no power.

    Source: socket(7), SO_ATTACH_FILTER; the filter is ``ret #0``.
    """
    attach_filter = 26
    program = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
    sock.setsockopt(socket.SOL_SOCKET, attach_filter, struct.pack("HP", 1, ctypes.addressof(program)))
