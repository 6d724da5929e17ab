"""Presence on ZeroMQ: both orders, deaths, restarts, and the recorded cluster."""

from __future__ import annotations

import functools
import gzip
import json
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.wire.presence import HELLO, Publish
from appliance.wire.presence_zeromq import HELLO_EXPIRATION_NS, MAX_STRANGERS, ZEROMQ_HELLO, ZeromqPresence
from appliance.zeek.layout import ClusterLayout, LayoutNode, NodeType
from appliance.zeek.messages import Event, decode_message, encode_message
from tests.wire.golden import GOLDEN
from tests.wire.presence import Bus, make_table, news

W_TOPIC = "zeek.cluster.nodeid.w."


def make(name: str = "logger-1", node_id: str = "me", *, version: str = "8.0") -> ZeromqPresence:
    return ZeromqPresence(make_table(name, node_id, version=version, backend="zeromq"))


def greeting(name: str, node_id: str) -> Event:
    return Event.make(ZEROMQ_HELLO, name.encode(), node_id.encode())


def hello(name: str, node_id: str) -> Event:
    return Event.make(HELLO, name.encode(), node_id.encode())


FIRST = f"> {W_TOPIC} {ZEROMQ_HELLO} logger-1 me"
SECOND = f"> {W_TOPIC} {HELLO} logger-1 me"


def test_subscription_before_greeting() -> None:
    """We greet at once, and say hello when the other has greeted."""
    presence = make()
    assert news(presence.subscription(W_TOPIC, 0)) == [FIRST]
    assert news(presence.receive(greeting("worker-1", "w"), "w", 0)) == [SECOND]
    assert news(presence.receive(hello("worker-1", "w"), "w", 0)) == [
        "up worker-1 w",
        "log got hello from worker-1 (w)",
    ]
    assert presence.deadline_ns is None


def test_greeting_before_subscription() -> None:
    """The other order: greeting and hello go out together."""
    presence = make()
    assert presence.receive(greeting("worker-1", "w"), "w", 0) == []
    assert news(presence.subscription(W_TOPIC, 0)) == [FIRST, SECOND]
    assert presence.deadline_ns is None


def test_a_lost_greeting_does_not_leave_us_out() -> None:
    """Who says hello without having greeted gets ours all the same."""
    presence = make()
    presence.subscription(W_TOPIC, 0)
    assert news(presence.receive(hello("worker-1", "w"), "w", 0))[-1] == SECOND
    assert presence.deadline_ns is None


def test_halves_expire() -> None:
    """After ten seconds without the other half each is given up and counted."""
    presence = make()
    presence.subscription("zeek.cluster.nodeid.a.", 5)
    presence.receive(greeting("worker-1", "w"), "w", 7)
    assert presence.deadline_ns == HELLO_EXPIRATION_NS + 5
    assert presence.expire(HELLO_EXPIRATION_NS + 4) == []
    assert news(presence.expire(HELLO_EXPIRATION_NS + 5)) == ["! expired_subscription"]
    assert news(presence.expire(HELLO_EXPIRATION_NS + 7)) == ["! expired_hello"]
    assert news(presence.subscription(W_TOPIC, 20 * 10**9)) == [FIRST]


def test_strangers_are_bounded() -> None:
    """Whoever subscribes to a million IDs makes us forget his own."""
    presence = make()
    for number in range(MAX_STRANGERS):
        presence.subscription(f"zeek.cluster.nodeid.{number}.", number)
    assert news(presence.subscription(W_TOPIC, MAX_STRANGERS))[1:] == ["! too_many_strangers"]
    assert presence.deadline_ns == HELLO_EXPIRATION_NS + 1


def test_ids_are_bounded() -> None:
    """Nobody's ID is longer than half a kilobyte."""
    presence = make()
    assert news(presence.subscription(f"zeek.cluster.nodeid.{'x' * 513}.", 0)) == ["! long_id"]
    assert news(presence.receive(greeting("worker-1", "x" * 513), "w", 0)) == ["! bad_hello"]
    assert presence.deadline_ns is None


def test_nodes_go() -> None:
    """With the subscription of their ID; of one that never was up only that is told."""
    presence = make()
    presence.receive(hello("worker-1", "w"), "w", 0)
    assert news(presence.unsubscription(W_TOPIC)) == ["log node down: worker-1", "down worker-1 w"]
    assert news(presence.unsubscription(W_TOPIC)) == ["! unknown_id"]
    assert presence.unsubscription("zeek.cluster.worker") == []
    assert presence.unsubscription("zeek.cluster.nodeid.me.") == []


def test_a_node_that_died_unseen_comes_back() -> None:
    """A greeting with a new ID is the end of the old one."""
    presence = make()
    presence.receive(hello("worker-1", "w"), "w", 0)
    assert news(presence.receive(greeting("worker-1", "v"), "v", 0)) == [
        "! no_goodbye",
        "log node down: worker-1",
        "down worker-1 w",
    ]
    assert news(presence.subscription("zeek.cluster.nodeid.v.", 0))[1].startswith(
        "> zeek.cluster.nodeid.v. Cluster::hello"
    )


def test_what_is_not_about_us() -> None:
    """Our own messages, other topics, other events, events that are no hellos."""
    presence = make()
    assert presence.receive(hello("logger-1", "me"), "me", 0) == []
    assert presence.receive(Event.make("My::event"), "w", 0) == []
    assert presence.subscription("zeek.cluster.worker", 0) == []
    assert presence.subscription("zeek.cluster.nodeid.me.", 0) == []
    assert presence.subscription("zeek.zeromq.internal.w.1.", 0) == []
    assert news(presence.receive(Event.make(ZEROMQ_HELLO), "s", 0)) == ["! bad_hello"]
    assert presence.deadline_ns is None


def test_strangers_see_us_and_are_not_seen() -> None:
    """A node that only our layout does not know gets its hello; its own is a mistake."""
    presence = make()
    presence.receive(greeting("stranger", "w"), "w", 0)
    assert news(presence.subscription(W_TOPIC, 0)) == [FIRST, SECOND]
    assert news(presence.receive(hello("stranger", "w"), "w", 0)) == ["! unknown_node"]
    assert presence.table.up == ()


def test_ready_when_the_own_subscription_comes_back() -> None:
    """From 7.2 on by a topic of its own, which ends then; a second echo, after a restart of the proxy, is no news."""
    presence = make()
    assert news(presence.start()) == [
        "+ zeek.cluster.nodeid.me.",
        "+ zeek.cluster.node.logger-1.",
        "+ zeek.zeromq.internal.me.1.",
    ]
    assert not presence.is_ready
    assert news(presence.subscription("zeek.zeromq.internal.me.1.", 0)) == ["ready", "- zeek.zeromq.internal.me.1."]
    assert presence.is_ready
    assert presence.subscription("zeek.zeromq.internal.me.1.", 0) == []
    assert "+ zeek.zeromq.internal.me.2." in news(presence.start())


def test_ready_in_7_1() -> None:
    """Without internal topics the subscription of the own ID does."""
    presence = make(version="7.1")
    assert news(presence.start()) == ["+ zeek.cluster.nodeid.me", "+ zeek.cluster.node.logger-1."]
    assert news(presence.subscription("zeek.cluster.nodeid.me", 0)) == ["ready"]


def make_bus(count: int) -> Bus:
    nodes = tuple(LayoutNode(name=f"n{number}", type=NodeType.WORKER) for number in range(count))
    bus = Bus()
    for node in nodes:
        table = make_table(node.name, f"{node.name}_0", backend="zeromq", layout=ClusterLayout(nodes=nodes))
        bus.join(ZeromqPresence(table))
    return bus


def check_agreement(bus: Bus) -> None:
    """Everybody who is there has everybody else up, by the right ID, and nobody who is not there."""
    alive = {node.table.name: node.table.node_id for node in bus.nodes.values()}
    for node in bus.nodes.values():
        seen = {name: node.table.id_of(name) for name in node.table.up}
        assert seen == {name: node_id for name, node_id in alive.items() if name != node.table.name}


@pytest.mark.parametrize("count", [2, 5, 20])
def test_everybody_finds_everybody(count: int) -> None:
    """Without a complaint from anybody."""
    bus = make_bus(count)
    bus.settle()
    check_agreement(bus)
    assert bus.complaints() == []
    assert sum(": up " in each for each in bus.told) == count * (count - 1)
    assert sum(each.endswith(": ready") for each in bus.told) == count


def test_restart_of_the_proxy_is_not_noticed() -> None:
    """All subscriptions come once more; nobody goes, nobody complains, nothing is left to expire."""
    bus = make_bus(5)
    bus.settle()
    before = list(bus.told)
    bus.restart_proxy()
    bus.settle()
    check_agreement(bus)
    assert bus.told == before
    assert all(node.deadline_ns is None for node in bus.nodes.values())


@given(
    st.integers(0, 1 << 32), st.lists(st.sampled_from(["kill", "return", "proxy", "quiet", "blind kill"]), max_size=8)
)
@settings(max_examples=60, deadline=None)
def test_nodes_agree_after_kills_returns_and_restarts(seed: int, happenings: list[str]) -> None:
    """In whatever order the nodes are told, once it is quiet everybody knows who is there.

    But for who died while the proxy was away and has not come back: nobody is ever told.
    """
    chance = random.Random(seed)
    bus, lives = make_bus(4), Counter[str]()
    dead: list[str] = []
    layout = ClusterLayout(nodes=tuple(LayoutNode(name=f"n{n}", type=NodeType.WORKER) for n in range(4)))
    blind: list[str] = []

    def come_back(name: str) -> None:
        lives[name] += 1
        bus.join(ZeromqPresence(make_table(name, f"{name}_{lives[name]}", backend="zeromq", layout=layout)))

    for happening in [*happenings, "quiet"]:
        for _ in range(chance.randrange(12)):
            if bus.line:
                shuffle(bus, chance)
                bus.step()
        if happening in ("kill", "blind kill") and len(bus.nodes) > 1:
            node_id = chance.choice(sorted(bus.nodes))
            bus.is_proxy_up = happening == "kill"
            name = bus.nodes[node_id].table.name
            (dead if bus.is_proxy_up else blind).append(name)
            bus.kill(node_id)
            if not bus.is_proxy_up:
                bus.restart_proxy()
        elif happening == "return" and dead:
            come_back(dead.pop())
        elif happening == "proxy":
            bus.restart_proxy()
        elif happening == "quiet":
            bus.settle()
    while blind:
        come_back(blind.pop())
    bus.settle()
    check_agreement(bus)


def shuffle(bus: Bus, chance: random.Random) -> None:
    """Let somebody else be told first; what one node hears stays in its order."""
    whose = chance.choice(sorted({each[0] for each in bus.line}))
    index = next(index for index, each in enumerate(bus.line) if each[0] == whose)
    entry = bus.line[index]
    del bus.line[index]
    bus.line.appendleft(entry)


@functools.cache
def recorded() -> list[tuple[str, str, str, bytes]]:
    """Topic, sender, serialiser and payload of the recorded messages about presence."""
    found = []
    for line in gzip.decompress((GOLDEN / "zeromq/cluster.jsonl.gz").read_bytes()).splitlines():
        entry = json.loads(line)
        if entry["socket"] == "sub":
            topic, sender, kind, payload = (bytes.fromhex(frame) for frame in entry["frames"])
            if b"::hello" in payload:
                found.append((topic.decode(), sender.decode(), kind.decode(), payload))
    return found


@pytest.mark.parametrize(("own", "other"), [("manager", "worker-1"), ("worker-1", "manager")])
def test_either_node_of_a_recorded_cluster(own: str, other: str) -> None:
    """In the place of a real Zeek we say what it said, byte for byte and in its order, and see the other one."""
    messages = recorded()
    assert len(messages) == 4
    ids = {sender.split("_")[1]: sender for _, sender, _, _ in messages}
    presence = make(own, ids[own])
    said, told = [], []
    told += presence.subscription(presence.table.topics.nodeid_topic(ids[other]), 0)
    for _topic, sender, kind, payload in messages:
        assert kind == "broker-bin-v1"
        event = decode_message(payload)
        assert isinstance(event, Event)
        told += presence.receive(event, sender, 0)
    said = [(each.topic, encode_message(each.event)) for each in told if isinstance(each, Publish)]
    assert said == [(topic, payload) for topic, sender, _, payload in messages if sender == ids[own]]
    assert f"up {other} {ids[other]}" in news(told)
    assert presence.deadline_ns is None
