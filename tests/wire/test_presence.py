"""Presence on Broker, and what it has in common with ZeroMQ's."""

from __future__ import annotations

import pytest

from appliance.wire.names import endpoint_text
from appliance.wire.node_messages import MessageKind, parse_node_message
from appliance.wire.presence import HELLO, Publish
from appliance.wire.presence_broker import BrokerPresence
from appliance.zeek.layout import NodeType
from appliance.zeek.messages import Event, decode_message, encode_message
from tests.wire.golden import conversations
from tests.wire.presence import make_table, news
from tests.wire.test_golden import is_handshake


def hello(name: str, node_id: str) -> Event:
    return Event.make(HELLO, name.encode(), node_id.encode("utf-8", "surrogateescape"))


def test_hello_on_every_new_peering() -> None:
    """Whoever dialled, we say who we are, on the topic of the peer's ID."""
    presence = BrokerPresence(make_table("logger-1", "me"))
    assert news(presence.peer_added("p")) == ["> zeek/cluster/nodeid/p/ Cluster::hello logger-1 me"]
    old = BrokerPresence(make_table("logger-1", "me", version="2.6"))
    assert news(old.peer_added("p")) == ["> bro/cluster/node/p Cluster::hello logger-1 me"]
    assert presence.own_topics == ("zeek/cluster/nodeid/me/", "zeek/cluster/node/logger-1/")


def test_a_node_comes_and_goes() -> None:
    """Up with its first hello, down with its peering; in between it is known by name and ID."""
    presence = BrokerPresence(make_table("logger-1", "me"))
    table = presence.table
    assert news(presence.receive(hello("worker-1", "w"))) == ["up worker-1 w", "log got hello from worker-1 (w)"]
    assert (table.up, table.worker_count) == (("worker-1",), 1)
    assert (table.id_of("worker-1"), table.name_of("w")) == ("w", "worker-1")
    assert (table.active_count(NodeType.WORKER), table.active_count(NodeType.MANAGER)) == (1, 0)
    assert news(presence.receive(hello("worker-1", "w"))) == ["log got hello from worker-1 (w)"]
    assert news(presence.peer_gone("w")) == ["log node down: worker-1", "down worker-1 w"]
    assert news(presence.peer_gone("w")) == []
    assert (table.up, table.worker_count, table.id_of("worker-1")) == ((), 0, None)


def test_nodes_that_nobody_expects() -> None:
    """A name that is not in the layout is a mistake of the site's, told in a bounded text; the peering stays."""
    presence = BrokerPresence(make_table("logger-1", "me"))
    assert news(presence.receive(hello("stranger", "s"))) == ["! unknown_node"]
    (note,) = presence.receive(hello("x" * 500, "\udcff"))
    assert len(str(note)) < 1000
    assert presence.table.up == ()


def test_a_second_id_for_a_name() -> None:
    """An error, and the new ID counts; no node comes or goes. The old one's end means nothing any more."""
    presence = BrokerPresence(make_table("logger-1", "me"))
    presence.receive(hello("worker-1", "w"))
    assert news(presence.receive(hello("worker-1", "v"))) == ["! duplicate_node", "log got hello from worker-1 (v)"]
    assert presence.table.worker_count == 1
    assert news(presence.peer_gone("w")) == []
    assert news(presence.peer_gone("v")) == ["log node down: worker-1", "down worker-1 v"]


def test_two_names_of_one_connection() -> None:
    """Both are up; the connection's end is one node's end, as for Zeek, then the other's."""
    presence = BrokerPresence(make_table("logger-1", "me"))
    presence.receive(hello("worker-1", "w"))
    assert news(presence.receive(hello("manager", "w")))[:2] == ["up manager w", "! second_name"]
    assert news(presence.peer_gone("w")) == ["log node down: worker-1", "down worker-1 w"]
    assert news(presence.peer_gone("w")) == ["log node down: manager", "down manager w"]


@pytest.mark.parametrize("event", [Event.make(HELLO, *args) for args in ((), (b"worker-1",), (b"worker-1", 1))])
def test_hellos_that_are_none(event: Event) -> None:
    """Counted, and nothing else."""
    presence = BrokerPresence(make_table("logger-1", "me"))
    assert news(presence.receive(event)) == ["! bad_hello"]
    assert presence.receive(Event.make("My::event", b"worker-1", b"w")) == []


def test_the_manager_hears_that_we_are_connected() -> None:
    """Once for each time that it comes, if the cluster waits for it."""
    presence = BrokerPresence(make_table("logger-1", "me", version="6.0", says_connected=True))
    assert news(presence.receive(hello("manager", "m")))[-1] == (
        "> zeek/cluster/manager Cluster::Experimental::node_fully_connected logger-1 me False"
    )
    assert len(presence.receive(hello("manager", "m"))) == 1


def play(number: int, *, is_dialer: bool) -> tuple[list[str], list[bytes], list[bytes]]:
    """Take one side's part in a recorded cluster; returns the news, the hellos that we say and those it said."""
    frames = [frame for frame in conversations("cluster")[number] if not is_handshake(frame.payload)]
    messages = [(frame.is_from_dialer, parse_node_message(frame.payload)) for frame in frames]
    ids = {is_from: message.sender for is_from, message in messages}
    me, peer = endpoint_text(ids[is_dialer]), endpoint_text(ids[not is_dialer])
    told, theirs = [], []
    own_name = ""
    for is_from_dialer, message in messages:
        if message.kind is not MessageKind.DATA or b"Cluster::hello" not in message.payload:
            continue
        event = decode_message(message.payload)
        assert isinstance(event, Event)
        if is_from_dialer == is_dialer:
            own_name = str(event.args[0], "ascii")  # type: ignore[arg-type]
            theirs.append(message.topic.encode() + message.payload)
        else:
            told.append(event)
    presence = BrokerPresence(make_table(own_name, me))
    actions = presence.peer_added(peer)
    said = [each.topic.encode() + encode_message(each.event) for each in actions if isinstance(each, Publish)]
    found = [text for event in told for text in news(presence.receive(event))] + news(presence.peer_gone(peer))
    return [text.replace(peer, "ID") for text in found], said, theirs


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
def test_either_side_of_a_recorded_cluster(number: int, is_dialer: bool, other: str) -> None:
    """In the place of a real Zeek we say its hello byte for byte, and see the other one come and go."""
    told, said, theirs = play(number, is_dialer=is_dialer)
    assert said == theirs
    assert told == [
        f"up {other} ID",
        f"log got hello from {other} (ID)",
        f"log node down: {other}",
        f"down {other} ID",
    ]
