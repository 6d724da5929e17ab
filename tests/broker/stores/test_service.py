"""A ``[[store]]`` as a service: what becomes an item, what can be asked of each role, and what a reload changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from appliance.broker.stores.service import StoreService
from appliance.config import Duration, StorePlan
from appliance.model import Item, StoreEvent
from appliance.runtime.ledger import Account
from appliance.runtime.queue import ItemQueue
from appliance.runtime.stores import Operation, StoreError, StoreFailure, StoreReply, StoreRequest, Stores
from appliance.zeek.binary import decode, encode
from appliance.zeek.values import Count, Set, Table, Timespan, Value, Vector
from tests.broker.harness import House, run_houses

from .harness import house

S = 10**9
COPY: dict[str, Any] = {
    "resync_interval": Duration(S),
    "stale_interval": Duration(3 * S),
    "mutation_buffer_interval": Duration(2 * S),
}


class Site:
    """A store on an endpoint, and a queue for what happens to it."""

    def __init__(self, house: House, role: Any = "master", **keys: Any) -> None:
        self.house = house
        self.stores = Stores()
        self.now_ns = 1_000 * S
        keys = {"max_snapshot": 1 << 20, **keys} if role == "master" else COPY | keys
        self.plan = StorePlan(name="s", role=role, **keys)
        self.account: Account = house.ledger.account("store.s")
        self.service = StoreService(
            self.plan,
            hub=house.stores,
            stores=self.stores,
            account=self.account,
            dispatcher=house.dispatcher,
            clock_ns=lambda: self.now_ns,
        )

    def listen(self) -> ItemQueue:
        queue = ItemQueue(self.house.ledger.account("hook.h"), policy="block", max_records=1000, max_bytes=1 << 20)
        self.house.dispatcher.subscribe("hook.h", queue, on=("store:s",), sources=("store.*",))
        return queue

    async def ask(self, operation: Operation, key: Value = None, value: Value = None, **more: Any) -> StoreReply:
        request = StoreRequest(operation=operation, key=encode(key), value=encode(value), **more)
        return await self.stores.perform("s", request)

    async def get(self, key: Value) -> Value:
        raw = (await self.ask("get", key)).value
        return None if raw is None else decode(raw)

    async def run(self, nursery: trio.Nursery) -> None:
        self.stores.announce(["s"])
        await nursery.start(lambda task_status: self.service.run(task_status=task_status))


async def items_of(queue: ItemQueue, count: int) -> list[StoreEvent]:
    found: list[Item] = []
    with trio.fail_after(10):
        while len(found) < count:
            async with queue.lease(count) as parcel:
                found += parcel.items
                parcel.deliver(parcel.count)
    return [item for item in found if isinstance(item, StoreEvent)]


async def test_what_happens_becomes_items(tmp_path: Path) -> None:
    """At a master with the time when entries are over, at a clone with who wanted it."""
    one = house(tmp_path / "one")
    async with run_houses(one):
        two = house(tmp_path / "two", connect=(one.address,))
        async with run_houses(two), trio.open_nursery() as nursery:
            a, b = Site(one), Site(two, "clone")
            here, there = a.listen(), b.listen()
            await a.run(nursery)
            await b.run(nursery)
            await b.ask("size")
            await a.ask("put", b"k", Count(1), expiry_ns=S)
            await b.ask("put", b"k", Count(2))
            a.now_ns += 2 * S
            await a.ask("put", b"j", Count(3), expiry_ns=S)
            a.now_ns += S
            first, second, third, over = await items_of(here, 4)
            assert (first.change, first.key, first.value, first.old) == ("insert", encode(b"k"), encode(Count(1)), None)
            assert (first.expiry_ns, first.received_ns) == (1001 * S, 1000 * S)
            assert (first.publisher, first.source, first.name) == ("", "store.s", "s")
            assert (second.change, second.old) == ("update", encode(Count(1)))
            assert second.publisher.startswith(two.figures.endpoint + "/")
            assert third.change == "insert"
            assert (over.change, over.key, over.value) == ("expire", encode(b"j"), None)
            told = await items_of(there, 4)
            assert [item.change for item in told] == ["insert", "update", "insert", "expire"]
            assert (told[1].expiry_ns, told[1].publisher) == (None, "")
            assert told[0].publisher.startswith(one.figures.endpoint + "/")
            assert (await a.ask("get", b"k")).expiry_ns is None
            for site in (b, a):
                site.service.stop()
    assert one.books("store.s").delivered == 4


async def test_each_role_answers_the_same(tmp_path: Path) -> None:
    """Reads come from the copy, writes go to the master; a frontend copies while it is asked."""
    one = house(tmp_path / "one")
    async with run_houses(one):
        two, three = (house(tmp_path / name, connect=(one.address,)) for name in ("two", "three"))
        async with run_houses(two, three), trio.open_nursery() as nursery:
            a, b, c = Site(one), Site(two, "clone"), Site(three, "frontend")
            for site in (a, b, c):
                await site.run(nursery)
            for number, site in enumerate((a, b, c)):
                assert (await site.ask("put_unique", b"first", Count(number))).has_effect is (number == 0)
                await site.ask("increment", b"n", Timespan(5))
                await site.ask("insert", b"set", Count(number))
                await site.ask("insert", b"table", Count(number), index=encode(b"x"))
                await site.ask("push", b"vector", Count(number))
                await site.ask("append", b"text", b"%d" % number)
            expected: dict[Value, Value] = {
                b"first": Count(0),
                b"set": Set([Count(0), Count(1), Count(2)]),
                b"table": Table([(b"x", Count(2))]),
                b"vector": Vector([Count(0), Count(1), Count(2)]),
                b"text": b"012",
            }
            for site in (a, b, c):
                with trio.fail_after(20):
                    while await site.get(b"text") != b"012":  # noqa: ASYNC110 - it wakes nobody in a test
                        await trio.sleep(0.01)
                assert {key: await site.get(key) for key in expected} == expected
                assert (await site.ask("index", b"vector", index=encode(Count(1)))).value == encode(Count(1))
                assert (await site.ask("index", b"vector", index=encode(Count(9)))).value is None
                assert (await site.ask("index", b"table", index=encode(b"x"))).value == encode(Count(2))
                assert (await site.ask("index", b"set", index=encode(Count(2)))).value == encode(True)
                with pytest.raises(StoreError, match="has no elements"):
                    await site.ask("index", b"text", index=encode(Count(0)))
                with pytest.raises(StoreError, match="a count"):
                    await site.ask("index", b"vector", index=encode(b"x"))
                reply = await site.ask("keys", limit=2)
                assert (reply.size, len(reply.entries)) == (6, 2)
                assert len((await site.ask("entries")).entries) == 6
            await b.ask("clear")
            assert (await a.ask("size")).size == 0
            for site in (c, b, a):
                site.service.stop()


@pytest.mark.parametrize(
    ("operation", "value", "reason"),
    [
        ("increment", b"x", StoreFailure.TYPE_CLASH),
        ("decrement", True, StoreFailure.TYPE_CLASH),
        ("append", Count(1), StoreFailure.TYPE_CLASH),
        ("increment", Count(1), StoreFailure.TYPE_CLASH),
    ],
)
async def test_types_that_do_not_go_together(tmp_path: Path, operation: Any, value: Value, reason: str) -> None:
    """Nothing is changed, and the reason is told."""
    async with trio.open_nursery() as nursery:
        a = Site(house(tmp_path))
        await a.run(nursery)
        await a.ask("put", b"k", b"text")
        with pytest.raises(StoreError) as caught:
            await a.ask(operation, b"k", value)
        assert caught.value.reason == reason
        with pytest.raises(StoreError) as caught:
            await a.stores.perform("s", StoreRequest(operation="get", key=b"\xff"))
        assert caught.value.reason == StoreFailure.BAD_VALUE
        assert await a.get(b"k") == b"text"
        a.service.stop()


async def test_without_a_master_each_waits_as_long_as_it_may(tmp_path: Path, autojump_clock: object) -> None:
    """A read for the first content, a write for the buffer's interval or its own timeout."""
    del autojump_clock
    async with trio.open_nursery() as nursery:
        b = Site(house(tmp_path), "clone")
        await b.run(nursery)
        cases: tuple[tuple[Operation, float, StoreFailure, float], ...] = (
            ("get", 60.0, StoreFailure.STALE, 5.0),
            ("get", 1.0, StoreFailure.TIMEOUT, 1.0),
            ("put", 60.0, StoreFailure.NO_MASTER, 2.0),
            ("put", 1.0, StoreFailure.TIMEOUT, 1.0),
        )
        for operation, timeout_s, reason, took_s in cases:
            began = trio.current_time()
            with pytest.raises(StoreError) as caught:
                await b.ask(operation, b"k", Count(1), timeout_s=timeout_s)
            assert caught.value.reason is reason
            assert trio.current_time() - began == pytest.approx(took_s, abs=0.2)
        changed = StorePlan(name="s", role="clone", **(COPY | {"mutation_buffer_interval": Duration(5 * S)}))
        assert b.service.apply(changed)
        began = trio.current_time()
        with pytest.raises(StoreError):
            await b.ask("put", b"k", Count(1), timeout_s=60.0)
        assert trio.current_time() - began == pytest.approx(5.0, abs=0.2)
        assert not b.service.apply(StorePlan(name="s", role="frontend", **COPY))
        assert b.service.statistics().state == "lost"
        b.service.stop()


async def test_a_lifetime_changes_for_what_is_put_from_now_on(tmp_path: Path) -> None:
    """And the store stays open."""
    async with trio.open_nursery() as nursery:
        a = Site(house(tmp_path))
        queue = a.listen()
        await a.run(nursery)
        await a.ask("put", b"k", Count(1))
        assert a.service.apply(StorePlan(name="s", role="master", max_snapshot=5, expire_after=Duration(S)))
        await a.ask("put", b"j", Count(1))
        a.now_ns += 2 * S
        assert [item.change for item in await items_of(queue, 3)] == ["insert", "insert", "expire"]
        assert (await a.ask("size")).size == 1
        await wait_all_tasks_blocked()
        assert not a.service.apply(StorePlan(name="s", role="master", path="/elsewhere"))
        a.service.stop()


async def test_a_master_refuses_nothing_silently(tmp_path: Path, told: list[Any]) -> None:
    """What a clone wrote in vain, which the protocol does not tell it, and clones that are too many bytes for."""
    one = house(tmp_path / "one")
    async with run_houses(one):
        two = house(tmp_path / "two", connect=(one.address,))
        async with run_houses(two), trio.open_nursery() as nursery:
            a, b = Site(one), Site(two, "clone")
            await a.run(nursery)
            await b.run(nursery)
            await b.ask("put", b"k", b"text")
            await b.ask("increment", b"k", Count(1))
            assert a.service.apply(StorePlan(name="s", role="master", max_snapshot=1))
            b.service._inner.moved()
            with trio.fail_after(20):
                while len([line for line in told if line.get("commands")]) < 2:  # noqa: ASYNC110 - a list
                    await trio.sleep(0.01)
            refused = a.service.statistics().refused
            assert refused["type_clash"] == 1
            assert refused["snapshot_too_large"] >= 1
            assert await a.get(b"k") == b"text"
            for site in (b, a):
                site.service.stop()
