"""From a door to every consumer that asked."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from appliance.model import Print, Segment
from appliance.runtime import dispatcher as module
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.ledger import Account, Ledger
from appliance.runtime.queue import ItemQueue
from tests.fakes import batch, event_batch, is_balanced, numbers_in

SEGMENT = Segment(
    handler="raw", source="capture.a", path="/x", packets=1, disk_size=9, first_ns=0, last_ns=0, linktype=1
)


def print_on(topic: str) -> Print:
    return Print(topic=topic, source="broker", text=b"x", received_ns=1)


class House:
    """A dispatcher, a door's account, and queues by name."""

    def __init__(self) -> None:
        self.dispatcher = Dispatcher()
        self.ledger = Ledger()
        self.door = self.ledger.account("zmq.a")

    def add(
        self, name: str, *on: str, sources: tuple[str, ...] = (), policy: str = "block", records: int = 1000
    ) -> ItemQueue:
        queue = ItemQueue(self.ledger.account(name), policy=policy, max_records=records, max_bytes=1 << 20)
        self.dispatcher.subscribe(name, queue, on=on, sources=sources)
        return queue

    async def send(self, item: object, *, patience_s: float = 5.0) -> None:
        self.door.received += item.count  # type: ignore[attr-defined]
        await self.dispatcher.dispatch(item, self.door, patience_s=patience_s)  # type: ignore[arg-type]

    def is_balanced(self) -> bool:
        return is_balanced(*self.ledger)


@pytest.fixture
def house() -> House:
    return House()


@pytest.mark.parametrize(
    ("on", "sources", "wanted"),
    [
        (("log:conn",), (), True),
        (("log:*",), (), True),
        (("log:con",), (), False),
        (("log:conn_long",), (), False),
        (("log:CONN",), (), False),
        (("segment:*",), (), False),
        (("segment:*", "log:c*n"), (), True),
        (("log:*",), ("zmq.a",), True),
        (("log:*",), ("zmq.*",), True),
        (("log:*",), ("zmq",), False),
        (("log:*",), ("capture.*", "zmq.[ab]"), True),
        (("log:*",), ("capture.*",), False),
    ],
)
async def test_patterns_match_whole_names(
    house: House, on: tuple[str, ...], sources: tuple[str, ...], wanted: bool
) -> None:
    """The kind exactly, the name and the door by glob."""
    queue = house.add("sink.a", *on, sources=sources)
    await house.send(batch(0, 2, path="conn", source="zmq.a"))
    assert queue.waiting == (2 if wanted else 0)
    assert house.door.dropped == ({} if wanted else {"unwanted": 2})
    assert house.door.delivered == (2 if wanted else 0)
    assert house.is_balanced()


@pytest.mark.parametrize(
    ("on", "wanted"),
    [
        ("event:My::event", True),
        ("event:My::*", True),
        ("event:*", True),
        ("event:My", False),
        ("event:event", False),
        ("print:", False),
        ("log:*", False),
    ],
)
async def test_events_go_by_globs_over_their_whole_name(house: House, on: str, wanted: bool) -> None:
    """With its module."""
    queue = house.add("hook.a", on)
    await house.send(event_batch(0, 3))
    assert queue.account.received == (3 if wanted else 0)
    assert house.door.dropped == ({} if wanted else {"unwanted": 3})


@pytest.mark.parametrize(
    ("on", "wanted"),
    [
        ("print:bro/print/x", True),
        ("print:bro/print/", True),
        ("print:bro/pr", True),
        ("print:", True),
        ("print:bro/print/x/", False),
        ("print:*", False),
        ("print:bro/*", False),
        ("event:", False),
    ],
)
async def test_prints_go_by_the_prefix_of_their_topic(house: House, on: str, wanted: bool) -> None:
    """As subscriptions of Broker do: no glob, and an empty one is for all."""
    queue = house.add("hook.a", on)
    await house.send(print_on("bro/print/x"))
    assert queue.account.received == wanted


async def test_every_consumer_gets_its_own(house: House) -> None:
    """The door delivers once, whoever takes it."""
    first, second = house.add("sink.a", "log:*"), house.add("hook.b", "log:*", "segment:*")
    await house.send(batch(0, 2))
    await house.send(SEGMENT)
    assert (first.waiting, second.waiting) == (2, 3)
    assert house.door.delivered == 3
    assert house.is_balanced()


async def test_subscriptions_change_from_one_item_to_the_next(house: House) -> None:
    """A remembered route is forgotten with them."""
    queue = house.add("sink.a", "log:*")
    await house.send(batch(0, 1))
    newer = house.add("sink.a", "log:*")
    await house.send(batch(1, 1))
    assert (queue.waiting, newer.waiting) == (1, 1)
    house.dispatcher.unsubscribe("sink.a")
    house.dispatcher.unsubscribe("sink.never")
    await house.send(batch(2, 1))
    assert (queue.waiting, newer.waiting) == (1, 1)
    assert house.door.dropped == {"unwanted": 1}


async def test_remembered_routes_are_bounded(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names come from the network."""
    monkeypatch.setattr(module, "ROUTES", 3)
    queue = house.add("sink.a", "log:*")
    for number in range(10):
        await house.send(batch(number, 1, path=f"p{number}"))
        assert len(house.dispatcher._routes) <= 3
    assert queue.waiting == 10


async def test_a_slow_consumer_takes_nothing_from_others(house: House, autojump_clock: MockClock) -> None:
    """The others have everything at once; the door waits for its patience once, not for each stalled consumer."""
    stalled = [house.add(f"sink.{n}", "log:*", records=1) for n in range(3)]
    free = house.add("hook.b", "log:*")
    await house.send(batch(0, 1))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.send, batch(1, 4))
        await wait_all_tasks_blocked()
        assert free.waiting == 5
        assert house.is_balanced()
    assert trio.current_time() == pytest.approx(5.0)
    assert all(queue.account.dropped == {"stalled": 4} for queue in stalled)
    await house.send(batch(5, 1))
    assert trio.current_time() == pytest.approx(5.0)
    assert free.waiting == 6
    assert house.is_balanced()


async def test_consumers_that_move_get_everything(house: House, autojump_clock: MockClock) -> None:
    """One after the other, as they have room."""
    queues = [house.add(f"sink.{n}", "log:*", records=2) for n in range(2)]
    taken: dict[str, list[int]] = {queue.account.name: [] for queue in queues}

    async def consume(queue: ItemQueue) -> None:
        while True:
            async with queue.lease(1) as parcel:
                await trio.sleep(1.0)
                parcel.deliver(1)
                taken[queue.account.name] += numbers_in(parcel.items[0])

    async with trio.open_nursery() as nursery:
        for queue in queues:
            nursery.start_soon(consume, queue)
        for first in range(0, 20, 5):
            await house.send(batch(first, 5))
            assert house.is_balanced()
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    assert taken == {"sink.0": list(range(20)), "sink.1": list(range(20))}


async def test_cancelled_while_waiting(house: House) -> None:
    """What still waited is dropped for shutdown in every queue, also where the door did not wait yet."""
    queues = [house.add(f"sink.{n}", "log:*", records=1) for n in range(3)]
    await house.send(batch(0, 1))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.send, batch(1, 4))
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert all(queue.account.dropped == {"shutdown": 4} for queue in queues)
    assert house.is_balanced()


async def test_a_consumer_that_leaves_while_a_door_waits_elsewhere(house: House) -> None:
    """Its share is booked when it leaves, and not again when the door gets to it."""
    first, second = house.add("sink.0", "log:*", records=1), house.add("sink.1", "log:*", records=1)
    await house.send(batch(0, 1))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.send, batch(1, 4))
        await wait_all_tasks_blocked()
        house.dispatcher.unsubscribe("sink.1")
        second.retire("reload")
        assert house.is_balanced()
        first.close()
    assert first.account.dropped == {"shutdown": 4}
    assert second.account.dropped == {"reload": 5}
    assert house.is_balanced()


async def test_dispatch_does_not_yield_unless_it_must(house: House) -> None:
    """A door yields by itself, once for many items."""
    house.add("sink.a", "log:*", policy="drop_oldest", records=1)
    account = Account("zmq.b")
    with trio.CancelScope() as scope:
        scope.cancel()
        for number in range(3):
            await house.dispatcher.dispatch(batch(number, 2), account, patience_s=5.0)
    assert account.delivered == 6
