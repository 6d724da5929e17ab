"""The roster: who of the layout is up, what is told of it, and who of a pool a message is for."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator

import structlog
import trio
from msgspec.structs import replace

from appliance.config import Membership
from appliance.model import Item
from appliance.runtime.logs import Throttle
from appliance.runtime.outlet import PoolKey
from appliance.wire.cluster_news import cluster_line, node_status
from appliance.wire.presence import NodeDown, NodeTable, NodeUp, Note
from appliance.zeek.convert import to_text
from appliance.zeek.layout import LayoutNode

from .figures import ClusterFigures, NodeFigures, PoolFigures

__all__ = ["MAX_HELLOS", "Roster"]

log = structlog.get_logger("cluster")

MAX_HELLOS = 4096
"""IDs whose hellos are remembered for the next layout; a cluster has a few hundred."""
_NAMES_OF_ONE = 2
"""Names that are remembered of one ID: more than one is a mistake already."""


class Roster:
    """See the module.

    Args:
        membership: who we are, and who there is.
        announced: whether we take part in presence.
        clock_ns: wall time.
    """

    def __init__(self, membership: Membership, *, announced: bool, clock_ns: Callable[[], int]) -> None:
        self._announced, self._clock_ns = announced, clock_ns
        self._throttle = Throttle()
        self.refused: Counter[str] = Counter()
        """What was wrong with the presence of others, by reason, since the start."""
        self._begin(membership, "")

    def _begin(self, membership: Membership, node_id: str) -> None:
        self._heard: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        self._since: dict[str, float] = {}
        self._enter(membership, node_id)

    def _enter(self, membership: Membership, node_id: str) -> None:
        self.membership = membership
        self.pools = membership.make_pools()
        self.table = NodeTable(
            membership.layout,
            membership.topics,
            name=membership.name,
            node_id=node_id,
            says_connected=membership.says_connected,
        )

    def open(self, node_id: str) -> None:
        """Begin anew, with this ID of ours: nobody is up, nobody has been heard."""
        self._begin(self.membership, node_id)

    def statistics(self) -> ClusterFigures:
        member, now = self.membership, trio.current_time()
        nodes = [
            NodeFigures(
                name=to_text(node.name),
                type=node.type.value,
                is_up=node.name in self._since,
                id=to_text(self.table.id_of(node.name) or ""),
                since_s=round(now - self._since.get(node.name, now), 3),
            )
            for node in member.layout.nodes
            if node.name != member.name
        ]
        return ClusterFigures(
            node=to_text(member.name),
            role=member.role.value,
            announced=self._announced,
            up=len(self._since),
            nodes=tuple(nodes),
            worker_count=self.table.worker_count,
            pools=tuple(
                PoolFigures(topic=pool.spec.topic, members=pool.members, alive=pool.alive_count) for pool in self.pools
            ),
            refused=dict(self.refused),
        )

    # ── who has said hello, whether of the layout or not ──

    def remember(self, node_id: str, name: str) -> None:
        """The node of an ID has said hello under a name, which counts again if the layout changes."""
        names = self._heard.get(node_id, ())
        if name not in names:
            self._heard[node_id] = (*names, name)[-_NAMES_OF_ONE:]
        if len(self._heard) > MAX_HELLOS:
            self._heard.popitem(last=False)

    def forget(self, node_id: str) -> None:
        """The connection or subscription of an ID has ended."""
        self._heard.pop(node_id, None)

    # ── what is told ──

    def take(self, news: NodeUp | NodeDown | Note) -> Item | None:
        """Note down what presence has found out; returns what is to be handed on."""
        match news:
            case NodeUp(node):
                self._mark(node, is_up=True)
                return node_status(news, self._clock_ns())
            case NodeDown(node):
                self._mark(node, is_up=False)
                return node_status(news, self._clock_ns())
            case Note(message, ""):
                return self.line(message)
        self.refused[news.reason] += 1
        if (held := self._throttle.admit(news.reason)) is not None:
            log.warning(news.message, reason=news.reason, more=held)
        return None

    def line(self, message: str) -> Item:
        """A line of our own ``cluster.log``."""
        return cluster_line(self.membership.name, message, self._clock_ns())

    def _mark(self, node: LayoutNode, *, is_up: bool) -> None:
        if is_up:
            self._since[node.name] = trio.current_time()
            self.pools.up(node.name)
        else:
            self._since.pop(node.name, None)
            self.pools.down(node.name)
        log.info("node is up" if is_up else "node is down", node=to_text(node.name), type=node.type.value)

    # ── another layout ──

    def can_become(self, membership: Membership) -> bool:
        """Whether `change` can be done while connections stay: what the others know of us is the same."""
        layout, says_connected = membership.layout, membership.says_connected
        return replace(self.membership, layout=layout, says_connected=says_connected) == membership

    def change(self, membership: Membership) -> list[Item]:
        """Take over another layout; returns what is to be told: who is unknown from now on, and who is up only now."""
        former, nodes = self.table, {node.name: node for node in self.membership.layout.nodes}
        self._enter(membership, former.node_id)
        for node_id, names in self._heard.items():
            for name in names:
                self.table.hello(name, node_id)
        return list(self._compare(former, nodes))

    def _compare(self, former: NodeTable, nodes: dict[str, LayoutNode]) -> Iterator[Item]:
        for name in former.up:
            if self.table.id_of(name) is None:
                self._mark(nodes[name], is_up=False)
                yield node_status(NodeDown(nodes[name], former.id_of(name) or ""), self._clock_ns())
        for node in self.membership.layout.nodes:
            node_id = self.table.id_of(node.name)
            if node_id is not None and former.id_of(node.name) is None:
                self._mark(node, is_up=True)
                yield node_status(NodeUp(node, node_id), self._clock_ns())
            elif node_id is not None:
                self.pools.up(node.name)

    # ── pools ──

    def pool_topic(self, pool: str, key: PoolKey, *, by_hash: bool) -> str:
        """See `appliance.runtime.outlet.Chooser`."""
        return self.pools.topic_for(pool, key, by_hash=by_hash)
