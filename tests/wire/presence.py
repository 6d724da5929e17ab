"""What presence is played with: layouts, tables, and a ZeroMQ bus without ZeroMQ."""

from __future__ import annotations

from collections import deque
from typing import Any

from appliance.wire.presence import Action, NodeDown, NodeTable, NodeUp, Note, Publish
from appliance.wire.presence_zeromq import Ready, Subscribe, ZeromqAction, ZeromqPresence
from appliance.zeek.layout import ClusterLayout, LayoutNode, NodeType
from appliance.zeek.topics import Backend, cluster_topics
from appliance.zeek.version import parse_version

LAYOUT = ClusterLayout(
    nodes=tuple(
        LayoutNode(name=name, type=NodeType(name.partition("-")[0])) for name in ("manager", "logger-1", "worker-1")
    )
)


def make_table(
    name: str,
    node_id: str,
    *,
    version: str = "8.0",
    backend: Backend = "broker",
    layout: ClusterLayout = LAYOUT,
    says_connected: bool = False,
) -> NodeTable:
    topics = cluster_topics(parse_version(version), backend)
    return NodeTable(layout, topics, name=name, node_id=node_id, says_connected=says_connected)


def news(actions: list[Action] | list[ZeromqAction]) -> list[str]:
    """Actions as short texts."""
    return [_tell(action) for action in actions]


def _tell(action: ZeromqAction) -> str:
    match action:
        case Publish(topic, event):
            return f"> {topic} {event.name} " + " ".join(
                each.decode() if isinstance(each, bytes) else str(each) for each in event.args
            )
        case NodeUp(node, node_id):
            return f"up {node.name} {node_id}"
        case NodeDown(node, node_id):
            return f"down {node.name} {node_id}"
        case Note(message, reason):
            return f"! {reason}" if reason else f"log {message}"
        case Subscribe(topic, is_on):
            return f"{'+' if is_on else '-'} {topic}"
        case Ready():
            return "ready"


class Bus:
    """A proxy and the nodes on it: every subscription is told to everybody, messages go by prefix.

    What happens next is whatever is first in line; `shuffle` may change the line, but for what one node says.
    """

    def __init__(self) -> None:
        self.nodes: dict[str, ZeromqPresence] = {}
        self.topics: dict[str, list[str]] = {}
        self.told: list[str] = []
        self.line: deque[tuple[str, str, Any]] = deque()
        self.now_ns = 0
        self.is_proxy_up = True

    def join(self, node: ZeromqPresence) -> None:
        node_id = node.table.node_id
        for other in self.topics.values():
            for topic in other:
                self._later(node_id, "subscription", topic)
        self.nodes[node_id] = node
        self.topics[node_id] = []
        self.obey(node_id, node.start())

    def kill(self, node_id: str) -> None:
        """The process dies; the proxy tells of it, if it is there."""
        del self.nodes[node_id]
        topics = self.topics.pop(node_id)
        self.line = deque(each for each in self.line if each[0] != node_id)
        if self.is_proxy_up:
            for topic in topics:
                for other in self.nodes:
                    self._later(other, "unsubscription", topic)

    def restart_proxy(self) -> None:
        """Nothing ends, and everything is told once more."""
        self.is_proxy_up = True
        for topics in list(self.topics.values()):
            for topic in topics:
                for other in self.nodes:
                    self._later(other, "subscription", topic)

    def _later(self, node_id: str, what: str, thing: Any) -> None:
        self.line.append((node_id, what, thing))

    def obey(self, node_id: str, actions: list[ZeromqAction]) -> None:
        for action in actions:
            match action:
                case Subscribe(topic, True):
                    self.topics[node_id].append(topic)
                    for other in self.nodes:
                        self._later(other, "subscription", topic)
                case Subscribe(topic, False):
                    self.topics[node_id].remove(topic)
                    for other in self.nodes:
                        self._later(other, "unsubscription", topic)
                case Publish(topic, event):
                    for other, topics in self.topics.items():
                        if any(topic.startswith(each) for each in topics) and other in self.nodes:
                            self._later(other, "event", (event, node_id))
                case _:
                    self.told.append(f"{self.nodes[node_id].table.name}: {_tell(action)}")

    def step(self) -> None:
        node_id, what, thing = self.line.popleft()
        node = self.nodes.get(node_id)
        if node is None:
            return
        if what == "event":
            event, sender = thing
            self.obey(node_id, node.receive(event, sender, self.now_ns))
        elif what == "subscription":
            self.obey(node_id, node.subscription(str(thing), self.now_ns))
        else:
            self.obey(node_id, node.unsubscription(str(thing)))

    def settle(self) -> None:
        while self.line:
            self.step()

    def complaints(self) -> list[str]:
        """Mistakes that were told of."""
        return [each for each in self.told if ": ! " in each]
