"""Our node as one of a cluster: who is up, what is told of it, and who of a pool a message is for.

Presence itself is in `appliance.wire`; here its actions become subscriptions, messages, items and figures.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable

import structlog
from msgspec.structs import replace

from appliance.config import Membership
from appliance.model import Item
from appliance.runtime.logs import Throttle
from appliance.runtime.outlet import PoolKey
from appliance.wire.cluster_news import cluster_line, node_status
from appliance.wire.presence import HELLO, Action, NodeDown, NodeTable, NodeUp, Note, Publish, hello_of
from appliance.wire.presence_zeromq import Ready, Subscribe, ZeromqAction, ZeromqPresence
from appliance.wire.zeromq_events import Subscription
from appliance.zeek.convert import to_text
from appliance.zeek.messages import Event

__all__ = ["MAX_HELLOS", "ClusterMember"]

log = structlog.get_logger("cluster")

MAX_HELLOS = 4096
"""Nodes whose hellos are remembered for the next layout; a cluster has a few hundred."""


class ClusterMember:
    """See the module.

    Args:
        membership: who we are, and who there is.
        announces: whether we take part in presence.
        node_id: our ID.
        subscribe: takes a topic and whether it is wanted.
        publish: sends an event, whether somebody listens or not.
        tell: hands an item on, without waiting.
        clock_ns: wall time.
    """

    def __init__(
        self,
        membership: Membership,
        *,
        announces: bool,
        node_id: str,
        subscribe: Callable[[str, bool], None],
        publish: Callable[[str, Event], None],
        tell: Callable[[Item], None],
        clock_ns: Callable[[], int],
    ) -> None:
        self.membership = membership
        self._node_id = node_id
        self._subscribe, self._publish, self._tell, self._clock_ns = subscribe, publish, tell, clock_ns
        self._throttle = Throttle()
        self._hellos: OrderedDict[str, str] = OrderedDict()
        self.oddities: Counter[str] = Counter()
        """What was wrong with the presence of others, by reason."""
        self._presence = ZeromqPresence(self._make_table(), announces=announces)
        self._pools = membership.make_pools()

    def _make_table(self) -> NodeTable:
        member = self.membership
        return NodeTable(
            member.layout,
            member.topics,
            name=member.name,
            node_id=self._node_id,
            says_connected=member.says_connected,
        )

    @property
    def table(self) -> NodeTable:
        return self._presence.table

    @property
    def is_ready(self) -> bool:
        """Whether what is published reaches whoever has subscribed to it."""
        return self._presence.is_ready

    @property
    def own_topics(self) -> tuple[str, ...]:
        """Without which we are down for the others."""
        return self._presence.own_topics

    # ── what is heard ──

    def start(self) -> None:
        """Subscribe to our own topics, and find out when everybody knows."""
        self._obey(self._presence.start())

    def hear_subscription(self, subscription: Subscription) -> None:
        """Somebody has begun or ended to listen."""
        if subscription.is_on:
            self._obey(self._presence.subscription(subscription.topic, self._clock_ns()))
            return
        node_id = self.table.topics.id_of(subscription.topic)
        self._hellos.pop(node_id or "", None)
        self._obey(self._presence.unsubscription(subscription.topic))

    def hear_hello(self, event: Event, sender: str) -> None:
        """Take an event that is about presence."""
        if event.name == HELLO and (who := hello_of(event)) is not None:
            name, node_id = who
            self._hellos[node_id] = name
            if len(self._hellos) > MAX_HELLOS:
                self._hellos.popitem(last=False)
        self._obey(self._presence.receive(event, sender, self._clock_ns()))

    @property
    def deadline_ns(self) -> int | None:
        """When `expire` has something to do; None: never."""
        return self._presence.deadline_ns

    def expire(self) -> None:
        """Give up halves of greetings that have waited long enough."""
        self._obey(self._presence.expire(self._clock_ns()))

    def note(self, note: Note) -> None:
        """A line of ``cluster.log``, or something odd."""
        if not note.reason:
            self._tell(cluster_line(self.membership.name, note.message, self._clock_ns()))
            return
        self.oddities[note.reason] += 1
        if (held := self._throttle.admit(note.reason)) is not None:
            log.warning(note.message, reason=note.reason, more=held)

    def _obey(self, actions: Iterable[ZeromqAction | Action]) -> None:
        for action in actions:
            match action:
                case Subscribe(topic, is_on):
                    self._subscribe(topic, is_on)
                case Publish(topic, event):
                    self._publish(topic, event)
                case Ready():
                    log.info("the cluster hears us", node=to_text(self.membership.name))
                case NodeUp(node):
                    self._pools.up(node.name)
                    log.info("node is up", node=to_text(node.name), type=node.type.value)
                    self._tell(node_status(action, self._clock_ns()))
                case NodeDown(node):
                    self._pools.down(node.name)
                    log.info("node is down", node=to_text(node.name), type=node.type.value)
                    self._tell(node_status(action, self._clock_ns()))
                case Note():
                    self.note(action)

    # ── another layout ──

    def can_become(self, membership: Membership) -> bool:
        """Whether `change` can be done: what the others know of us is the same."""
        layout, says_connected = membership.layout, membership.says_connected
        return replace(self.membership, layout=layout, says_connected=says_connected) == membership

    def change(self, membership: Membership) -> None:
        """Take over another layout; who is up only now, or unknown from now on, is told."""
        former, nodes = self.table, {node.name: node for node in self.membership.layout.nodes}
        self.membership = membership
        table = self._presence.table = self._make_table()
        self._pools = membership.make_pools()
        for node_id, name in self._hellos.items():
            table.hello(name, node_id)
        for name in former.up:
            if table.id_of(name) is None:
                self._tell(node_status(NodeDown(nodes[name], former.id_of(name) or ""), self._clock_ns()))
        for node in membership.layout.nodes:
            if (up_id := table.id_of(node.name)) is not None:
                self._pools.up(node.name)
                if former.id_of(node.name) is None:
                    self._tell(node_status(NodeUp(node, up_id), self._clock_ns()))

    # ── pools ──

    def pool_topic(self, pool: str, key: PoolKey, *, by_hash: bool) -> str:
        """See `appliance.runtime.outlet.Chooser`."""
        return self._pools.topic_for(pool, key, by_hash=by_hash)
