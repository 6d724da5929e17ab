"""Presence on ZeroMQ, where nobody has connections: subscriptions stand for them.

A node shows itself by subscribing to the topic of its ID. Everybody who sees that greets it there, first with the
backend's own hello. Whoever has seen both another's subscription and its greeting, in either order, says
``Cluster::hello``, and that counts as up. A subscription that ends is a node that has gone.

When the proxy between all nodes starts anew, everybody sees all subscriptions again. Zeek's nodes greet each other once
more and complain; we recognise who is up already, and keep quiet.

Source: Zeek, ``scripts/policy/frameworks/cluster/backend/zeromq/main.zeek``; ``src/cluster/backend/zeromq/ZeroMQ.cc``
(readiness).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeAlias

import msgspec

from appliance.wire.presence import HELLO, MAX_ID, Action, NodeTable, Note, Publish, hello_of, shown
from appliance.zeek.messages import Event

__all__ = [
    "HELLO_EXPIRATION_NS",
    "MAX_STRANGERS",
    "ZEROMQ_HELLO",
    "Ready",
    "Subscribe",
    "ZeromqAction",
    "ZeromqPresence",
]

ZEROMQ_HELLO = "Cluster::Backend::ZeroMQ::hello"
HELLO_EXPIRATION_NS = 10 * 10**9
"""``hello_expiration``: how long half of a greeting waits for its other half."""
_INTERNAL = "zeek.zeromq.internal."
MAX_STRANGERS = 1024
"""Halves of greetings that wait at a time; beyond them the oldest goes. Clusters have a few hundred nodes."""


class Subscribe(msgspec.Struct, frozen=True):
    """A subscription to begin or to end."""

    topic: str
    is_on: bool = True


class Ready(msgspec.Struct, frozen=True):
    """Our subscriptions are known to the proxy, and those of the others to us: publish."""


ZeromqAction: TypeAlias = Action | Subscribe | Ready


class ZeromqPresence:
    """What to do on subscriptions and hellos.

    Args:
        table: of nodes, with the ID that our messages carry in their second frame.
        expiration_ns: see `HELLO_EXPIRATION_NS`.
        announces: take part in presence. Whoever does not must not subscribe to the topic of an ID: everybody would
            greet it.
    """

    def __init__(self, table: NodeTable, *, expiration_ns: int = HELLO_EXPIRATION_NS, announces: bool = True) -> None:
        self.table = table
        self._announces = announces
        self._expiration_ns = expiration_ns
        self._subscribed: OrderedDict[str, int] = OrderedDict()
        self._greeted: OrderedDict[str, int] = OrderedDict()
        self._echo = ""
        self._echoes = 0
        self.is_ready = False

    # ── readiness ──

    def start(self) -> list[ZeromqAction]:
        """Subscribe to our topics; to be called for every new pair of sockets."""
        self.is_ready = False
        topics = self.table.topics
        wanted: list[ZeromqAction] = [Subscribe(topic) for topic in self.own_topics]
        if topics.internal or not self._announces:
            self._echoes += 1
            self._echo = f"{topics.internal or _INTERNAL}{self.table.node_id}.{self._echoes}."
            wanted.append(Subscribe(self._echo))
        else:
            self._echo = topics.nodeid_topic(self.table.node_id)
        return wanted

    @property
    def own_topics(self) -> tuple[str, ...]:
        """Topics of our name and ID; none if we do not take part."""
        return self.table.topics.own_topics(self.table.name, self.table.node_id) if self._announces else ()

    def _hear_echo(self) -> list[ZeromqAction]:
        is_news, self.is_ready = not self.is_ready, True
        if not is_news:
            return []
        is_own_topic = self._echo == self.table.topics.nodeid_topic(self.table.node_id)
        return [Ready()] if is_own_topic else [Ready(), Subscribe(self._echo, is_on=False)]

    # ── others ──

    def subscription(self, topic: str, now_ns: int) -> list[ZeromqAction]:
        """Somebody has subscribed, perhaps not for the first time."""
        if topic == self._echo:
            return self._hear_echo()
        if not self._announces:
            return []
        node_id = self.table.topics.id_of(topic)
        if node_id is None or node_id == self.table.node_id or self.table.name_of(node_id) is not None:
            return []
        if len(node_id) > MAX_ID:
            return [Note(f"an ID that is too long: {shown(node_id)}", "long_id")]
        table = self.table
        greeting = Event.make(ZEROMQ_HELLO, table.name.encode(), table.node_id.encode())
        actions: list[ZeromqAction] = [Publish(table.topics.nodeid_topic(node_id), greeting)]
        if self._greeted.pop(node_id, None) is not None:
            actions.append(table.greet(node_id))
        else:
            actions += self._wait(self._subscribed, node_id, now_ns)
        return actions

    def unsubscription(self, topic: str) -> list[ZeromqAction]:
        """A subscription has ended: that of a node that has gone, if it was its ID's."""
        node_id = self.table.topics.id_of(topic)
        if node_id is None or node_id == self.table.node_id or not self._announces:
            return []
        self._subscribed.pop(node_id, None)
        self._greeted.pop(node_id, None)
        return [*(self.table.lost(node_id) or [Note(f"unknown node has gone: {shown(node_id)}", "unknown_id")])]

    def receive(self, event: Event, sender: str, now_ns: int) -> list[ZeromqAction]:
        """Take an event and the ID in its second frame; our own, and what is not about presence, is left alone."""
        if event.name not in (HELLO, ZEROMQ_HELLO) or sender == self.table.node_id or not self._announces:
            return []
        who = hello_of(event)
        if who is None:
            return [Note(f"a {event.name} without name and ID", "bad_hello")]
        if event.name == ZEROMQ_HELLO:
            return self._hear_greeting(*who, now_ns)
        actions: list[ZeromqAction] = [*self.table.hello(*who)]
        node_id = who[1]
        self._greeted.pop(node_id, None)
        if self._subscribed.pop(node_id, None) is not None and self.table.name_of(node_id) is not None:
            # Its greeting was lost, and it cannot be up for us alone.
            actions.append(self.table.greet(node_id))
        return actions

    def _hear_greeting(self, name: str, node_id: str, now_ns: int) -> list[ZeromqAction]:
        # Also from names that we do not know: we are up for them, whatever they are for us.
        actions: list[ZeromqAction] = []
        former = self.table.id_of(name)
        if former == node_id:
            return []
        if former is not None:
            actions.append(Note(f"node {name!r} never said goodbye, was {shown(former)}", "no_goodbye"))
            actions += self.table.lost(former)
        if self._subscribed.pop(node_id, None) is not None:
            actions.append(self.table.greet(node_id))
        else:
            actions += self._wait(self._greeted, node_id, now_ns)
        return actions

    # ── halves of greetings ──

    def _wait(self, halves: OrderedDict[str, int], node_id: str, now_ns: int) -> list[ZeromqAction]:
        halves.pop(node_id, None)
        halves[node_id] = now_ns + self._expiration_ns
        if len(halves) <= MAX_STRANGERS:
            return []
        oldest, _ = halves.popitem(last=False)
        return [Note(f"too many half greetings, forgot {shown(oldest)}", "too_many_strangers")]

    @property
    def deadline_ns(self) -> int | None:
        """When `expire` has something to do; None: never."""
        return min(
            (next(iter(halves.values())) for halves in (self._subscribed, self._greeted) if halves), default=None
        )

    def expire(self, now_ns: int) -> list[ZeromqAction]:
        """Give up halves of greetings whose other half has not come."""
        actions: list[ZeromqAction] = []
        for halves, what in ((self._subscribed, "subscription"), (self._greeted, "hello")):
            while halves and next(iter(halves.values())) <= now_ns:
                node_id, _ = halves.popitem(last=False)
                actions.append(Note(f"{what} of {shown(node_id)} without its other half", f"expired_{what}"))
        return actions
