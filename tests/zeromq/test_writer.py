"""The ZeroMQ sink: records out to a subscriber that binds, and the books of what became of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import zmq

from appliance.config import Sink
from appliance.errors import ApplianceError
from appliance.model import LogBatch, Print
from appliance.runtime.ledger import Account, AccountFigures
from appliance.runtime.queue import ItemQueue
from appliance.zeromq import links, writer
from appliance.zeromq.writer import LogWriter, WriterFigures

from .harness import open_door, wait_until


def logs(*numbers: int, path: str = "conn") -> LogBatch:
    rows = b"".join(b'{"n":%d}\n' % number for number in numbers)
    return LogBatch(path=path, source="zmq.a", data=rows, count=len(numbers))


class Bench:
    """A sink that runs, with its queue and its account."""

    def __init__(self, endpoint: str, *, policy: str = "drop_newest", max_records: int = 10**6) -> None:
        self.account = Account("sink.s")
        self.queue = ItemQueue(self.account, policy=policy, max_records=max_records, max_bytes=1 << 30)
        config = Sink(name="s", on=("log:*",), kind="zmq", endpoint=endpoint)
        self.sink = LogWriter(config, queue=self.queue)

    @property
    def figures(self) -> WriterFigures:
        return self.sink.statistics()

    @property
    def books(self) -> AccountFigures:
        figures = self.account.statistics()
        assert figures.imbalance == 0
        return figures

    async def wait_connected(self) -> None:
        await wait_until(lambda: self.figures.link is not None and self.figures.link.is_connected)
        await wait_until(lambda: self.figures.subscriptions > 0)


@asynccontextmanager
async def open_bench(endpoint: str) -> AsyncIterator[Bench]:
    """A running sink; it is stopped at the end."""
    bench = Bench(endpoint)
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda *, task_status: bench.sink.run(task_status=task_status))
        yield bench
        bench.sink.stop()


class Subscriber:
    """A SUB socket that binds."""

    def __init__(self, endpoint: str, *prefixes: bytes, hwm: int = 0) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.sock = self._context.socket(zmq.SUB)
        self.sock.setsockopt(zmq.RCVHWM, hwm)
        for prefix in prefixes:
            self.sock.setsockopt(zmq.SUBSCRIBE, prefix)
        self.sock.bind(endpoint)
        self.received: list[list[bytes]] = []

    def look(self) -> int:
        while self.sock.poll(0):
            self.received.append(self.sock.recv_multipart())
        return len(self.received)

    def close(self) -> None:
        self._context.destroy(linger=0)


async def test_our_own_subscriber_takes_what_the_sink_sends() -> None:
    """Records, paths and order stay, from the first record on."""
    async with open_door() as door:
        async with open_bench(door.endpoint) as bench:
            bench.queue.put_nowait(logs(1, 2, 3))
            bench.queue.put_nowait(logs(4, path="dns"))
            bench.queue.put_nowait(logs(*range(5, 3000)))
            await door.wait_received(2999)
        assert await door.rows("conn") == [b'{"n":%d}' % n for n in (1, 2, 3, *range(5, 3000))]
        assert await door.rows("dns") == [b'{"n":4}']
        assert (bench.books.delivered, bench.books.dropped) == (2999, {})


async def test_what_is_queued_is_sent_before_the_end() -> None:
    """A stop waits for it."""
    async with open_door() as door:
        async with open_bench(door.endpoint) as bench:
            await bench.wait_connected()
            bench.queue.put_nowait(logs(*range(5000)))
        await door.wait_received(5000)


async def test_without_a_subscriber(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first records wait for a moment; then they are dropped, and counted."""
    monkeypatch.setattr(writer, "PATIENCE_S", 0.05)
    async with open_bench(f"ipc://{tmp_path}/s") as bench:
        bench.queue.put_nowait(logs(1, 2))
        await wait_until(lambda: bench.books.dropped == {"no_peer": 2})
        subscriber = Subscriber(f"ipc://{tmp_path}/s", b"dns")
        await wait_until(lambda: subscriber.look() == 0 and bench.figures.subscriptions == 1)
        bench.queue.put_nowait(logs(3))
        bench.queue.put_nowait(logs(4, path="dns"))
        await wait_until(lambda: subscriber.look() == 1)
        assert subscriber.received == [[b"dns", b'{"n":4}']]
        assert bench.books.dropped == {"no_peer": 2, "no_subscriber": 1}
        subscriber.close()
        await wait_until(lambda: bench.figures.link is not None and not bench.figures.link.is_connected)
        bench.queue.put_nowait(logs(5, path="dns"))
        await wait_until(lambda: bench.books.dropped == {"no_peer": 3, "no_subscriber": 1})


async def test_an_endpoint_that_nobody_binds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is out of reach, for too long after a while, and reached as soon as somebody binds it."""
    monkeypatch.setattr(links, "PATIENCE_S", 0.05)
    endpoint = f"ipc://{tmp_path}/s"
    async with open_bench(endpoint) as bench:
        await wait_until(lambda: bool(bench.figures.overdue))
        assert bench.figures.overdue[0].startswith(f"{endpoint}: ")
        subscriber = Subscriber(endpoint, b"")
        await wait_until(lambda: not bench.figures.overdue)
        assert bench.figures.link is not None
        assert bench.figures.link.down_s == 0
        subscriber.close()
        await wait_until(lambda: bench.figures.overdue == (f"{endpoint}: the connection ended",))


async def test_a_slow_subscriber_fills_the_queue(tmp_path: Path) -> None:
    """What does not fit into libzmq waits, and all of it arrives when the subscriber goes on."""
    subscriber = Subscriber(f"ipc://{tmp_path}/s", b"", hwm=1)
    async with open_bench(f"ipc://{tmp_path}/s") as bench:
        await wait_until(lambda: subscriber.look() == 0 and bench.figures.subscriptions == 1)
        bench.queue.put_nowait(logs(*range(20_000)))
        records = 0
        while not records or bench.figures.records > records:
            records = bench.figures.records
            await trio.sleep(0.1)
        assert 0 < bench.books.queued < 20_000
        await wait_until(lambda: subscriber.look() == 20_000)
        assert [row for _, row in subscriber.received] == [b'{"n":%d}' % n for n in range(20_000)]
        assert bench.books.dropped == {}
    subscriber.close()


async def test_only_logs_are_sent() -> None:
    """Anything else is unwanted."""
    async with open_door() as door, open_bench(door.endpoint) as bench:
        bench.queue.put_nowait(Print(topic="t", source="broker", text=b"x", received_ns=1))
        await wait_until(lambda: bench.books.dropped == {"unwanted": 1})


async def test_an_endpoint_that_is_none() -> None:
    """Is told at the start."""
    bench = Bench("tcp://there is none")
    with pytest.raises(ApplianceError, match="cannot connect"):
        await bench.sink.run()
