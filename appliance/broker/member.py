"""Our endpoint as a node of a cluster: who is up, what is told of it, and who of a pool a message is for.

Presence itself is in `appliance.wire`; here its actions become messages, items and figures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable

import msgspec
import structlog
import trio

from appliance.config import Membership
from appliance.errors import RemoteProtocolError
from appliance.model import EventBatch, Item
from appliance.runtime.logs import Throttle
from appliance.runtime.outlet import PoolKey
from appliance.wire.cluster_news import cluster_line, node_status
from appliance.wire.presence import Action, NodeDown, NodeTable, NodeUp, Note, Publish
from appliance.wire.presence_broker import BrokerPresence
from appliance.zeek.convert import to_text
from appliance.zeek.messages import Event, decode_message
from appliance.zeek.pools import Pools

__all__ = ["ClusterFigures", "ClusterMember", "NodeFigures", "PoolFigures"]

log = structlog.get_logger("cluster")

_USELESS = ("bad_hello", "foreign_hello")


class NodeFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One node of the layout."""

    name: str
    type: str
    is_up: bool
    id: str
    """Empty if it is not up."""
    since_s: float
    """For how long it has been up; 0 if it is not."""


class PoolFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One pool."""

    topic: str
    members: tuple[str, ...]
    alive: int


class ClusterFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The cluster as we see it at one moment."""

    node: str
    """Our name."""
    role: str
    announced: bool
    """Whether we take part in presence; if not, nobody is up for us."""
    up: int
    nodes: tuple[NodeFigures, ...]
    """The layout's, without us."""
    worker_count: int
    pools: tuple[PoolFigures, ...]
    refused: dict[str, int]
    """Hellos that were of no use, and other mistakes, by reason, since the start."""


class ClusterMember:
    """See the module.

    Args:
        membership: who we are, and who there is.
        tell: hands an item on.
        publish: queues an event for all peers that want its topic.
        clock_ns: wall time.
    """

    def __init__(
        self,
        membership: Membership,
        *,
        tell: Callable[[Item], Awaitable[None]],
        publish: Callable[[str, Event], None],
        clock_ns: Callable[[], int],
    ) -> None:
        self.membership = membership
        self._tell, self._publish, self._clock_ns = tell, publish, clock_ns
        self._throttle = Throttle()
        self._refused: Counter[str] = Counter()
        self._since: dict[str, float] = {}
        self._heard: dict[str, tuple[str, ...]] = {}
        """Names under which each peer has said hello, by its ID; whether they are of the layout or not."""
        self.open("")

    def open(self, me: str) -> None:
        """Begin anew, with this ID of our endpoint."""
        self._me = me
        self._heard.clear()
        self._since.clear()
        self._build()

    def _build(self) -> None:
        member = self.membership
        table = NodeTable(
            member.layout, member.topics, name=member.name, node_id=self._me, says_connected=member.says_connected
        )
        self._presence = BrokerPresence(table)
        self._pools: Pools = member.make_pools()
        own = self._presence.own_topics if member.announce else ()
        self._hello_topics = frozenset(own)
        self.topics: tuple[str, ...] = (*member.role_topics, *own)
        """What we subscribe to, as one of our role and name."""

    @property
    def _table(self) -> NodeTable:
        return self._presence.table

    def statistics(self) -> ClusterFigures:
        member, now = self.membership, trio.current_time()
        nodes = [
            NodeFigures(
                name=to_text(node.name),
                type=node.type.value,
                is_up=node.name in self._since,
                id=to_text(self._table.id_of(node.name) or ""),
                since_s=round(now - self._since.get(node.name, now), 3),
            )
            for node in member.layout.nodes
            if node.name != member.name
        ]
        return ClusterFigures(
            node=to_text(member.name),
            role=member.role.value,
            announced=member.announce,
            up=len(self._since),
            nodes=tuple(nodes),
            worker_count=self._table.worker_count,
            pools=tuple(
                PoolFigures(topic=pool.spec.topic, members=pool.members, alive=pool.alive_count) for pool in self._pools
            ),
            refused=dict(self._refused),
        )

    def name_of(self, peer: str) -> str:
        """The node that a peer is; empty if it has not said hello."""
        return self._table.name_of(peer) or ""

    # ── presence ──

    def greeting_for(self, peer: str) -> Publish | None:
        """What to send to a new peer as soon as it wants the topic; None if we keep silent."""
        if not self.membership.announce:
            return None
        (hello,) = self._presence.peer_added(peer)
        assert isinstance(hello, Publish)
        return hello

    async def hear(self, batch: EventBatch) -> None:
        """Take events that may be hellos."""
        if batch.topic not in self._hello_topics:
            return
        for payload in batch.payloads():
            try:
                event = decode_message(payload)
            except RemoteProtocolError:
                continue
            if isinstance(event, Event):
                actions = self._presence.receive(event, batch.peer)
                if not any(isinstance(each, Note) and each.reason in _USELESS for each in actions):
                    self._remember(batch.peer, event)
                await self._act(actions)

    def _remember(self, peer: str, event: Event) -> None:
        name = bytes(event.args[0]).decode("utf-8", "surrogateescape")  # type: ignore[arg-type]
        names = self._heard.get(peer, ())
        if name not in names:
            self._heard[peer] = (*names, name)[-2:]

    async def peer_gone(self, peer: str) -> None:
        """A peering has ended."""
        self._heard.pop(peer, None)
        actions: list[Action] = []
        while lost := self._presence.peer_gone(peer):  # one peer may have been up under two names
            actions += lost
        await self._act(actions)

    def can_become(self, membership: Membership) -> bool:
        """Whether `change` can be done while peers stay: what they know of us is the same."""
        old = self.membership
        return msgspec.structs.replace(old, layout=membership.layout, says_connected=membership.says_connected) == (
            membership
        )

    def change(self, membership: Membership) -> list[Item]:
        """Take over another layout; returns what is to be told, who is up only now and who is unknown from now on."""
        before = {name: node_id for name in self._table.up if (node_id := self._table.id_of(name)) is not None}
        nodes = {node.name: node for node in self.membership.layout.nodes}
        self.membership = membership
        self._build()
        for peer, names in self._heard.items():
            for name in names:
                self._table.hello(name, peer)
        news: list[Item] = []
        for name in [each for each in before if self._table.id_of(each) is None]:
            self._since.pop(name, None)
            news.append(node_status(NodeDown(nodes[name], before[name]), self._clock_ns()))
        for node in membership.layout.nodes:
            if (node_id := self._table.id_of(node.name)) is not None:
                self._pools.up(node.name)
                if node.name not in before:
                    self._since[node.name] = trio.current_time()
                    news.append(node_status(NodeUp(node, node_id), self._clock_ns()))
        return news

    async def note(self, message: str) -> None:
        """Write a line of our own ``cluster.log``."""
        await self._tell(cluster_line(self.membership.name, message, self._clock_ns()))

    async def _act(self, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case Publish(topic, event):
                    self._publish(topic, event)
                case NodeUp(node):
                    self._since[node.name] = trio.current_time()
                    self._pools.up(node.name)
                    log.info("node is up", node=to_text(node.name), type=node.type.value)
                    await self._tell(node_status(action, self._clock_ns()))
                case NodeDown(node):
                    self._since.pop(node.name, None)
                    self._pools.down(node.name)
                    log.info("node is down", node=to_text(node.name), type=node.type.value)
                    await self._tell(node_status(action, self._clock_ns()))
                case Note(message, ""):
                    await self.note(message)
                case Note(message, reason):
                    self._refused[reason] += 1
                    if (held := self._throttle.admit(reason)) is not None:
                        log.warning(message, reason=reason, more=held)

    # ── pools ──

    def pool_topic(self, pool: str, key: PoolKey, *, by_hash: bool) -> str:
        """See `Chooser`."""
        return self._pools.topic_for(pool, key, by_hash=by_hash)
