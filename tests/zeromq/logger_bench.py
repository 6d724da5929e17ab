"""A logger with a real socket, and the nodes that push to it."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import trio
import zmq

from appliance.config import Cluster, ClusterZeromq
from appliance.model import LogBatch
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.ledger import AccountFigures, Ledger
from appliance.runtime.quarantine import Quarantine
from appliance.runtime.queue import ItemQueue
from appliance.zeromq.logger import LogReceiver, ReceiverFigures

from .harness import DEADLINE_S, ROOMY, wait_until

GOLDEN = Path(__file__).parents[1] / "golden"
SENDER = b"zeromq_worker-1_host_28379_Nhf30jYdCz2f"
TAG, FORMAT = b"log-write", b"zeek-bin-serializer"


def recorded() -> list[list[bytes]]:
    """The log batches of a real cluster, as a logger gets them."""
    with gzip.open(GOLDEN / "zeromq" / "cluster.jsonl.gz", "rt") as lines:
        entries = map(json.loads, lines)
        return [[bytes.fromhex(f) for f in entry["frames"]] for entry in entries if entry["socket"] == "pull"]


def payload(*numbers: int, path: str = "conn", name: str = "n", filter_: str = "default") -> bytes:
    """A batch of one COUNT column."""
    texts = ("Conn::LOG", "Log::WRITER_ASCII", filter_, path)
    head = b"".join(struct.pack(">I", len(text)) + text.encode() for text in texts)
    column = b"\0" + struct.pack(">I", len(name)) + name.encode() + struct.pack(">iiB", 3, 0, 0)
    records = b"".join(struct.pack(">iiBQ", 3, 0, 1, number) for number in numbers)
    return head + struct.pack(">I", 1) + column + struct.pack(">I", len(numbers)) + records


def row(number: int) -> bytes:
    return b'{"n":%d}' % number


class Node:
    """A PUSH socket that connects, as each node of Zeek has one."""

    def __init__(self, endpoint: str, *, hwm: int = 0, curve: tuple[bytes, bytes, bytes] | None = None) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.sock = self._context.socket(zmq.PUSH)
        self.sock.setsockopt(zmq.SNDHWM, hwm)
        self.sock.setsockopt(zmq.SNDTIMEO, 0)
        if curve is not None:
            self.sock.curve_serverkey, self.sock.curve_publickey, self.sock.curve_secretkey = curve
        self.sock.connect(endpoint)

    def send(self, *payloads: bytes, sender: bytes = SENDER) -> None:
        for each in payloads:
            self.sock.send_multipart([TAG, sender, FORMAT, each])

    def close(self, *, linger: int = 2000) -> None:
        self._context.destroy(linger=linger)


class Door:
    """A logger under test, its ledger, and a consumer that wants all logs."""

    def __init__(
        self, folder: Path, *, policy: str = "drop_newest", limits: dict[str, int] | None = None, **zeromq: Any
    ):
        self.ledger, self.dispatcher = Ledger(), Dispatcher()
        self.account = self.ledger.account("cluster")
        self.batches = self.ledger.account("cluster.batches", unit="batches")
        self.queue = ItemQueue(self.ledger.account("sink.all"), policy=policy, **(limits or ROOMY))
        self.dispatcher.subscribe("sink.all", self.queue, on=["log:*"], sources=[])
        table = ClusterZeromq(**({"log_bind": "tcp://127.0.0.1:0"} | zeromq))
        self.config = Cluster(backend="zeromq", zeromq=table)
        self.quarantine = Quarantine(folder / "quarantine", max_files=3)
        self.receiver = LogReceiver(
            self.config,
            account=self.account,
            batches=self.batches,
            dispatcher=self.dispatcher,
            quarantine=self.quarantine,
        )
        self.items: list[LogBatch] = []

    @property
    def endpoint(self) -> str:
        return self.figures.endpoints[0]

    @property
    def figures(self) -> ReceiverFigures:
        return self.receiver.statistics()

    def books(self) -> tuple[AccountFigures, AccountFigures]:
        """Records and batches; every look is a check of all accounts."""
        assert [a.imbalance for a in self.ledger.statistics()] == [0] * len(self.ledger.statistics())
        return self.account.statistics(), self.batches.statistics()

    async def wait_batches(self, count: int) -> tuple[AccountFigures, AccountFigures]:
        """Wait until exactly so many messages are booked, and until nothing is in hand."""
        await wait_until(lambda: self.books()[1].received >= count and not self.books()[0].queued)
        assert self.books()[1].received == count
        return self.books()

    async def take(self) -> list[LogBatch]:
        while self.queue.waiting:
            async with self.queue.lease(1_000_000) as parcel:
                self.items += [item for item in parcel.items if isinstance(item, LogBatch)]
                parcel.deliver(parcel.count)
        return self.items

    async def rows(self, path: str = "conn", node: str | None = None) -> list[bytes]:
        return [r for b in await self.take() if b.path == path and node in (None, b.node) for r in b.rows()]

    def replaced(self, **zeromq: Any) -> Cluster:
        return msgspec.structs.replace(self.config, zeromq=msgspec.structs.replace(self.config.zeromq, **zeromq))

    def kept(self) -> list[bytes]:
        return [file.read_bytes() for file in sorted(self.quarantine.folder.glob("*"))]


@asynccontextmanager
async def run_door(door: Door) -> AsyncIterator[Door]:
    """Run the logger; at the end it is stopped and the books are looked at."""
    async with trio.open_nursery() as nursery:
        with trio.fail_after(DEADLINE_S):
            await nursery.start(lambda *, task_status: door.receiver.run(task_status=task_status))
        yield door
        door.receiver.stop()
        await wait_until(lambda: not door.figures.endpoints)
    assert not door.books()[0].queued
