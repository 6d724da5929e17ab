"""Our endpoint as a node of a cluster: it greets, is greeted, and knows who is up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trio
from msgspec.structs import replace

from appliance.cluster.figures import ClusterFigures
from appliance.wire.filters import encode_filter
from appliance.wire.framing import make_frame
from appliance.wire.handshake import Established
from appliance.wire.names import endpoint_text
from appliance.wire.node_messages import MessageKind, parse_node_message
from appliance.wire.presence import hello_of
from appliance.zeek.messages import Event, decode_message
from tests.wire.golden import Recorded, conversations
from tests.wire.test_golden import is_handshake

from .harness import DEADLINE_S, House, event, run_houses, wait_until
from .nodes import hello, layout, member, news, notes, open_node
from .raw import Raw, make_id, meet, shake

OWN = "zeek/cluster/nodeid/{}/"


def cluster(house: House) -> ClusterFigures:
    figures = house.figures.cluster
    assert figures is not None
    return figures


def up(house: House) -> set[str]:
    return {node.name for node in cluster(house).nodes if node.is_up}


async def test_a_node_is_greeted_and_greets_and_sees_the_other_go(tmp_path: Path) -> None:
    """Items for hooks and sinks, lines of cluster.log, and figures say the same."""
    house = open_node(tmp_path, "logger-1")
    me = make_id()
    async with run_houses(house):
        async with meet(house, me=me, prefixes=(OWN.format(endpoint_text(me)),)) as raw:
            [said] = await raw.messages(1)
            assert said.topic == OWN.format(raw.name)
            assert tuple(decode_message(said.payload).args) == (  # type: ignore[union-attr]
                b"logger-1",
                house.figures.endpoint.encode(),
            )
            await raw.publish(OWN.format(house.figures.endpoint), hello("worker-1", raw.name))
            await wait_until(lambda: up(house) == {"worker-1"})
            figures = cluster(house)
            assert (figures.node, figures.role, figures.up, figures.worker_count) == ("logger-1", "logger", 1, 1)
            assert [peer.node for peer in house.figures.peers] == ["worker-1"]
        await wait_until(lambda: not up(house))
    assert await news(house) == ["up worker-1", "down worker-1"]
    lines = await notes(house)
    assert [(batch.path, batch.stream, batch.node) for batch in lines] == [("cluster", "Cluster::LOG", "logger-1")] * 3
    assert [name for name, _ in lines[0].columns] == list(json.loads(lines[0].data)) == ["ts", "node", "message"]
    assert [json.loads(batch.data)["message"] for batch in lines[1:]] == [
        f"got hello from worker-1 ({endpoint_text(me)})",
        "node down: worker-1",
    ]


async def test_the_hello_waits_until_the_peer_listens(tmp_path: Path) -> None:
    """And is said once, to this peer alone, whoever else listens to everything."""
    house = open_node(tmp_path, "logger-1")
    async with run_houses(house), meet(house, prefixes=("",)) as nosy:
        assert len(await nosy.messages(1)) == 1
        async with meet(house, prefixes=("other/",)) as raw:
            for _ in range(2):
                topics = encode_filter([OWN.format(raw.name), "other/"])
                await raw.control(MessageKind.ROUTING_UPDATE, topics)
            house_said = await raw.messages(1)
            assert house_said[0].topic == OWN.format(raw.name)
            for each in (raw, nosy):
                await each.control(MessageKind.PING, b"?")
                [pong] = await each.messages(1)
                assert pong.kind is MessageKind.PONG


async def test_what_a_logger_subscribes_to(tmp_path: Path) -> None:
    """Known to a peer before the first hello could be."""
    house = open_node(tmp_path, "logger-1", subscribe=("site/",), advertise=("nothing/", "site/"))
    async with run_houses(house):
        me = house.figures.endpoint
        assert set(house.figures.advertised) == {
            "site/", "zeek/logs/", "zeek/cluster/logger", "zeek/cluster/pool/logger",
            "zeek/cluster/node/logger-1/", OWN.format(me),
        }  # fmt: skip


async def test_one_who_keeps_silent(tmp_path: Path) -> None:
    """It has its role's topics, says nothing, and believes nobody."""
    silent = member("logger-1", announce=False)
    house = House(tmp_path, member=silent, subscribe=())
    async with run_houses(house), meet(house) as raw:
        await raw.publish(OWN.format(house.figures.endpoint), hello("worker-1", raw.name))
        await raw.publish("zeek/cluster/logger", event("E::e"))
        await wait_until(lambda: house.incoming.received == 2)
        assert house.incoming.dropped == {"unsubscribed": 1}
        await raw.control(MessageKind.PING, b"?")
        [pong] = await raw.messages(1)
        assert pong.kind is MessageKind.PONG
        assert not up(house)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (lambda raw: hello("worker-9", raw.name), "unknown_node"),
        (lambda raw: hello("worker-1", "0" * 36), "foreign_hello"),
        (lambda raw: event("Cluster::hello", b"worker-1"), "bad_hello"),
        (lambda raw: event("Cluster::hello", b"worker-1", b"x" * 1000), "bad_hello"),
    ],
    ids=["unknown", "foreign", "short", "long"],
)
async def test_hellos_that_are_of_no_use(tmp_path: Path, payload: object, reason: str) -> None:
    """They are counted and change nothing; the peering stays."""
    house = open_node(tmp_path, "logger-1")
    async with run_houses(house), meet(house) as raw:
        await raw.publish(OWN.format(house.figures.endpoint), payload(raw))  # type: ignore[operator]
        await wait_until(lambda: cluster(house).refused == {reason: 1})
        await raw.publish(OWN.format(house.figures.endpoint), hello("manager", raw.name))
        await wait_until(lambda: up(house) == {"manager"})
    assert await news(house) == ["up manager", "down manager"]


async def test_a_hello_for_another_topic_is_an_event_like_any_other(tmp_path: Path) -> None:
    """It was meant for somebody else, and we happen to hear it."""
    house = open_node(tmp_path, "logger-1", subscribe=("",))
    async with run_houses(house), meet(house) as raw:
        await raw.publish(OWN.format("0" * 36), hello("worker-1", raw.name))
        await wait_until(lambda: house.incoming.delivered == 1)
        assert not up(house)
    assert len(await house.events("Cluster::hello")) == 1


async def test_a_node_that_comes_back_before_it_was_missed(tmp_path: Path) -> None:
    """The new one counts; the end of the old one is no news."""
    house = open_node(tmp_path, "logger-1")
    async with run_houses(house), meet(house) as second:
        async with meet(house) as first:
            for raw in (first, second):
                await raw.publish(OWN.format(house.figures.endpoint), hello("worker-1", raw.name))
                await wait_until(lambda raw=raw: cluster(house).nodes[2].id == raw.name)  # type: ignore[misc]
        await house.wait_peers(1)
        assert (up(house), cluster(house).refused) == ({"worker-1"}, {"duplicate_node": 1})
    assert await news(house) == ["up worker-1", "down worker-1"]


async def test_the_manager_is_told_that_we_are_there(tmp_path: Path) -> None:
    """If the cluster waits for it."""
    house = House(tmp_path, member=member("logger-1", says_connected=True), subscribe=())
    async with run_houses(house), meet(house, prefixes=("zeek/cluster/manager",)) as raw:
        await raw.publish(OWN.format(house.figures.endpoint), hello("manager", raw.name))
        [said] = await raw.messages(1)
        assert (said.topic, decode_message(said.payload).name) == (  # type: ignore[union-attr]
            "zeek/cluster/manager",
            "Cluster::Experimental::node_fully_connected",
        )


# ── a layout that changes ──


async def test_a_new_layout_under_the_peers(tmp_path: Path) -> None:
    """Who said hello before anybody knew him is up as soon as he is listed; who is listed no more is down."""
    house = open_node(tmp_path, "logger-1")
    async with run_houses(house), meet(house) as known, meet(house) as unknown:
        for raw, name in ((known, "worker-1"), (unknown, "worker-2")):
            await raw.publish(OWN.format(house.figures.endpoint), hello(name, raw.name))
        await wait_until(lambda: (up(house), cluster(house).refused) == ({"worker-1"}, {"unknown_node": 1}))
        other = layout({"manager": "manager", "logger-1": "logger", "worker-2": "worker"})
        assert house.endpoint.apply(replace(house.peering, member=member("logger-1", other)))
        assert up(house) == {"worker-2"}
        assert len(house.peers) == 2
        await wait_until(lambda: house.books().delivered == 7)
    assert await news(house) == ["up worker-1", "down worker-1", "up worker-2", "down worker-2"]


@pytest.mark.parametrize(
    "other",
    [member("proxy-1"), member("logger-1", announce=False), member("logger-1", version="2.6"), None],
    ids=["name", "silent", "version", "none"],
)
def test_who_we_are_cannot_change_under_the_peers(tmp_path: Path, other: object) -> None:
    """They know us by another name, or by other topics."""
    house = open_node(tmp_path, "logger-1")
    assert not house.endpoint.apply(replace(house.peering, member=other))
    assert house.endpoint.apply(house.peering)


# ── pools ──


async def test_pools_choose_among_those_who_are_up(tmp_path: Path) -> None:
    """By turns or by key; nobody is up, nobody is chosen."""
    nodes = layout({"manager": "manager", "proxy-1": "proxy", "proxy-2": "proxy"})
    house = open_node(tmp_path, "manager", nodes)
    choose = house.endpoint.pool_topic
    async with run_houses(house), meet(house) as first, meet(house) as second:
        assert choose("proxy", "k", by_hash=True) == choose("proxy", "k", by_hash=False) == ""
        for raw, name in ((first, "proxy-1"), (second, "proxy-2")):
            await raw.publish(OWN.format(house.figures.endpoint), hello(name, raw.name))
        await wait_until(lambda: len(up(house)) == 2)
        turns = [choose("proxy", "k", by_hash=False) for _ in range(3)]
        assert turns == [f"zeek/cluster/node/proxy-{n}/" for n in (1, 2, 1)]
        owners = "".join(choose("proxy", key, by_hash=True)[-2] for key in (0, 1, 2, 3, 13, 37, 42, 101))
        assert owners == "21221111"  # as Zeek's own test has it
        with pytest.raises(ValueError, match="no pool"):
            choose("poxy", "k", by_hash=True)
        for wrong in (-1, 1 << 64):
            with pytest.raises(TypeError):
                choose("proxy", wrong, by_hash=True)
    assert choose("proxy", "k", by_hash=True) == ""


# ── what real Zeeks said ──


def side(number: int, *, is_dialer: bool) -> tuple[str, bytes, bytes, bytes, list[bytes]]:
    """One side of a recorded connection that is ours to play.

    Returns:
        Our name, our recorded ID, the ID of the other side, our hello, and the data messages of the other side.
    """
    frames: list[Recorded] = [each for each in conversations("cluster")[number] if not is_handshake(each.payload)]
    data = [each for each in frames if parse_node_message(each.payload).kind is MessageKind.DATA]
    ours = next(parse_node_message(f.payload).sender for f in frames if f.is_from_dialer == is_dialer)
    theirs = next(parse_node_message(f.payload).sender for f in frames if f.is_from_dialer != is_dialer)
    said = [parse_node_message(f.payload) for f in data if f.is_from_dialer == is_dialer]
    [our_hello] = [m.payload for m in said if b"Cluster::hello" in m.payload]
    found = decode_message(our_hello)
    assert isinstance(found, Event)
    who = hello_of(found)
    assert who is not None
    name = who[0]
    frames_of_theirs = [f.payload for f in data if f.is_from_dialer != is_dialer]
    return name, ours, theirs, our_hello, frames_of_theirs


async def receive_hello(raw: Raw) -> bytes:
    """What it says to us before anything else."""
    while True:
        [message] = await raw.messages(1)
        if b"Cluster::hello" in message.payload:
            assert message.topic == OWN.format(raw.name)
            return message.payload


@pytest.mark.parametrize(
    ("number", "is_dialer", "other"),
    [
        (0, True, "manager"),
        (0, False, "worker-1"),
        (2, True, "logger-1"),
        (2, False, "worker-1"),
        (3, True, "logger-1"),
        (3, False, "manager"),
    ],
)
async def test_either_side_of_a_recorded_cluster(tmp_path: Path, number: int, is_dialer: bool, other: str) -> None:
    """In the place of a real Zeek, over a socket: our hello is its hello but for the ID, and we see the other come and
    go, with everything else that it had to say in between.
    """
    name, ours, theirs, our_hello, frames = side(number, is_dialer=is_dialer)
    prefixes = (OWN.format(endpoint_text(theirs)),)
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    keys: dict[str, Any] = (
        {"connect": (f"127.0.0.1:{listener.socket.getsockname()[1]}",), "listen": ()} if is_dialer else {}
    )
    house = open_node(tmp_path, name, **keys)

    async def play(raw: Raw) -> None:
        me = house.figures.endpoint
        expected = our_hello.replace(endpoint_text(ours).encode(), me.encode())
        assert await receive_hello(raw) == expected
        to_us = {ours: raw.other, bytes(16): bytes(16)}
        for frame in frames:
            head, rest = frame[:16] + to_us[frame[16:32]], frame[32:]
            topic_size = int.from_bytes(rest[3:5])
            topic = rest[5 : 5 + topic_size].replace(endpoint_text(ours).encode(), me.encode())
            await raw.stream.send_all(make_frame(head + rest[:5] + topic + rest[5 + topic_size :]))
        await wait_until(lambda: up(house) == {other})
        await wait_until(lambda: house.incoming.received == len(frames) and not house.incoming.queued)
        assert house.incoming.refused == 0

    async with listener, run_houses(house):
        if is_dialer:
            stream = await listener.accept()
            with trio.fail_after(DEADLINE_S):
                shaken, rest = await shake(stream, theirs, prefixes=prefixes, is_dialer=False)
            assert isinstance(shaken, Established)
            async with stream:
                await play(Raw(stream, theirs, shaken.peer, rest))
            await listener.aclose()
        else:
            async with meet(house, me=theirs, prefixes=prefixes) as raw:
                await play(raw)
        await wait_until(lambda: not up(house))
    assert await news(house) == [f"up {other}", f"down {other}"]


def test_the_recording_has_all_nodes() -> None:
    """And they are those of our layout."""
    names = {side(number, is_dialer=is_dialer)[0] for number in (0, 2, 3) for is_dialer in (True, False)}
    assert names == {"manager", "logger-1", "worker-1"}
