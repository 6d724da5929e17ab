"""Who gets what: filters and their changes, messages for one, access control, relaying."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.typing import EventDict
from trio.testing import wait_all_tasks_blocked

from appliance.wire.filters import decode_filter, encode_filter
from appliance.wire.node_messages import MessageKind, data_frame
from appliance.zeek import binary
from appliance.zeek.messages import Event, decode_message
from appliance.zeek.values import Count

from .harness import House, event, run_houses, wait_until
from .raw import Raw, meet


async def filters(raw: Raw, count: int = 1) -> list[tuple[str, ...]]:
    """The next filters that the endpoint tells."""
    messages = await raw.messages(count)
    assert all((m.kind, m.sender, m.receiver) == (MessageKind.ROUTING_UPDATE, raw.other, raw.me) for m in messages)
    return [decode_filter(message.payload) for message in messages]


# ── what we publish ──


async def test_peers_get_what_they_asked_for(tmp_path: Path) -> None:
    """By prefix, byte by byte; with our ID as sender, for nobody in particular, with Broker's TTL."""
    house = House(tmp_path)
    async with run_houses(house), meet(house, prefixes=("zeek/log",)) as one, meet(house, prefixes=("", "x")) as all_:
        assert house.publish("zeek/logs/x", event("E::e")).peers == 2
        assert house.publish("zeek/logger", event("E::e")).peers == 2
        assert house.publish("zeek/lo", event("E::e")).peers == 1
        messages = await one.messages(2)
        assert [m.topic for m in messages] == ["zeek/logs/x", "zeek/logger"]
        for message in messages:
            assert (message.sender, message.receiver, message.ttl) == (one.other, bytes(16), 16)
        assert [m.topic for m in await all_.messages(3)] == ["zeek/logs/x", "zeek/logger", "zeek/lo"]
        await wait_until(lambda: house.outgoing.delivered == 5)
        assert house.outgoing.received == 5


async def test_nobody_to_publish_for(tmp_path: Path) -> None:
    """It is said why."""
    house = House(tmp_path)
    assert house.publish("t", event("E::e")) == (0, "no_peer")
    assert house.outlet.publish("t", [event("E::e")]) == (0, "no_broker")
    async with run_houses(house):
        assert house.outlet.publish("t", [event("E::e")]) == (0, "no_peer")
        async with meet(house, prefixes=("u",)):
            assert house.outlet.publish("t", [event("E::e")]) == (0, "no_subscriber")
            assert house.outlet.publish("u", [event("E::e")]) == (1, "")
    assert house.outlet.publish("t", [event("E::e")]) == (0, "no_broker")


async def test_unsolicited_messages_go_to_every_peer_by_name(tmp_path: Path) -> None:
    """Whatever its filter is."""
    house = House(tmp_path)
    async with run_houses(house), meet(house, prefixes=()) as one, meet(house, prefixes=("t",)) as two:
        assert house.publish("t", event("E::e"), event("E::f"), unsolicited=True).peers == 2
        for raw in (one, two):
            messages = await raw.messages(2)
            assert [(m.topic, m.receiver) for m in messages] == [("t", raw.me)] * 2


async def test_what_is_unsolicited_reaches_a_subscription_that_was_not_advertised(tmp_path: Path) -> None:
    """An endpoint tells only a part of what it takes; a message for it alone arrives all the same."""
    a = House(tmp_path / "a", subscribe=("secret/", "open/"), advertise=("open/",))
    async with run_houses(a):
        b = House(tmp_path / "b", listen=(), connect=(a.address,))
        async with run_houses(b):
            await b.wait_peers(1)
            await a.wait_peers(1)
            assert b.publish("secret/x", event("E::e", Count(1))).refused == "no_subscriber"
            assert b.publish("open/x", event("E::e", Count(2))).peers == 1
            assert b.publish("secret/x", event("E::e", Count(3)), unsolicited=True).peers == 1
            assert b.publish("other/x", event("E::e", Count(4)), unsolicited=True).peers == 1
            await wait_until(lambda: a.incoming.received == 3 and not a.incoming.queued)
            assert a.incoming.dropped == {"unsubscribed": 1}
    assert await a.events() == [(Count(2),), (Count(3),)]


async def test_access_control_comes_before_everything(tmp_path: Path) -> None:
    """What may not be published is not, unsolicited or announced."""
    house = House(tmp_path, publish=("exact", "below/"), max_message=1000)
    async with run_houses(house), meet(house) as raw:
        for topic in ("exact/x", "exac", "below", "other"):
            for refused in (
                house.publish(topic, event("E::e")).refused,
                house.publish(topic, event("E::e"), unsolicited=True).refused,
                house.endpoint.announce("key", topic, event("E::e")).refused,
            ):
                assert refused == "not_allowed"
        for topic in ("", "<$>/local/x", "<$>", "t\ud800", "x" * 70_000):
            assert house.publish(topic, event("E::e")).refused == "bad_topic"
        assert house.publish("exact", event("E::e"), event("E::e", b"x" * 1000)).refused == "too_large"
        assert house.outgoing.received == 0
        assert house.publish("exact", event("E::e")).peers == house.publish("below/x", event("E::e")).peers == 1
        assert [m.topic for m in await raw.messages(2)] == ["exact", "below/x"]


# ── announcements ──


async def test_announcements_come_first_to_each_peer(tmp_path: Path) -> None:
    """Before what is published on their topic, once for each connection, the newest of a key."""
    house = House(tmp_path)
    async with run_houses(house):
        assert house.endpoint.announce("a", "t", event("A::old")).refused == "no_peer"
        assert house.endpoint.announce("b", "u", event("B::b")).refused == "no_peer"
        assert house.endpoint.announce("a", "t", event("A::new")).refused == "no_peer"
        for _ in range(2):
            async with meet(house, prefixes=("t",)) as raw:
                house.publish("t", event("E::e"))
                assert [m.payload for m in await raw.messages(2)] == [event("A::new"), event("E::e")]
                assert house.endpoint.announce("c", "t", event("C::c")).peers == 1
                assert house.endpoint.announce("c", "v", event("C::v")).refused == "no_subscriber"
                assert [m.payload for m in await raw.messages(1)] == [event("C::c")]
            await house.wait_peers(0)


async def test_unsolicited_announcements_reach_who_asks_for_nothing(tmp_path: Path) -> None:
    """Each peer gets them by name, also one that connects later."""
    house = House(tmp_path)
    async with run_houses(house), meet(house, prefixes=()) as first:
        assert house.endpoint.announce("a", "t", event("A::a"), unsolicited=True) == (1, "")
        async with meet(house, prefixes=()) as second:
            for raw in (first, second):
                (message,) = await raw.messages(1)
                assert (message.topic, message.receiver) == ("t", raw.me)


async def test_announcements_reach_who_asks_later(tmp_path: Path) -> None:
    """With the filter that asks for them, and only then."""
    house = House(tmp_path)
    async with run_houses(house), meet(house, prefixes=("t",)) as raw:
        house.endpoint.announce("a", "u", event("A::a"))
        await raw.control(MessageKind.ROUTING_UPDATE, encode_filter(("u",)))
        assert [m.payload for m in await raw.messages(1)] == [event("A::a")]
        await raw.control(MessageKind.ROUTING_UPDATE, encode_filter(("u", "w")))
        await raw.control(MessageKind.PING, b"x")
        assert [m.kind for m in await raw.messages(1)] == [MessageKind.PONG]


# ── filters ──


async def test_a_peer_may_want_more_or_less_at_any_time(tmp_path: Path) -> None:
    """The newest filter counts, also an empty one."""
    house = House(tmp_path)
    async with run_houses(house), meet(house, prefixes=("a",)) as raw:

        async def change(*prefixes: str) -> None:
            await raw.control(MessageKind.ROUTING_UPDATE, encode_filter(prefixes))
            await raw.control(MessageKind.PING, b"x")
            assert [m.kind for m in await raw.messages(1)] == [MessageKind.PONG]

        assert house.publish("a", event("E::e")).peers == 1
        await raw.messages(1)
        await change("b", "c")
        assert house.peers[raw.name].filter_entries == 2
        assert house.publish("a", event("E::e")).refused == "no_subscriber"
        assert house.publish("b", event("E::e")).peers == 1
        await raw.messages(1)
        await change()
        assert house.publish("b", event("E::e")).refused == "no_subscriber"


async def test_what_is_asked_for_a_while_is_told_and_taken_back(tmp_path: Path) -> None:
    """To all peers, each time the whole filter; nothing if nothing changes."""
    house = House(tmp_path, subscribe=("a/",))
    async with run_houses(house), meet(house) as raw:
        with house.outlet.subscribed(["b/", "a/x"]):
            assert await filters(raw) == [("a/", "b/")]
            await raw.publish("b/1", event("E::e", Count(1)))
            await wait_until(lambda: house.incoming.delivered == 1)
            with house.outlet.subscribed(["b/c"]):
                async with meet(house) as other:
                    await other.publish("b/2", event("E::e", Count(2)))
                    await wait_until(lambda: house.incoming.delivered == 2)
        assert await filters(raw) == [("a/",)]
        await raw.publish("b/3", event("E::e", Count(3)))
        await wait_until(lambda: house.incoming.dropped == {"unsubscribed": 1})


# ── relaying ──


@pytest.mark.parametrize("forward", [False, True])
async def test_a_chain_of_three(tmp_path: Path, forward: bool) -> None:
    """What one end publishes reaches the other if the middle relays and wants it itself."""
    middle = House(tmp_path / "m", forward=forward, subscribe=("t/", "bro/print/"))
    async with run_houses(middle):
        left = House(tmp_path / "l", listen=(), connect=(middle.address,))
        right = House(tmp_path / "r", listen=(), connect=(middle.address,))
        async with run_houses(left, right):
            await middle.wait_peers(2)
            await left.wait_peers(1)
            await right.wait_peers(1)
            for topic in ("t/x", "u/x"):
                left.publish(topic, *[event("E::e", Count(number)) for number in range(100)])
            left.publish("bro/print/x", binary.encode(b"text"))
            left.publish("t/done", event("E::done"), unsolicited=True)
            await wait_until(lambda: middle.incoming.delivered == 102)
            if forward:
                await wait_until(lambda: right.incoming.delivered == 101)
                assert await right.prints() == [("bro/print/x", b"text")]
                assert await right.events("E::e") == [(Count(number),) for number in range(100)]
                items = [item for item in await right.take() if getattr(item, "peer", "")]
                assert {item.peer for item in items} == {middle.figures.endpoint}  # type: ignore[union-attr]
            assert left.incoming.received == 0
    assert right.incoming.received == (101 if forward else 0)
    assert middle.outgoing.received == (101 if forward else 0)


async def test_a_relay_counts_down_and_does_not_send_back(tmp_path: Path) -> None:
    """The payload stays, the sender is the relay; what is at its end, for one, or for others stays here."""
    house = House(tmp_path, forward=True, subscribe=("t/",))
    async with run_houses(house), meet(house) as source, meet(house) as other, meet(house, prefixes=("x",)) as third:
        for ttl in (0, 1, 2, 65535):
            await source.publish("t/x", event("E::e", Count(ttl)), ttl=ttl)
        await source.publish("t/x", event("E::mine"), receiver=source.other)
        await source.publish("u/x", event("E::other"))
        await wait_until(lambda: house.incoming.received == 6)
        messages = await other.messages(2)
        assert [(m.ttl, m.payload, m.sender) for m in messages] == [
            (1, event("E::e", Count(2)), source.other),
            (65534, event("E::e", Count(65535)), source.other),
        ]
        for raw in (source, other, third):
            await raw.control(MessageKind.PING, b"x")
            assert (await raw.messages(1))[0].kind is MessageKind.PONG
    assert (house.incoming.delivered, house.incoming.dropped) == (5, {"unsubscribed": 1})


async def test_a_circle_comes_to_rest(tmp_path: Path) -> None:
    """Three relays that want the same topic: a message runs until its time is over, and not for ever."""
    a = House(tmp_path / "a", forward=True)
    async with run_houses(a):
        b = House(tmp_path / "b", forward=True, connect=(a.address,))
        async with run_houses(b):
            c = House(tmp_path / "c", forward=True, connect=(a.address, b.address))
            async with run_houses(c):
                for house in (a, b, c):
                    await house.wait_peers(2)
                a.publish("t", event("E::e"))
                total = 0
                while (now := sum(house.incoming.received for house in (a, b, c))) != total or not now:
                    total = now
                    await wait_all_tasks_blocked(0.02)
    assert 16 <= total <= 2 * 16


async def test_a_slow_peer_does_not_hold_up_others(tmp_path: Path) -> None:
    """One that does not read costs its own messages only."""
    house = House(tmp_path, queue=100)
    async with run_houses(house), meet(house) as deaf, meet(house) as well:
        big = event("E::e", b"x" * 100_000)
        for number in range(300):
            house.publish("t", big)
            [message] = await well.messages(1)
            assert message.payload == big, number
        figures = house.peers
        assert figures[deaf.name].dropped > 100
        assert figures[well.name].dropped == 0
        assert figures[deaf.name].queued <= 100 + 3
        books = house.outgoing
        assert books.dropped == {"overflow": figures[deaf.name].dropped}
        assert books.lost == figures[deaf.name].dropped


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest"])
async def test_what_a_slow_peer_gets_in_the_end(tmp_path: Path, policy: str) -> None:
    """The newest, or the oldest; in order, and each gap is counted."""
    house = House(tmp_path, queue=50, overflow=policy)
    total = 500
    async with run_houses(house), meet(house) as raw:
        for number in range(total):
            house.publish("t", event("E::e", Count(number), b"x" * 50_000))
            await wait_all_tasks_blocked()
        got: list[int] = []
        await raw.control(MessageKind.PING, b"end")
        while (message := await raw.next_message()) is not None and message.kind is MessageKind.DATA:
            value = decode_message(message.payload)
            assert isinstance(value, Event)
            assert isinstance(value.args[0], Count)
            got.append(value.args[0].value)
        assert got == sorted(got)
        assert len(got) == total - house.peers[raw.name].dropped < total
        assert (got[-1] == total - 1) is (policy == "drop_oldest")
        assert got[0] == 0
        assert house.outgoing.delivered == len(got)


async def test_a_slow_peer_is_disconnected_if_that_is_the_policy(tmp_path: Path, told: list[EventDict]) -> None:
    """At once and without a word; it is said here, and what it did not get is counted."""
    house = House(tmp_path, queue=20, overflow="disconnect")
    async with run_houses(house), meet(house) as deaf:
        number = 0
        while deaf.name in house.peers:
            house.publish("t", event("E::e", b"x" * 100_000))
            number += 1
            await wait_all_tasks_blocked()
        books = house.outgoing
        assert books.dropped["overflow"] == 1
        assert books.dropped["disconnected"] >= 20
        assert books.received == books.delivered + sum(books.dropped.values()) == number
        assert house.publish("t", event("E::e")).refused == "no_peer"
    [entry] = [entry for entry in told if entry["event"] == "peer is gone"]
    assert (entry["reason"], entry["log_level"]) == ("its queue is full", "warning")


async def test_data_frames_of_the_relay_are_those_of_the_source(tmp_path: Path) -> None:
    """Log writes and odd values are relayed as they came, too."""
    house = House(tmp_path, forward=True)
    odd = b"\x0e\x02\x01\x01\x02" + bytes(8)
    async with run_houses(house), meet(house) as source, meet(house) as other:
        await source.send(data_frame(source.me, "t", odd))
        [message] = await other.messages(1)
        assert message.payload == odd
