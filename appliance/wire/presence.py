"""Who is up in a cluster: the part of presence that is the same on every backend.

A node says hello with its name and its ID on the connection. Who hears it knows that the node is up, until the
connection or the subscription of that ID ends. Commands come out as values; the edge publishes, logs and hands on.

Source: Zeek, ``scripts/base/frameworks/cluster/main.zeek``, events ``Cluster::hello`` and ``Cluster::node_down``.
"""

from __future__ import annotations

from collections import Counter
from typing import TypeAlias

import msgspec

from appliance.zeek.layout import ClusterLayout, LayoutNode, NodeType
from appliance.zeek.messages import Event
from appliance.zeek.topics import ClusterTopics
from appliance.zeek.values import Vector

__all__ = [
    "HELLO",
    "MAX_ID",
    "Action",
    "NodeDown",
    "NodeTable",
    "NodeUp",
    "Note",
    "Publish",
    "hello_of",
    "shown",
]

HELLO = "Cluster::hello"
_CONNECTED = "Cluster::Experimental::node_fully_connected"
MAX_ID = 512
"""Bytes of a name or ID that is kept; real ones are shorter than a hundred."""
_MAX_TEXT = 200


class Publish(msgspec.Struct, frozen=True):
    """An event to send."""

    topic: str
    event: Event


class NodeUp(msgspec.Struct, frozen=True):
    """A node of the layout has come, or has come back with another ID."""

    node: LayoutNode
    id: str


class NodeDown(msgspec.Struct, frozen=True):
    """A node of the layout has gone."""

    node: LayoutNode
    id: str


class Note(msgspec.Struct, frozen=True):
    """A line for ``cluster.log``, or a mistake of others for our own log."""

    message: str
    reason: str = ""
    """What to count it as; empty: a line that Zeek's nodes write into ``cluster.log`` as well."""


Action: TypeAlias = Publish | NodeUp | NodeDown | Note


def hello_of(event: Event) -> tuple[str, str] | None:
    """Name and ID of who says hello; None if the arguments are others, or longer than any name."""
    if len(event.args) != 2:
        return None
    name, node_id = event.args[0], event.args[1]
    if not isinstance(name, bytes) or not isinstance(node_id, bytes) or max(len(name), len(node_id)) > MAX_ID:
        return None
    return name.decode("utf-8", "surrogateescape"), node_id.decode("utf-8", "surrogateescape")


def shown(text: str) -> str:
    """A name from the network in a message."""
    return text[:_MAX_TEXT].encode("utf-8", "backslashreplace").decode()


class NodeTable:
    """The nodes of the layout and the IDs of those that are up.

    Args:
        layout: who may come. We may be in it.
        topics: how the cluster calls them.
        name: ours.
        node_id: ours, the one that the backend tells the others.
        says_connected: tell the manager when we have seen it (``Cluster::Experimental``); only for clusters that load
            that policy, for others complain about the event.
    """

    def __init__(
        self, layout: ClusterLayout, topics: ClusterTopics, *, name: str, node_id: str, says_connected: bool = False
    ) -> None:
        self.topics = topics
        self.name = name
        self.node_id = node_id
        self._says_connected = says_connected
        # From 8.0 on Zeek sends metadata over Broker even if there is none; older versions take hellos without.
        self._metadata = () if topics.backend == "broker" and topics.version >= (8, 0) else None
        self._nodes = {node.name: node for node in layout.nodes}
        self._ids: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._workers: set[str] = set()

    # ── what is known ──

    def id_of(self, name: str) -> str | None:
        """The ID of a node that is up."""
        return self._ids.get(name)

    def name_of(self, node_id: str) -> str | None:
        """The name of a node that is up."""
        return self._names.get(node_id)

    @property
    def up(self) -> tuple[str, ...]:
        """Names of all that are up, without us, in the order in which they came."""
        return tuple(self._ids)

    @property
    def worker_count(self) -> int:
        """``Cluster::worker_count``: IDs of workers that are up."""
        return len(self._workers)

    def active_count(self, kind: NodeType) -> int:
        """``Cluster::get_active_node_count``: nodes of a type that are up, without us."""
        return Counter(self._nodes[name].type for name in self._ids)[kind]

    # ── what is said and done ──

    def greet(self, node_id: str) -> Publish:
        """Our hello to the node of an ID."""
        args = Vector((self.name.encode(), self.node_id.encode()))
        return Publish(self.topics.nodeid_topic(node_id), Event(HELLO, args, self._metadata))

    def hello(self, name: str, node_id: str) -> list[Action]:
        """A node said hello, perhaps once more.

        A second ID for a name is a mistake, of a site that has given it to two nodes, or of one that came back before
        anybody saw it go. The new ID counts; that the node is up is no news.
        """
        node = self._nodes.get(name)
        if node is None:
            return [Note(f"got hello from unexpected node {shown(name)!r} ({shown(node_id)})", "unknown_node")]
        actions: list[Action] = []
        former = self._ids.get(name)
        if former is None:
            actions.append(NodeUp(node, node_id))
        elif former != node_id:
            actions.append(Note(f"got hello from duplicate node {name!r}: {shown(node_id)}", "duplicate_node"))
            self._forget(name)
        if self._names.get(node_id, name) != name:
            # One connection, two names: it is up under both for Zeek, and goes down under the first only.
            actions.append(Note(f"{shown(node_id)} is {name!r} and {self._names[node_id]!r}", "second_name"))
        self._ids[name] = node_id
        self._names.setdefault(node_id, name)
        if node.type is NodeType.WORKER:
            self._workers.add(node_id)
        actions.append(Note(f"got hello from {name} ({shown(node_id)})"))
        if former is None and node.type is NodeType.MANAGER and self._says_connected:
            actions.append(self._connected())
        return actions

    def lost(self, node_id: str) -> list[Action]:
        """The node of an ID has gone; nothing if nobody of that ID is up."""
        name = self._names.get(node_id)
        if name is None:
            return []
        self._forget(name)
        return [Note(f"node down: {name}"), NodeDown(self._nodes[name], node_id)]

    def _forget(self, name: str) -> None:
        node_id = self._ids.pop(name)
        self._workers.discard(node_id)
        if self._names.get(node_id) == name:
            del self._names[node_id]
            for other, its_id in self._ids.items():
                if its_id == node_id:
                    self._names[node_id] = other
                    break

    def _connected(self) -> Publish:
        return Publish(self.topics.manager, Event.make(_CONNECTED, self.name.encode(), self.node_id.encode(), False))
