"""One event model for all transports: what came through one door cannot be told from what came through another."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio

from appliance.model import EventBatch
from appliance.runtime.outlet import Published
from appliance.zeek.address import Address, Port
from appliance.zeek.events import plain_args, typed_records
from appliance.zeek.messages import Event, encode_message
from appliance.zeek.values import Count, EnumValue, Set, Subnet, Table, Timespan, Timestamp, Vector
from tests.broker import harness as broker
from tests.websocket import harness as websocket
from tests.zeromq import cluster_bench as zeromq

TOPIC = "zeek.event.my.x"
ARGS = (
    *(True, -5, Count(2**64 - 1), 1.5, b"h\xc3\xa9llo \x00\x01\x7f", b"", None),
    *(Address.parse("192.0.2.1"), Address.parse("2001:db8::1"), Subnet.parse("10.0.0.0/8"), Port(53, 2)),
    *(Timestamp(1_700_000_000_249_000_000), Timespan(-1_500_000_000), EnumValue("My::RED")),
    *(Vector([Count(1), Vector([b"x", None])]), Set([b"a", b"b"]), Table([(Count(1), b"one"), (Count(2), b"two")])),
)
MESSAGE = encode_message(Event.make("My::event", *ARGS))
Publish = Callable[[str, list[bytes]], Published]
Take = Callable[[], Awaitable[list[EventBatch]]]


class Pair(msgspec.Struct, frozen=True):
    """Two appliances that hear each other."""

    publish: Publish
    take: Take


@asynccontextmanager
async def over_broker(folder: Path) -> AsyncIterator[Pair]:
    one = broker.House(folder / "one")
    async with broker.run_houses(one):
        other = broker.House(folder / "other", listen=(), connect=(one.address,))
        async with broker.run_houses(other):
            await other.wait_peers(1)
            await one.wait_peers(1)

            async def take() -> list[EventBatch]:
                items = [item for item in await other.take() if isinstance(item, EventBatch)]
                return [item for item in items if item.peer and item.name.startswith("My::")]

            yield Pair(one.outlet.publish, take)


@asynccontextmanager
async def over_zeromq(folder: Path) -> AsyncIterator[Pair]:
    async with zeromq.open_bus(folder, "manager", "worker-1") as bus:
        one = await bus.join("manager")
        other = await bus.join("worker-1", subscribe=(TOPIC,))
        await one.wait_heard(TOPIC)

        async def take() -> list[EventBatch]:
            await other.take()
            return [item for item in other.items if isinstance(item, EventBatch)]

        yield Pair(one.outlet.publish, take)


@asynccontextmanager
async def over_websocket(folder: Path) -> AsyncIterator[Pair]:
    async with websocket.serve() as server, trio.open_nursery() as nursery:
        one, other = websocket.House(server.url, topics=()), websocket.House(server.url, topics=(TOPIC,))
        async with websocket.run_house(one):
            sender = await server.meet()
            async with websocket.run_house(other):
                receiver = await server.meet()
                await one.wait_ready()

                async def relay() -> None:
                    while True:
                        await receiver.send(await sender.text())

                nursery.start_soon(relay)
                yield Pair(one.outlet.publish, other.take)
                nursery.cancel_scope.cancel()


DOORS = {"broker": over_broker, "cluster": over_zeromq, "websocket.zeek": over_websocket}


@pytest.mark.parametrize("door", DOORS)
async def test_a_hook_cannot_tell_the_door_unless_it_asks(door: str, tmp_path: Path) -> None:
    """Bytes, names and records are the same; only the item's source and the name of the peer say whence it came."""
    async with DOORS[door](tmp_path) as pair:
        assert pair.publish(TOPIC, [MESSAGE, MESSAGE]) == Published(1)
        found: list[EventBatch] = []
        with trio.fail_after(15):
            while sum(batch.count for batch in found) < 2:
                found = await pair.take()
                await trio.sleep(0.002)
    assert {batch.source for batch in found} == {door}
    assert [payload for batch in found for payload in batch.payloads()] == [MESSAGE, MESSAGE]
    assert {(batch.kind, batch.name, batch.topic) for batch in found} == {("event", "My::event", TOPIC)}
    for record in (record for batch in found for record in typed_records(batch)):
        assert record is not None
        assert (record.pop("peer") != "", record.pop("ts") > 0) == (True, True)
        assert record == {"name": "My::event", "topic": TOPIC, "args": ARGS}
        assert plain_args(record)["args"][4] == "h\u00e9llo \x00\x01\x7f"
