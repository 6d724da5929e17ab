"""Nobody stalls the cluster: not our node, whatever its consumers and its loop do, and with our proxy nobody at all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq

from appliance.units import Duration
from appliance.wire.zeromq_events import Serializer
from appliance.zeromq import proxy

from .cluster_bench import Bare, Bus, Member, event, open_bus
from .harness import DEADLINE_S, wait_until

TOPIC = "zeek.event.my."
COUNT = 3000
MARK = 50
PAYLOAD = event("My::event", b"x" * 2000)


@contextmanager
def zeek_proxy(bus: Bus) -> Iterator[None]:
    """A proxy as Zeek's is by default: it waits for who does not read (``listen_xpub_nodrop``)."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socks = [context.socket(kind) for kind in (zmq.XPUB, zmq.XSUB)]
    for sock, endpoint in zip(socks, (bus.read, bus.write), strict=True):
        sock.setsockopt(zmq.LINGER, 0)
        sock.setsockopt(zmq.SNDHWM, MARK)
        sock.setsockopt(zmq.RCVHWM, MARK)
        sock.bind(endpoint)
    socks[0].setsockopt(zmq.XPUB_VERBOSER, 1)
    socks[0].setsockopt(zmq.XPUB_NODROP, 1)

    def forward() -> None:
        try:
            zmq.proxy(socks[1], socks[0])
        except zmq.ContextTerminated:
            for sock in socks:
                sock.close()

    thread = threading.Thread(target=forward)
    thread.start()
    try:
        yield
    finally:
        context.term()
        thread.join()


class Traffic:
    """A node that publishes and one that reads all of it, both in one thread that nobody else holds up."""

    def __init__(self, bus: Bus) -> None:
        self.fast = Bare(bus, "fast", TOPIC)
        self.sender = Bare(bus, "sender")
        self.received = 0
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        parts = [TOPIC.encode(), b"sender", Serializer.BINARY.value, PAYLOAD]
        for number in range(COUNT):
            self.sender.writer.send_multipart(parts)
            # In steps, for the fast one shall not be the one that is waited for.
            if number % 10 == 9 and not self._read(number + 1):
                return

    def _read(self, upto: int) -> bool:
        while self.received < upto:
            if not self.fast.reader.poll(2000):
                return False
            self.fast.reader.recv_multipart()
            self.received += 1
        return True

    def run(self) -> None:
        """Hold up the caller, and so his loop, until everything has arrived, or nothing comes any more."""
        self._thread.start()
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()

    async def wait_heard(self) -> None:
        await self.sender.wait_heard(TOPIC)

    def close(self) -> None:
        self.fast.close()
        self.sender.close()


async def join_busy(bus: Bus) -> Member:
    """A node whose only consumer takes nothing, and lets the door wait."""
    limits = {"max_records": 10, "max_bytes": 1 << 20}
    return await bus.join(
        "worker-1", subscribe=(TOPIC,), policy="block", limits=limits, queue=100, max_wait=Duration.parse("1h")
    )


async def test_somebody_else_who_does_not_read_stalls_a_cluster_of_zeek(tmp_path: Path) -> None:
    """What all of this is about."""
    async with open_bus(tmp_path, "worker-1", proxy=False) as bus:
        with zeek_proxy(bus):
            deaf = Bare(bus, "deaf", TOPIC, rcvhwm=MARK)
            traffic = Traffic(bus)
            await traffic.wait_heard()
            traffic.run()
            assert traffic.received < COUNT
            deaf.close()
            traffic.close()


async def test_our_node_reads_on_while_its_loop_and_its_consumers_stand_still(tmp_path: Path) -> None:
    """Everybody else gets everything; what we had no room for is dropped here, and counted."""
    async with open_bus(tmp_path, "worker-1", proxy=False) as bus:
        with zeek_proxy(bus):
            member = await join_busy(bus)
            await member.wait_ready()
            traffic = Traffic(bus)
            await traffic.wait_heard()
            traffic.run()
            assert traffic.received == COUNT
            await wait_until(lambda: member.figures.waiting_in <= 100)

            def all_is_counted() -> bool:
                books = member.books("cluster.messages")
                return books.received + member.figures.waiting_in >= COUNT

            await wait_until(lambda: member.queue.waiting >= 10)
            while not all_is_counted():
                await member.take()
                await wait_until(lambda: member.queue.waiting > 0 or all_is_counted())
            await member.take()
            books = member.books("cluster.messages")
            assert books.dropped["overflow"] > 1000
            assert books.delivered >= 100
            traffic.close()
            await member.kill()


@pytest.mark.parametrize("who", ["somebody", "our own"])
async def test_with_our_proxy_nobody_waits_for_anybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    """Neither for a stranger that does not read nor for a node of ours."""
    monkeypatch.setattr(proxy, "HWM", MARK)
    async with open_bus(tmp_path, "worker-1") as bus:
        deaf = Bare(bus, "deaf", TOPIC, rcvhwm=MARK) if who == "somebody" else None
        member = await join_busy(bus)
        await member.wait_ready()
        traffic = Traffic(bus)
        await traffic.wait_heard()
        traffic.run()
        assert traffic.received == COUNT
        traffic.close()
        await member.kill()
        if deaf is not None:
            deaf.close()
