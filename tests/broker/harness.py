"""Endpoints under test: each with its own ledger, and a consumer that takes everything."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import trio

from appliance.broker.endpoint import BrokerEndpoint
from appliance.broker.figures import EndpointFigures, PeerFigures
from appliance.broker.stores.hub import StoreHub
from appliance.config import Broker, Membership, Peering
from appliance.model import EventBatch, Item, LogBatch, Print
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.ledger import AccountFigures, Ledger
from appliance.runtime.outlet import Outlet, Published
from appliance.runtime.quarantine import Quarantine
from appliance.runtime.queue import ItemQueue
from appliance.units import Duration, Size
from appliance.zeek.messages import Event, decode_message, encode_message
from appliance.zeek.values import Value

DEADLINE_S = 15.0
ROOMY: dict[str, int] = {"max_records": 10_000_000, "max_bytes": 1 << 30}
LOOPBACK = ("127.0.0.1:0",)
ALL = ("",)


async def wait_until(condition: Callable[[], bool], *, timeout_s: float = DEADLINE_S) -> None:
    """Look again and again until `condition` holds."""
    with trio.fail_after(timeout_s):
        while not condition():  # noqa: ASYNC110 - what is looked at are plain figures
            await trio.sleep(0.002)


def table(**keys: Any) -> Broker:
    """A [broker] table for tests: without TLS, on loopback, quick to dial again."""
    for name, value in keys.items():
        if isinstance(value, str) and name in ("retry_interval", "handshake_timeout", "ping_interval", "max_wait"):
            keys[name] = Duration.parse(value)
        if name in ("queue_bytes", "max_message"):
            keys[name] = Size(value)
    given: dict[str, Any] = {"listen": LOOPBACK, "tls": "off", "retry_interval": Duration(20_000_000), "subscribe": ALL}
    return Broker(**(given | keys))


def event(name: str, *args: Value) -> bytes:
    """An event message."""
    return encode_message(Event.make(name, *args))


class House:
    """One endpoint with its ledger and a consumer."""

    def __init__(
        self,
        folder: Path,
        *,
        policy: str = "drop_newest",
        limits: dict[str, int] | None = None,
        on: Sequence[str] = ("event:*", "print:", "log:*", "node:*"),
        zeek_version: str = "8.0",
        member: Membership | None = None,
        **keys: Any,
    ) -> None:
        self.folder = folder
        self.ledger, self.dispatcher, self.outlet = Ledger(), Dispatcher(), Outlet()
        self.queue = ItemQueue(self.ledger.account("sink.all"), policy=policy, **(limits or ROOMY))
        self.dispatcher.subscribe("sink.all", self.queue, on=on, sources=[])
        self.peering = Peering(broker=table(**keys), zeek_version=zeek_version, member=member)
        self.stores = StoreHub()
        self.endpoint = BrokerEndpoint(
            self.peering,
            stores=self.stores,
            state_dir=folder,
            records=self.ledger.account("broker"),
            messages=self.ledger.account("broker.messages", unit="messages"),
            copies=self.ledger.account("broker.out", unit="messages"),
            dispatcher=self.dispatcher,
            quarantine=Quarantine(folder / "quarantine", max_files=3),
            outlet=self.outlet,
        )
        self.items: list[Item] = []

    @property
    def figures(self) -> EndpointFigures:
        return self.endpoint.statistics()

    @property
    def address(self) -> str:
        return self.figures.listening[0]

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    @property
    def peers(self) -> dict[str, PeerFigures]:
        return {peer.peer: peer for peer in self.figures.peers}

    def books(self, name: str = "broker") -> AccountFigures:
        """One account; every look is a check of all."""
        found = self.ledger.statistics()
        assert {a.name: a.imbalance for a in found} == {a.name: 0 for a in found}
        assert all(a.queued >= 0 for a in found)
        return next(a for a in found if a.name == name)

    @property
    def incoming(self) -> AccountFigures:
        return self.books("broker.messages")

    @property
    def outgoing(self) -> AccountFigures:
        return self.books("broker.out")

    async def take(self) -> list[Item]:
        """Everything that has arrived so far."""
        while self.queue.waiting:
            async with self.queue.lease(1_000_000) as parcel:
                self.items += parcel.items
                parcel.deliver(parcel.count)
        return self.items

    async def events(self, name: str = "") -> list[tuple[Value, ...]]:
        """Arguments of the events of that name that peers have sent; without one, of all."""
        batches = [item for item in await self.take() if isinstance(item, EventBatch)]
        return [
            tuple(decode_message(payload).args)  # type: ignore[union-attr]
            for batch in batches
            if (batch.name == name if name else bool(batch.peer))
            for payload in batch.payloads()
        ]

    async def statuses(self) -> list[str]:
        """Names of our own events, without their module."""
        items = [item for item in await self.take() if isinstance(item, EventBatch) and not item.peer]
        return [item.name.removeprefix("Broker::") for item in items]

    async def prints(self) -> list[tuple[str, bytes]]:
        return [(item.topic, item.text) for item in await self.take() if isinstance(item, Print)]

    async def logs(self) -> list[LogBatch]:
        return [item for item in await self.take() if isinstance(item, LogBatch)]

    def publish(self, topic: str, *messages: bytes, unsolicited: bool = False) -> Published:
        return self.endpoint.publish(topic, messages, unsolicited=unsolicited)

    def changed(self, **keys: Any) -> Peering:
        for name, value in keys.items():
            if isinstance(value, str) and name in ("retry_interval", "handshake_timeout", "ping_interval", "max_wait"):
                keys[name] = Duration.parse(value)
        return msgspec.structs.replace(self.peering, broker=msgspec.structs.replace(self.peering.broker, **keys))

    async def wait_peers(self, count: int) -> None:
        await wait_until(lambda: len(self.peers) == count)


@asynccontextmanager
async def run_houses(*houses: House) -> AsyncIterator[None]:
    """Run endpoints; at the end they are stopped, the last one first, and the books are looked at."""
    async with trio.open_nursery() as nursery:
        for house in houses:
            await start(nursery, house)
        yield
        for house in reversed(houses):
            house.endpoint.stop()
    for house in houses:
        assert (house.books().queued, house.incoming.queued, house.outgoing.queued) == (0, 0, 0)
        assert not house.peers
        assert not (house.folder / "broker.ports").exists()


async def start(nursery: trio.Nursery, house: House) -> None:
    async def run(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        await house.endpoint.run(task_status=task_status)

    with trio.fail_after(DEADLINE_S):
        await nursery.start(run)
