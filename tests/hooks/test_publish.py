"""`ctx.publish_event`: what is sent, from which thread, and what its author is told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import trio

from appliance.hooks.callables import Context, HookCallable
from appliance.hooks.publish import EventPublisher, PublishError
from appliance.runtime.outlet import Outlet
from appliance.zeek.messages import Event, decode_message
from appliance.zeek.values import Address, Count, Vector
from tests.fakes import FakePublisher

from .test_runner import Bench, batch


class House:
    """An outlet with a publisher behind it."""

    def __init__(self) -> None:
        self.peers = FakePublisher(peers=2)
        self.outlet = Outlet()
        self.outlet.open("broker", self.peers)
        self.publisher = EventPublisher(self.outlet)
        self.publisher.attach()

    @property
    def sent(self) -> list[tuple[str, object]]:
        return [(topic, decode_message(message)) for topic, message in self.peers.published]

    async def run_hook(self, function: Callable[[dict[str, Any], Context], Any], *, is_async: bool) -> dict[str, int]:
        """Call a hook for one record; what was dropped."""
        bench = Bench(lambda _: None, is_async=is_async, outlet=self.outlet)
        bench.runner._target = HookCallable(function=function, is_async=is_async, takes_context=True)
        return (await bench.work_off(batch(0, 1))).dropped


@pytest.fixture
async def house() -> House:
    return House()


EVENT = Event("My::answer", Vector([Count(5), b"text", True, 7]))


@pytest.mark.parametrize("is_async", [False, True])
async def test_hook_publishes_what_it_gives(house: House, is_async: bool) -> None:
    """From its thread or its task; it learns how many peers get it."""
    counts: list[int] = []

    def publish(_: dict[str, Any], ctx: Context) -> None:
        counts.append(ctx.publish_event("zeek/event/my", "My::answer", Count(5), "text", True, 7))

    async def publish_later(record: dict[str, Any], ctx: Context) -> None:
        publish(record, ctx)

    assert await house.run_hook(publish_later if is_async else publish, is_async=is_async) == {}
    assert (house.sent, counts) == ([("zeek/event/my", EVENT)], [2])


async def test_any_thread_of_a_hook_may_publish(house: House) -> None:
    """Also one that it has started itself; everything is published in the loop's own thread."""
    threads: list[int] = []
    publish = house.peers.publish

    def note(*args: Any, **more: Any) -> Any:
        threads.append(threading.get_ident())
        return publish(*args, **more)

    house.peers.publish = note  # type: ignore[method-assign]

    def hook(_: dict[str, Any], ctx: Context) -> None:
        thread = threading.Thread(target=ctx.publish_event, args=("t", "e", Address.parse("10.0.0.1")))
        thread.start()
        thread.join()

    assert await house.run_hook(hook, is_async=False) == {}
    assert house.sent == [("t", Event("e", Vector([Address.parse("10.0.0.1")])))]
    assert threads == [threading.get_ident()]


@pytest.mark.parametrize("reason", ["no_broker", "not_allowed", "bad_topic", "too_large"])
async def test_refusal_by_the_configuration_is_raised(house: House, reason: str) -> None:
    """It says the topic and what is wrong, so that the hook's failure tells the operator."""
    house.peers.refusal = reason
    if reason == "no_broker":
        house.outlet.close("broker")
    with pytest.raises(PublishError, match="'a/b'") as caught:
        house.publisher.publish_event("a/b", "e")
    assert caught.value.reason == reason
    assert str(caught.value).partition(": ")[2] != reason
    with pytest.raises(PublishError):
        await trio.to_thread.run_sync(house.publisher.publish_event, "a/b", "e")


@pytest.mark.parametrize("reason", ["no_peer", "no_subscriber"])
async def test_nobody_who_wants_it_is_no_error(house: House, reason: str) -> None:
    """It was published for no peer."""
    house.peers.refusal = reason
    assert house.publisher.publish_event("t", "e") == 0


@pytest.mark.parametrize(
    ("args", "error", "told"),
    [
        ((1, object()), TypeError, "argument 2 of e: Broker has no type for a object"),
        ((1 << 63,), ValueError, "argument 1 of e: the integer .* has no room"),
        (("\ud800",), ValueError, "argument 1 of e: .*surrogates"),
        ((Count(-1),), ValueError, "event e: a value that Broker cannot hold"),
    ],
)
async def test_argument_that_broker_cannot_hold_is_named(
    house: House, args: tuple[object, ...], error: type[Exception], told: str
) -> None:
    """Nothing is published."""
    with pytest.raises(error, match=told):
        house.publisher.publish_event("t", "e", *args)
    assert house.sent == []


async def test_event_needs_a_name(house: House) -> None:
    """An empty one would be taken by nobody."""
    with pytest.raises(ValueError, match="needs a name"):
        house.publisher.publish_event("t", "")


@pytest.mark.parametrize("is_async", [False, True])
async def test_one_member_of_a_pool(house: House, is_async: bool) -> None:
    """By turns or by key, from a thread or a task."""
    counts: list[int] = []

    def publish(_: dict[str, Any], ctx: Context) -> None:
        counts.append(ctx.publish_hrw("proxy", Count(7), "My::answer", Count(5), "text", True, 7))
        counts.append(ctx.publish_rr("worker", "key", "My::answer", Count(5), "text", True, 7))

    async def publish_later(record: dict[str, Any], ctx: Context) -> None:
        publish(record, ctx)

    assert await house.run_hook(publish_later if is_async else publish, is_async=is_async) == {}
    assert (house.sent, counts) == ([("hrw/proxy/7", EVENT), ("rr/worker/'key'", EVENT)], [2, 2])


async def test_pools_and_keys_that_are_none(house: House) -> None:
    """Its author is told which there are; that nobody is up is no error."""
    publish = house.publisher.publish_to_pool
    with pytest.raises(ValueError, match="'poxy' is no pool, there are worker, proxy, logger"):
        publish("poxy", "k", "e", (), by_hash=True)
    for key in (1.5, None, True, -1, 1 << 64):
        with pytest.raises(TypeError, match="a key is a string or a count"):
            publish("proxy", key, "e", (), by_hash=True)
    house.peers.peers = 0
    assert publish("proxy", "k", "e", (), by_hash=True) == 0
