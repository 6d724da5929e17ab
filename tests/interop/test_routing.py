"""Which messages reach whom: filters, prefixes, forwarding, and senders who are not who they say.

The numbers are those of the protocol's test plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from appliance.wire.filters import decode_filter
from appliance.wire.names import CONTROL_TOPIC, endpoint_text
from appliance.wire.node_messages import MessageKind, NodeMessage
from appliance.zeek.binary import encode
from appliance.zeek.values import EnumValue, Vector

from .conftest import OpenZ
from .peer import Peer, dial, make_id, note
from .sides import Side, open_zeek_side

TOPIC = "interop/x"


async def heard_topics(z: Side, p: Peer, *topics: str) -> list[str]:
    """On which of these topics P hears what Z publishes."""
    for topic in topics:
        await z.publish(topic, "hello")
    return [m.topic for m in await p.hear_until_pong() if m.topic in topics]


async def test_r1_a_filter_in_the_handshake(open_z: OpenZ) -> None:
    """What P asked for arrives, from Z and to nobody in particular; nothing else does."""
    async with open_z() as z, dial(z.port, tls=z.tls, prefixes=["interop/a"]) as p:
        await z.wait_added(p.me)
        await z.publish("interop/a", "one")
        await z.publish("interop/b", "two")
        messages = [m for m in await p.hear_until_pong() if m.topic.startswith("interop/")]
        assert [(m.topic, m.sender, m.receiver, m.ttl) for m in messages] == [("interop/a", z.id, bytes(16), 16)]
        assert b"one" in messages[0].payload


async def test_r2_routing_updates(open_z: OpenZ) -> None:
    """Each one is the whole new filter: it adds, replaces, and empties."""
    topics = ("interop/a", "interop/b", "interop/c")
    async with open_z() as z, dial(z.port, tls=z.tls, prefixes=["interop/a"]) as p:
        await z.wait_added(p.me)
        for prefixes in (["interop/a", "interop/b"], ["interop/c"], [], ["interop/b"]):
            await p.ask_for(*prefixes)
            await p.hear_until_pong()
            assert await heard_topics(z, p, *topics) == prefixes


async def next_filter(p: Peer) -> tuple[str, ...]:
    [update] = await p.hear_some(MessageKind.ROUTING_UPDATE)
    assert (update.sender, update.receiver, update.topic) == (p.other, p.me, CONTROL_TOPIC)
    return decode_filter(update.payload)


async def test_r3_z_subscribes(open_z: OpenZ) -> None:
    """Z tells its whole new filter; Broker's never shrinks, ours does."""
    async with open_z(subscribe=["interop/a"]) as z, dial(z.port, tls=z.tls) as p:
        assert p.filter.matches("interop/a")
        assert not p.filter.matches("interop/b")
        await z.wait_added(p.me)
        await z.subscribe("interop/b")
        assert {"interop/a", "interop/b"} <= set(await next_filter(p))
        await z.unsubscribe("interop/b")
        if z.habits.can_shrink:
            assert await next_filter(p) == ("interop/a",)
        else:
            assert MessageKind.ROUTING_UPDATE not in [m.kind for m in await p.hear_until_pong()]


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [("zeek/log", ["zeek/logs/x", "zeek/logger"]), ("", ["zeek/logs/x", "zeek/logger", "other"]), ("zeek/logs/x/", [])],
)
async def test_r4_prefixes(open_plain_z: OpenZ, prefix: str, expected: Sequence[str]) -> None:
    """Prefixes are compared by bytes; the empty one matches everything."""
    async with open_plain_z() as z, dial(z.port, tls=False, prefixes=[prefix]) as p:
        await z.wait_added(p.me)
        assert await heard_topics(z, p, "zeek/logs/x", "zeek/logger", "other") == expected


@pytest.mark.parametrize("is_subscribed", [True, False], ids=["Z subscribed", "Z not subscribed"])
@pytest.mark.parametrize("forward", [True, False], ids=["forwarding", "not forwarding"])
async def test_r5_forwarding(open_z: OpenZ, forward: bool, is_subscribed: bool) -> None:
    """P1 - Z - P2: only with both does a message get through, with Z as its sender and unchanged otherwise."""
    subscribe = [TOPIC] if is_subscribed else ["interop/other"]
    async with AsyncExitStack() as stack:
        z = await stack.enter_async_context(open_z(subscribe=subscribe, forward=forward))
        p1 = await stack.enter_async_context(dial(z.port, tls=z.tls, prefixes=[""]))
        p2 = await stack.enter_async_context(dial(z.port, tls=z.tls, prefixes=["interop/"]))
        await z.wait_added(p1.me)
        await z.wait_added(p2.me)
        assert p1.filter.matches(TOPIC) == is_subscribed
        if p1.filter.matches(TOPIC):
            await p1.publish(TOPIC, note("from P1"))
            assert await z.notes(1) == ["from P1"]
        await p1.hear_until_pong()
        relayed = [m for m in await p2.hear_until_pong() if m.topic == TOPIC]
        expected = [(z.id, z.habits.relayed_ttl, note("from P1"))] if forward and is_subscribed else []
        assert [(m.sender, m.ttl, m.payload) for m in relayed] == expected
        assert not [m for m in await p1.hear_until_pong() if m.topic == TOPIC]


def echoes(messages: Sequence[NodeMessage]) -> list[bytes]:
    return [m.payload for m in messages if m.topic == TOPIC]


@pytest.mark.parametrize("forward", [True, False], ids=["forwarding", "not forwarding"])
async def test_r6_wrong_senders(open_plain_z: OpenZ, forward: bool) -> None:
    """Nobody's messages and Z's own are dropped; a stranger's arrive, and Broker sends them back if it forwards."""
    async with (
        open_plain_z(subscribe=[TOPIC], forward=forward) as z,
        dial(z.port, tls=False, prefixes=[TOPIC]) as p,
    ):
        await z.wait_added(p.me)
        await p.publish_nameless(TOPIC, note("nobody"))
        await p.publish(TOPIC, note("Z"), sender=z.id)
        await p.publish(TOPIC, note("stranger"), sender=make_id())
        await p.publish(TOPIC, note("P"))
        assert await z.notes(2) == ["stranger", "P"]
        expected = [note("stranger")] if forward and z.habits.echoes_strangers else []
        assert [each for each in echoes(await p.hear_until_pong()) if each == note("stranger")] == expected


async def test_r7_a_status_from_outside(open_plain_z: OpenZ) -> None:
    """Zeek believes what it is told of its own peers; ours does not."""
    liar = make_id()
    info = Vector([endpoint_text(liar).encode(), None, None, None])
    status = encode(Vector([b"status", EnumValue("peer_added"), info, b"made up"]))
    async with open_plain_z(subscribe=["interop/"]) as z, dial(z.port, tls=False) as p:
        await z.wait_added(p.me)
        await p.publish("<$>/local/data/statuses", status)
        await p.publish(TOPIC, note("behind it"))
        assert await z.notes(1) == ["behind it"]
        if z.habits.believes_remote_status:
            await z.wait_added(liar)
        else:
            assert z.added(liar) == 0


@pytest.mark.parametrize("ttl", [0, 1, 65535])
async def test_r8_time_to_live(open_plain_z: OpenZ, ttl: int) -> None:
    """A message arrives whatever its TTL is."""
    async with open_plain_z(subscribe=["interop/"]) as z, dial(z.port, tls=False) as p:
        await p.publish(TOPIC, note("in time"), ttl=ttl)
        assert await z.notes(1) == ["in time"]


async def test_a_unicast_needs_no_subscription(open_plain_z: OpenZ) -> None:
    """What is addressed to Z itself it takes by its own subscriptions; what is addressed to a stranger it leaves."""
    async with open_plain_z(subscribe=["interop/"]) as z, dial(z.port, tls=False) as p:
        await p.publish(TOPIC, note("to a stranger"), receiver=make_id())
        await p.publish(TOPIC, note("to Z"), receiver=z.id)
        assert await z.notes(1) == ["to Z"]


@pytest.mark.slow
async def test_r9_a_peer_that_wants_everything(tmp_path: Path) -> None:
    """Zeek takes it for another master of each store, and creates none."""
    async with open_zeek_side(tmp_path, tls=False) as z, dial(z.port, tls=False, prefixes=[""]) as p:
        await z.wait_added(p.me)
        await z.zeek.command("master", "interop")
        await z.zeek.wait("report", "Could not create Broker master store 'interop'")
        await p.ask_for("interop/x")
        await p.hear_until_pong()
        await z.zeek.command("master", "another")
        assert not z.zeek.texts("report", "'another'")
