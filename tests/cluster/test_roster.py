"""Who is up, whichever backend says so: what is told, what is counted, and what another layout changes."""

from __future__ import annotations

import json
from collections.abc import Iterable

from msgspec.structs import replace

from appliance.cluster.roster import MAX_HELLOS, Roster
from appliance.config import Membership
from appliance.model import Item, LogBatch, NodeStatus
from appliance.wire.presence import Action, NodeDown, NodeUp, Note
from appliance.zeek.layout import ClusterLayout, LayoutNode, NodeType
from appliance.zeek.topics import cluster_topics
from appliance.zeek.version import parse_version


def layout(*names: str) -> ClusterLayout:
    """Nodes whose names begin with their types."""
    return ClusterLayout(nodes=tuple(LayoutNode(name=name, type=NodeType(name.partition("-")[0])) for name in names))


def open_roster(*names: str) -> Roster:
    """The manager's."""
    member = Membership(
        name="manager",
        role=NodeType.MANAGER,
        layout=layout("manager", *names),
        topics=cluster_topics(parse_version("8.0")),
        announce=True,
        says_connected=False,
    )
    roster = Roster(member, announced=True, clock_ns=lambda: 1_500_000_000)
    roster.open("me")
    return roster


def hello(roster: Roster, name: str, node_id: str) -> list[str]:
    """A node says hello, as both backends do it; returns what is told."""
    roster.remember(node_id, name)
    return take(roster, roster.table.hello(name, node_id))


def take(roster: Roster, actions: Iterable[Action]) -> list[str]:
    return told(roster.take(each) for each in actions if isinstance(each, NodeUp | NodeDown | Note))


def told(items: Iterable[Item | None]) -> list[str]:
    found = []
    for item in items:
        if isinstance(item, NodeStatus):
            found.append(f"{item.status} {item.node} {item.id}")
        elif isinstance(item, LogBatch):
            found += [json.loads(row)["message"] for row in item.rows()]
    return found


def up(roster: Roster) -> dict[str, str]:
    return {node.name: node.id for node in roster.statistics().nodes if node.is_up}


async def test_a_node_comes_and_goes(autojump_clock: object) -> None:
    """Items, lines of cluster.log, figures and pools agree."""
    roster = open_roster("worker-1", "worker-2")
    assert hello(roster, "worker-1", "w") == ["up worker-1 w", "got hello from worker-1 (w)"]
    figures = roster.statistics()
    assert (figures.up, figures.worker_count, up(roster)) == (1, 1, {"worker-1": "w"})
    assert roster.pool_topic("worker", "key", by_hash=True) == "zeek/cluster/node/worker-1/"
    assert take(roster, roster.table.lost("w")) == ["node down: worker-1", "down worker-1 w"]
    figures = roster.statistics()
    assert (figures.up, figures.worker_count, up(roster)) == (0, 0, {})
    assert roster.pool_topic("worker", "key", by_hash=True) == ""


async def test_mistakes_of_others_are_counted(autojump_clock: object) -> None:
    """And are no items."""
    roster = open_roster("worker-1")
    assert hello(roster, "worker-9", "x") == []
    hello(roster, "worker-1", "w")
    assert hello(roster, "worker-1", "again") == ["got hello from worker-1 (again)"]
    assert roster.statistics().refused == {"unknown_node": 1, "duplicate_node": 1}
    assert up(roster) == {"worker-1": "again"}


async def test_another_layout(autojump_clock: object) -> None:
    """Who is in both stays up and in its pool without a word; others come and go by what they have said before."""
    roster = open_roster("worker-1", "worker-2")
    for number in (1, 2, 3):
        hello(roster, f"worker-{number}", f"w{number}")
    member = replace(roster.membership, layout=layout("manager", "worker-2", "worker-3"))
    assert roster.can_become(member)
    assert not roster.can_become(replace(member, name="worker-2"))
    assert told(roster.change(member)) == ["down worker-1 w1", "up worker-3 w3"]
    assert up(roster) == {"worker-2": "w2", "worker-3": "w3"}
    alive = {pool.topic: pool.alive for pool in roster.statistics().pools}
    assert alive["zeek/cluster/pool/worker"] == 2
    assert told(roster.change(member)) == []


async def test_who_has_gone_does_not_come_back_with_a_layout(autojump_clock: object) -> None:
    """Its hello counts as long as its connection."""
    roster = open_roster("worker-1")
    hello(roster, "worker-2", "w2")
    roster.forget("w2")
    member = replace(roster.membership, layout=layout("manager", "worker-2"))
    assert told(roster.change(member)) == []


async def test_hellos_that_are_remembered_are_bounded(autojump_clock: object) -> None:
    """The oldest is forgotten, and of the names under one ID the first."""
    roster = open_roster()
    for number in range(MAX_HELLOS):
        roster.remember(f"id-{number}", "worker-1")
    for name in ("worker-2", "worker-3", "worker-4"):
        roster.remember("other", name)
    member = replace(roster.membership, layout=layout("manager", "worker-2", "worker-3", "worker-4"))
    assert sorted(told(roster.change(member))) == ["up worker-3 other", "up worker-4 other"]
    assert len(roster._heard) == MAX_HELLOS


async def test_a_new_beginning(autojump_clock: object) -> None:
    """With another ID of ours nobody is up, and nobody has been heard."""
    roster = open_roster("worker-1")
    hello(roster, "worker-1", "w")
    roster.open("me again")
    assert up(roster) == {}
    assert told(roster.change(roster.membership)) == []
    assert roster.table.node_id == "me again"
