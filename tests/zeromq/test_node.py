"""Nodes of ours on a cluster: ready, up and down, events both ways."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace

from appliance.errors import ApplianceError
from appliance.model import EventBatch, LogBatch, NodeStatus
from appliance.wire.presence_zeromq import ZEROMQ_HELLO
from appliance.wire.zeromq_events import Serializer
from appliance.zeek.messages import Event
from appliance.zeek.values import Count, Vector
from appliance.zeromq import links
from appliance.zeromq.node import make_node_id

from .cluster_bench import Bare, event, layout, open_bus
from .harness import wait_until

TOPIC = "zeek.event.my.x"


async def test_two_nodes_see_each_other(tmp_path: Path) -> None:
    """Up when both have said hello, down as soon as one has gone; a new one of that name has another ID."""
    async with open_bus(tmp_path, "manager", "worker-1") as bus:
        manager, worker = await bus.join("manager"), await bus.join("worker-1")
        await manager.wait_up("worker-1")
        await worker.wait_up("manager")
        first = worker.node.node_id
        assert manager.node.table.id_of("worker-1") == first
        await worker.stop()
        await manager.wait_up()
        again = await bus.join("worker-1")
        await manager.wait_up("worker-1")
        await again.wait_up("manager")
        assert manager.node.table.id_of("worker-1") == again.node.node_id != first
        assert manager.oddities == again.oddities == {}


async def test_a_proxy_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both of its addresses are out of reach, for too long after a while; when it comes, nothing is."""
    monkeypatch.setattr(links, "PATIENCE_S", 0.05)
    async with open_bus(tmp_path, "manager", "worker-1") as bus:
        await bus.stop_proxy()
        worker = bus.member("worker-1")
        bus.nursery.start_soon(worker.run)
        await wait_until(lambda: len(worker.figures.overdue) == 2)
        told = worker.figures.overdue
        assert [each.rpartition(": ")[0] for each in told] == [bus.read, bus.write]
        await bus.start_proxy()
        await worker.wait_ready()
        assert worker.figures.overdue == ()
        await worker.stop()


async def test_news_of_nodes(tmp_path: Path) -> None:
    """Coming and going are items, and lines of a log that reads like Zeek's."""
    async with open_bus(tmp_path, "manager", "worker-1") as bus:
        manager, worker = await bus.join("manager"), await bus.join("worker-1")
        await manager.wait_news("up worker-1")
        first = worker.node.node_id
        await worker.stop()
        await manager.wait_news("up worker-1", "down worker-1")
        statuses = [item for item in await manager.take() if isinstance(item, NodeStatus)]
        assert {(each.type, each.id, each.source, each.kind) for each in statuses} == {
            ("worker", first, "cluster", "node")
        }
        lines = [json.loads(item.data) for item in manager.items if isinstance(item, LogBatch)]
        assert [(line["node"], line["message"]) for line in lines] == [
            ("manager", f"got hello from worker-1 ({first})"),
            ("manager", "node down: worker-1"),
        ]


async def test_a_reload_changes_the_layout_while_nodes_are_up(tmp_path: Path) -> None:
    """Who is known from now on is up at once, and who is not any more is down; nobody else notices."""
    async with open_bus(tmp_path, "manager", "worker-1", "worker-2") as bus:
        manager, worker = await bus.join("manager"), await bus.join("worker-1")
        await manager.wait_news("up worker-1")
        await worker.wait_news("up manager")
        member = manager.plan.member
        assert manager.node.apply(replace(manager.plan, member=replace(member, layout=layout("manager", "worker-2"))))
        await manager.wait_news("up worker-1", "down worker-1")
        assert manager.node.apply(manager.plan)
        await manager.wait_news("up worker-1", "down worker-1", "up worker-1")
        assert await worker.news() == ["up manager"]
        assert not manager.node.apply(replace(manager.plan, member=replace(member, name="worker-2")))


async def test_events_for_a_pool(tmp_path: Path) -> None:
    """They go to the members that are up, by turns or by a key."""
    async with open_bus(tmp_path, "manager", "worker-1", "worker-2") as bus:
        manager, first = await bus.join("manager"), await bus.join("worker-1")
        assert manager.node.pool_topic("worker", "key", by_hash=True) == ""
        await manager.wait_up("worker-1")
        assert manager.node.pool_topic("worker", "key", by_hash=True) == "zeek.cluster.node.worker-1."
        second = await bus.join("worker-2")
        await manager.wait_up("worker-1", "worker-2")
        await first.wait_ready()
        await second.wait_ready()
        for _ in range(4):
            manager.outlet.publish_to_pool("worker", "key", [event("My::event")], by_hash=False)
        assert (len(await first.wait_events(2)), len(await second.wait_events(2))) == (2, 2)


async def test_a_node_whose_task_is_cancelled_is_down(tmp_path: Path) -> None:
    """Whatever the reason: its sockets are closed, and the proxy tells."""
    async with open_bus(tmp_path, "manager", "worker-1") as bus:
        manager, worker = await bus.join("manager"), await bus.join("worker-1")
        await manager.wait_up("worker-1")
        await worker.kill()
        await manager.wait_up()


@pytest.mark.parametrize("serializer", list(Serializer), ids=lambda each: each.name)
async def test_events_go_both_ways(tmp_path: Path, serializer: Serializer) -> None:
    """In either format: whoever listens gets them with their arguments, and nobody gets his own."""
    async with open_bus(tmp_path, "manager", "worker-1") as bus:
        keys = {"subscribe": (TOPIC,), "event_serializer": serializer.value.decode()}
        manager, worker = await bus.join("manager", **keys), await bus.join("worker-1", **keys)
        for one, other in ((manager, worker), (worker, manager)):
            await one.wait_heard(TOPIC)
            given = (Count(7), b"x\xff" if serializer is Serializer.BINARY else b"x", Vector((1.5,)))
            message = event("My::event", *given)
            assert one.publish(TOPIC, message).peers == 1
            assert await other.wait_events(1) == [given]
            (batch,) = [item for item in other.items if isinstance(item, EventBatch)]
            assert (batch.name, batch.topic, batch.source) == ("My::event", TOPIC, "cluster")
            assert batch.peer == one.node.node_id
        await wait_until(lambda: manager.books("cluster.messages").dropped.get("own_message", 0) == 1)
        assert len(await manager.events()) == len(await worker.events()) == 1


async def test_nodes_have_topics_of_their_own(tmp_path: Path) -> None:
    """Name and role of a node, with dots; also what is for its ID and not about presence."""
    async with open_bus(tmp_path, "manager", "worker-1", "worker-10") as bus:
        manager, worker = await bus.join("manager"), await bus.join("worker-1")
        other = await bus.join("worker-10")
        await worker.wait_ready()
        await other.wait_ready()
        topics = ("zeek.cluster.node.worker-1.", "zeek.cluster.worker", "zeek.cluster.pool.worker")
        own = f"zeek.cluster.nodeid.{worker.node.node_id}."
        for topic in (*topics, own):
            await manager.wait_heard(topic)
            manager.publish(topic, event("My::event", topic.encode()))
        found = await worker.wait_events(4)
        assert {args[0] for args in found} == {topic.encode() for topic in (*topics, own)}
        assert await other.wait_events(2) == [(topic.encode(),) for topic in topics[1:]]


async def test_who_is_not_listed_listens_without_being_seen(tmp_path: Path) -> None:
    """It subscribes to nothing that others would greet."""
    async with open_bus(tmp_path, "manager") as bus:
        manager = await bus.join("manager")
        stranger = await bus.join("recorder-1", subscribe=(TOPIC,))
        await stranger.wait_ready()
        await manager.wait_heard(TOPIC)
        manager.publish(TOPIC, event("My::event"))
        assert await stranger.wait_events(1) == [()]
        assert stranger.figures.subscriptions == (TOPIC,)
        assert manager.up == stranger.up == set()
        assert stranger.publish("zeek.cluster.manager", event("Answer::it")).peers == 1
        assert await manager.wait_events(1) == [()]


async def test_a_listed_node_that_does_not_announce_itself(tmp_path: Path) -> None:
    """It is never up, and takes what is for its name."""
    async with open_bus(tmp_path, "manager", "worker-1") as bus:
        manager, worker = await bus.join("manager"), await bus.join("worker-1", announce=False)
        await manager.wait_heard("zeek.cluster.node.worker-1.")
        manager.publish("zeek.cluster.node.worker-1.", event("My::event"))
        await worker.wait_events(1)
        assert (manager.up, worker.up) == (set(), set())


async def test_version_7_1_has_no_internal_topic(tmp_path: Path) -> None:
    """Readiness is told by the topic of our own ID."""
    async with open_bus(tmp_path, "manager", "worker-1") as bus:
        manager, worker = await bus.join("manager", version="7.1"), await bus.join("worker-1", version="7.1")
        await manager.wait_up("worker-1")
        await worker.wait_up("manager")
        assert manager.node.is_ready
        assert not any("internal" in topic for topic in manager.figures.subscriptions)


async def test_what_cannot_be_published(tmp_path: Path) -> None:
    """Each refusal has its reason, and nothing of it is sent."""
    async with open_bus(tmp_path, "manager", proxy=False) as bus:
        manager = await bus.join("manager", subscribe=("own.",), max_message=1000)
        assert manager.publish(TOPIC, event("My::event")) == (0, "no_peer")
        await bus.start_proxy()
        await manager.wait_ready()
        assert manager.publish(TOPIC, event("My::event")) == (0, "no_subscriber")
        await manager.node.wait_for(lambda: manager.figures.heard >= 5)
        assert manager.publish("own.x", event("My::event")) == (0, "no_subscriber")
        assert manager.publish("", event("My::event")) == (0, "bad_topic")
        assert manager.publish("<$>/local/x", event("My::event")) == (0, "bad_topic")
        assert manager.publish("\udfff", event("My::event")) == (0, "bad_topic")
        assert manager.publish(TOPIC, event("My::event", b"x" * 1000)) == (0, "too_large")
        assert manager.publish(TOPIC, b"\x05\x01x") == (0, "events_only")
        assert manager.node.announce("key", TOPIC, event("My::event")) == (0, "events_only")
        assert manager.books("cluster.out").received == 0


async def test_no_number_that_json_does_not_have(tmp_path: Path) -> None:
    """An event with one cannot be published in JSON."""
    async with open_bus(tmp_path, "manager", "worker-1") as bus:
        manager = await bus.join("manager", event_serializer="broker-json-v1")
        await bus.join("worker-1", subscribe=(TOPIC,))
        await manager.wait_heard(TOPIC)
        assert manager.publish(TOPIC, event("My::event", float("inf"))) == (0, "no_json")


async def test_messages_that_are_none(tmp_path: Path) -> None:
    """Each is counted by its reason, bad ones are kept, and what comes between them arrives."""
    async with open_bus(tmp_path, "manager") as bus:
        manager = await bus.join("manager", subscribe=(TOPIC,), max_message=10_000)
        bare = Bare(bus, "somebody")
        await bare.wait_heard(TOPIC)
        good = event("My::event")
        bare.send(TOPIC, good)
        bare.writer.send_multipart([TOPIC.encode(), b"somebody", b"broker-bin-v1"])
        bare.writer.send_multipart([TOPIC.encode(), b"somebody", b"other", good])
        bare.send(TOPIC, b"")
        bare.send(TOPIC, good[:-1])
        bare.send(TOPIC, b"{", serializer=Serializer.JSON)
        bare.send(TOPIC, b"\x05\x01x")
        bare.send(TOPIC, b"x" * 10_000 + b"y")
        bare.send(TOPIC + "y" * 70_000, good)
        bare.send(TOPIC, good)
        await wait_until(lambda: manager.books("cluster.messages").received >= 10)
        books = manager.books("cluster.messages")
        assert books.dropped == {"bad_frames": 1, "bad_format": 1, "bad_message": 5, "too_large": 1}
        assert (books.delivered, len(await manager.wait_events(2))) == (2, 2)
        await wait_until(lambda: manager.figures.quarantined == 1)
        bare.close()


async def test_a_hello_of_somebody_unknown(tmp_path: Path) -> None:
    """A name that is not in the layout is odd, and not up; a hello without its arguments is odd as well."""
    async with open_bus(tmp_path, "manager") as bus:
        manager = await bus.join("manager")
        own = f"zeek.cluster.nodeid.{manager.node.node_id}."
        bare = Bare(bus, "b-1")
        await bare.wait_heard(own)
        bare.publish(own, Event.make("Cluster::hello", b"nobody", b"b-1"))
        bare.publish(own, Event.make(ZEROMQ_HELLO))
        await manager.node.wait_for(lambda: len(manager.oddities) == 2)
        assert manager.oddities == {"unknown_node": 1, "bad_hello": 1}
        assert manager.up == set()
        bare.close()


async def test_topics_for_a_while(tmp_path: Path) -> None:
    """What somebody asks for is subscribed to as long as he is there, and once only."""
    async with open_bus(tmp_path, "manager", "worker-1") as bus:
        manager, worker = await bus.join("manager"), await bus.join("worker-1", subscribe=("both.",))
        with worker.node.subscribed(["both.", "more."]), worker.node.subscribed(["more."]):
            await manager.wait_heard("more.x")
            manager.publish("more.x", event("My::event", Count(1)))
            assert await worker.wait_events(1) == [(Count(1),)]
        await manager.node.wait_for(lambda: not manager.node.hears("more.x"))
        assert manager.node.hears("both.x")


async def test_a_reload_changes_topics_under_open_sockets(tmp_path: Path) -> None:
    """Everything else needs others."""
    async with open_bus(tmp_path, "manager", "worker-1") as bus:
        manager, worker = await bus.join("manager"), await bus.join("worker-1", subscribe=("a.", "b."))
        await manager.wait_heard("a.")
        await manager.wait_up("worker-1")
        plan = replace(worker.plan, subscribe=("b.", "c."))
        assert worker.node.apply(plan)
        await manager.node.wait_for(lambda: manager.node.hears("c.") and not manager.node.hears("a."))
        assert manager.node.hears("b.")
        assert not worker.node.apply(replace(plan, queue=5))
        assert manager.up == {"worker-1"}


async def test_an_endpoint_that_is_none(tmp_path: Path) -> None:
    """Is told at the start."""
    async with open_bus(tmp_path, "manager") as bus:
        member = bus.member("manager", read="tcp://there is none")
        with pytest.raises(BaseExceptionGroup) as caught:
            async with trio.open_nursery() as nursery:
                await nursery.start(member.run)
        assert caught.group_contains(ApplianceError, match="cannot open sockets", depth=None)


def test_node_ids_are_never_the_same() -> None:
    """And read as Zeek's do."""
    ids = {make_node_id("worker-1") for _ in range(100)}
    assert len(ids) == 100
    assert all(each.startswith("zeromq_worker-1_") and each.count("_") == 4 and "." not in each for each in ids)
