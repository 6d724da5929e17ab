"""A ZeroMQ cluster in this process: a proxy of ours on Unix sockets, nodes of ours, and nodes made of bare sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
import zmq

from appliance.config import NodePlan, ProxyPlan
from appliance.config.membership import Membership
from appliance.model import EventBatch, Item, NodeStatus
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.ledger import AccountFigures, Ledger
from appliance.runtime.outlet import Outlet, Published
from appliance.runtime.quarantine import Quarantine
from appliance.runtime.queue import ItemQueue
from appliance.wire.zeromq_events import Serializer, encode_event
from appliance.zeek.layout import ClusterLayout, LayoutNode, NodeType
from appliance.zeek.messages import Event, decode_message, encode_message
from appliance.zeek.topics import cluster_topics
from appliance.zeek.values import Value
from appliance.zeek.version import parse_version
from appliance.zeromq.links import LinkState
from appliance.zeromq.node import ClusterNode, make_node_id
from appliance.zeromq.node_figures import NodeFigures
from appliance.zeromq.proxy import ClusterProxy

from .harness import DEADLINE_S, ROOMY

__all__ = ["Bare", "Bus", "Member", "event", "layout", "open_bus"]


def layout(*names: str) -> ClusterLayout:
    """Nodes whose names begin with their types."""
    nodes = [LayoutNode(name=name, type=NodeType(name.partition("-")[0])) for name in names]
    return ClusterLayout(nodes=tuple(nodes))


def event(name: str, *args: Value) -> bytes:
    """An event message."""
    return encode_message(Event.make(name, *args))


class Bus:
    """Where the proxy is, and who is there."""

    def __init__(self, folder: Path, names: Sequence[str], nursery: trio.Nursery) -> None:
        self.folder = folder
        self.layout = layout(*names)
        self.read, self.write = f"ipc://{folder}/r", f"ipc://{folder}/w"
        self.nursery = nursery
        self.proxy: ClusterProxy | None = None
        self._proxy_ended = trio.Event()

    async def start_proxy(self, **keys: str) -> None:
        self.proxy = proxy = ClusterProxy(ProxyPlan(read=self.read, write=self.write, **keys))
        self._proxy_ended = ended = trio.Event()

        async def run(*, task_status: trio.TaskStatus[None]) -> None:
            await proxy.run(task_status=task_status)
            ended.set()

        await self.nursery.start(run)

    async def stop_proxy(self) -> None:
        if self.proxy is not None:
            self.proxy.stop()
            await self._proxy_ended.wait()
            self.proxy = None

    def member(self, name: str, **keys: Any) -> Member:
        return Member(self, name, **keys)

    async def join(self, name: str, **keys: Any) -> Member:
        """A node that runs."""
        member = self.member(name, **keys)
        await self.nursery.start(member.run)
        return member


@asynccontextmanager
async def open_bus(
    folder: Path, *names: str, proxy: bool = True, keys: dict[str, str] | None = None
) -> AsyncIterator[Bus]:
    """A cluster of these nodes, with its proxy and its keys. At the end everybody is stopped."""
    async with trio.open_nursery() as nursery:
        bus = Bus(folder, names, nursery)
        if proxy:
            await bus.start_proxy(**(keys or {}))
        with trio.fail_after(3 * DEADLINE_S):
            yield bus
        nursery.cancel_scope.cancel()


class Member:
    """One node of ours with its ledger and a consumer."""

    def __init__(
        self,
        bus: Bus,
        name: str,
        *,
        role: NodeType | None = None,
        announce: bool = True,
        version: str = "8.0",
        policy: str = "drop_newest",
        limits: dict[str, int] | None = None,
        node_id: str = "",
        **keys: Any,
    ) -> None:
        listed = bus.layout.node(name)
        topics = cluster_topics(parse_version(version), "zeromq")
        membership = Membership(
            name=name,
            role=role or (listed.type if listed else NodeType.NONE),
            layout=bus.layout,
            topics=topics,
            announce=announce,
            says_connected=False,
        )
        self.name = name
        self.ledger, self.dispatcher, self.outlet = Ledger(), Dispatcher(), Outlet()
        self.queue = ItemQueue(self.ledger.account("sink.all"), policy=policy, **(limits or ROOMY))
        self.dispatcher.subscribe("sink.all", self.queue, on=["event:*", "node:*", "log:*"], sources=[])
        places: dict[str, Any] = {"read": bus.read, "write": bus.write}
        self.plan = NodePlan(member=membership, **(places | keys))
        self.node = ClusterNode(
            self.plan,
            records=self.ledger.account("cluster.events"),
            messages=self.ledger.account("cluster.messages", unit="messages"),
            copies=self.ledger.account("cluster.out", unit="messages"),
            dispatcher=self.dispatcher,
            quarantine=Quarantine(bus.folder / f"quarantine-{name}", max_files=3),
            outlet=self.outlet,
            make_id=(lambda _: node_id) if node_id else make_node_id,
        )
        self.items: list[Item] = []
        self._scope = trio.CancelScope()
        self._ended = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with self._scope:
            await self.node.run(task_status=task_status)
        self._ended.set()

    async def stop(self) -> None:
        """Let it end by itself."""
        self.node.stop()
        await self._ended.wait()

    async def kill(self) -> None:
        """Cancel it."""
        self._scope.cancel()
        await self._ended.wait()

    @property
    def figures(self) -> NodeFigures:
        return self.node.statistics()

    @property
    def oddities(self) -> dict[str, int]:
        """What was wrong with the presence of others."""
        return self.figures.cluster.refused

    @property
    def write(self) -> LinkState:
        """The connection for writing."""
        assert self.figures.write is not None
        return self.figures.write

    @property
    def up(self) -> set[str]:
        return set(self.node.table.up)

    def books(self, name: str = "cluster.events") -> AccountFigures:
        """One account; every look is a check of all."""
        found = self.ledger.statistics()
        assert {a.name: a.imbalance for a in found} == {a.name: 0 for a in found}
        assert all(a.queued >= 0 for a in found)
        return next(a for a in found if a.name == name)

    async def wait_ready(self) -> None:
        await self.node.wait_for(lambda: self.node.is_ready)

    async def wait_up(self, *names: str) -> None:
        await self.node.wait_for(lambda: self.up == set(names))

    async def wait_heard(self, topic: str) -> None:
        """Wait until somebody else takes what is published on a topic."""
        await self.node.wait_for(lambda: self.node.hears(topic))

    def publish(self, topic: str, *messages: bytes) -> Published:
        return self.node.publish(topic, messages)

    async def take(self) -> list[Item]:
        while self.queue.waiting:
            async with self.queue.lease(1_000_000) as parcel:
                self.items += parcel.items
                parcel.deliver(parcel.count)
        return self.items

    async def events(self, name: str = "") -> list[tuple[Value, ...]]:
        """Arguments of the events that have arrived."""
        batches = [item for item in await self.take() if isinstance(item, EventBatch)]
        return [
            tuple(decode_message(payload).args)  # type: ignore[union-attr]
            for batch in batches
            if not name or batch.name == name
            for payload in batch.payloads()
        ]

    async def wait_events(self, count: int, name: str = "") -> list[tuple[Value, ...]]:
        """Wait until that many have arrived."""
        with trio.fail_after(DEADLINE_S):
            while len(found := await self.events(name)) < count:  # noqa: ASYNC110 - plain figures
                await trio.sleep(0.002)
        return found

    async def wait_news(self, *news: str) -> None:
        """Wait until these have been told of nodes, in this order, e.g. ``up worker-1``."""
        with trio.fail_after(DEADLINE_S):
            while await self.news() != list(news):  # noqa: ASYNC110 - plain figures
                await trio.sleep(0.002)

    async def news(self) -> list[str]:
        return [f"{item.status} {item.node}" for item in await self.take() if isinstance(item, NodeStatus)]


class Bare:
    """A node of somebody else's: two sockets, and what the test makes of them."""

    def __init__(self, bus: Bus, node_id: str, *topics: str, rcvhwm: int = 0, sndhwm: int = 0) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.node_id = node_id
        self.reader = self._context.socket(zmq.XSUB)
        self.writer = self._context.socket(zmq.XPUB)
        self.writer.setsockopt(zmq.XPUB_VERBOSE, 1)
        self.reader.setsockopt(zmq.RCVHWM, rcvhwm)
        self.writer.setsockopt(zmq.SNDHWM, sndhwm)
        self.reader.connect(bus.read)
        self.writer.connect(bus.write)
        self.heard: list[bytes] = []
        self.received: list[list[bytes]] = []
        self.subscribe(*topics)

    def subscribe(self, *topics: str) -> None:
        for topic in topics:
            self.reader.send(b"\1" + topic.encode())

    def send(self, topic: str, payload: bytes, *, serializer: Serializer = Serializer.BINARY) -> None:
        self.writer.send_multipart([topic.encode(), self.node_id.encode(), serializer.value, payload])

    def publish(self, topic: str, what: Event, serializer: Serializer = Serializer.BINARY) -> None:
        self.writer.send_multipart(encode_event(topic, self.node_id, what, serializer))

    async def wait(self, condition: Callable[[], bool]) -> None:
        """Read both sockets until `condition` holds."""
        with trio.fail_after(DEADLINE_S):
            while not condition():
                self.look()
                await trio.sleep(0.002)

    def look(self) -> None:
        """Read what is there."""
        while self.writer.poll(0):
            self.heard.append(self.writer.recv())
        while self.reader.poll(0):
            self.received.append(self.reader.recv_multipart())

    async def wait_heard(self, *topics: str) -> None:
        await self.wait(lambda: all(b"\1" + topic.encode() in self.heard for topic in topics))

    def close(self) -> None:
        self._context.destroy(linger=0)
