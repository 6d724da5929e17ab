"""Pools: which nodes share a kind of work, and whose turn it is.

Every node computes the same members from the layout alone. Who of them is alive everybody learns for itself, from
`Pools.up` and `Pools.down`.

Source: Zeek, ``scripts/base/frameworks/cluster/pools.zeek``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator

import msgspec

from .layout import ClusterLayout, NodeType
from .rendezvous import Key, digest, heaviest, site_id
from .topics import ClusterTopics
from .values import Count

__all__ = ["MAX_KEYS", "Pool", "PoolSpec", "Pools", "builtin_specs"]

MAX_KEYS = 4096
"""Keys of one pool whose turn is remembered; beyond them the one that was not used for longest starts anew."""

_POOLED = (NodeType.WORKER, NodeType.PROXY, NodeType.LOGGER)


class PoolSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a pool is to be."""

    topic: str
    """Reaches all members."""
    node_type: NodeType
    max_nodes: int | None = None
    exclusive: bool = False
    """Its members are in no other pool."""


class _Member(msgspec.Struct):
    name: str
    site: int
    is_alive: bool


class Pool:
    """One pool; made by `Pools`."""

    def __init__(self, spec: PoolSpec, names: Iterable[str], topics: ClusterTopics, own: str) -> None:
        self.spec = spec
        self._topics = topics
        self._members: list[_Member] = []
        self._sites: dict[int, str] = {}
        self._turns: OrderedDict[str, int] = OrderedDict()
        taken: set[int] = set()
        for name in names:
            number = 0
            while (site := site_id(f"{name}.{number}", topics.version)) in taken:
                number += 1
            taken.add(site)
            self._members.append(_Member(name, site, name == own))

    @property
    def members(self) -> tuple[str, ...]:
        """Their names, in the order of their turns."""
        return tuple(member.name for member in self._members)

    @property
    def alive_count(self) -> int:
        """How many are alive."""
        return sum(member.is_alive for member in self._members)

    def mark(self, name: str, *, is_alive: bool) -> None:
        """A node came or went; one that is no member does not matter."""
        for member in self._members:
            if member.name == name and member.is_alive != is_alive:
                member.is_alive = is_alive
                if is_alive:
                    self._sites[member.site] = name
                else:
                    self._sites.pop(member.site, None)

    def rr_name(self, key: str = "") -> str | None:
        """The member whose turn it is, and the next one's turn then; None if none is alive."""
        count = len(self._members)
        start = self._turns.pop(key, 0)
        for step in range(count):
            member = self._members[(start + step) % count]
            if member.is_alive:
                self._remember(key, (start + step + 1) % count)
                return member.name
        self._remember(key, start)
        return None

    def _remember(self, key: str, turn: int) -> None:
        self._turns[key] = turn
        if len(self._turns) > MAX_KEYS:
            self._turns.popitem(last=False)

    def hrw_name(self, key: Key) -> str | None:
        """The member that a key belongs to; None if none is up. We ourselves never are, for nobody tells us so.

        Raises:
            TypeError: a key that we cannot hash as Zeek does.
        """
        site = heaviest(digest(key, self._topics.version), self._sites)
        return None if site is None else self._sites[site]

    def rr_topic(self, key: str = "") -> str:
        """Topic of `rr_name`, empty if there is none."""
        name = self.rr_name(key)
        return "" if name is None else self._topics.node_topic(name)

    def hrw_topic(self, key: Key) -> str:
        """Topic of `hrw_name`, empty if there is none."""
        name = self.hrw_name(key)
        return "" if name is None else self._topics.node_topic(name)


def builtin_specs(topics: ClusterTopics) -> tuple[PoolSpec, ...]:
    """The three pools that every cluster has."""
    return (
        PoolSpec(topic=topics.worker_pool, node_type=NodeType.WORKER),
        PoolSpec(topic=topics.proxy_pool, node_type=NodeType.PROXY),
        PoolSpec(topic=topics.logger_pool, node_type=NodeType.LOGGER),
    )


class Pools:
    """All pools of a cluster.

    Args:
        layout: who there is.
        topics: how they are called.
        own: our name.
        specs: the pools, by distinct topics.

    Raises:
        ValueError: pools that Zeek refuses to start with.
    """

    def __init__(self, layout: ClusterLayout, topics: ClusterTopics, own: str, specs: Iterable[PoolSpec]) -> None:
        ordered = sorted(specs, key=lambda spec: spec.topic.encode("utf-8", "surrogateescape"))
        eligible = {kind: [node.name for node in layout.of_type(kind)] for kind in _POOLED}
        managers = layout.of_type(NodeType.MANAGER)
        if layout.is_manager_logging and managers:
            eligible[NodeType.LOGGER].append(managers[0].name)
        _check(ordered, eligible)
        chosen: dict[str, list[str]] = {}
        for spec in ordered:
            if spec.exclusive:
                names = eligible[spec.node_type]
                chosen[spec.topic] = names[: spec.max_nodes]
                del names[: spec.max_nodes]
        cursors = dict.fromkeys(_POOLED, 0)
        for spec in ordered:
            if not spec.exclusive:
                names, cursor = eligible[spec.node_type], cursors[spec.node_type]
                count = len(names) if spec.max_nodes is None else min(spec.max_nodes, len(names))
                chosen[spec.topic] = [names[(cursor + step) % len(names)] for step in range(count)]
                cursors[spec.node_type] = (cursor + count) % len(names) if names else 0
        self._pools = {spec.topic: Pool(spec, chosen[spec.topic], topics, own) for spec in ordered}
        self._own = own
        self._topics = topics

    def __iter__(self) -> Iterator[Pool]:
        return iter(self._pools.values())

    def __getitem__(self, topic: str) -> Pool:
        return self._pools[topic]

    def topic_for(self, pool: str, key: str | bytes | int, *, by_hash: bool) -> str:
        """The topic of the member of a pool that a message is for; empty if none is alive.

        Args:
            pool: ``worker``, ``proxy`` or ``logger``.
            key: a string, or a number for a count.
            by_hash: by rendezvous hashing, else by turns for each key.

        Raises:
            ValueError: no such pool.
            TypeError: a key that we cannot hash as Zeek does.
        """
        known = {
            "worker": self._topics.worker_pool,
            "proxy": self._topics.proxy_pool,
            "logger": self._topics.logger_pool,
        }
        if pool not in known:
            raise ValueError(f"{pool!r} is no pool, there are worker, proxy and logger")
        if isinstance(key, int) and (isinstance(key, bool) or not 0 <= key < 1 << 64):
            raise TypeError(f"{key} is no count")
        chosen = self._pools[known[pool]]
        if by_hash:
            return chosen.hrw_topic(Count(key) if isinstance(key, int) else key)
        return chosen.rr_topic(key.decode("utf-8", "surrogateescape") if isinstance(key, bytes) else str(key))

    @property
    def own_topics(self) -> tuple[str, ...]:
        """Topics of the pools that we are in."""
        return tuple(topic for topic, pool in self._pools.items() if self._own in pool.members)

    def up(self, name: str) -> None:
        """A node is up."""
        for pool in self._pools.values():
            pool.mark(name, is_alive=True)

    def down(self, name: str) -> None:
        """A node is down."""
        for pool in self._pools.values():
            pool.mark(name, is_alive=False)


def _check(specs: list[PoolSpec], eligible: dict[NodeType, list[str]]) -> None:
    wanted = dict.fromkeys(_POOLED, 0)
    for spec in specs:
        if spec.node_type not in eligible:
            raise ValueError(f"pool {spec.topic!r}: nodes of type {spec.node_type} have none")
        if spec.exclusive and spec.max_nodes is None:
            raise ValueError(f"pool {spec.topic!r}: an exclusive pool needs max_nodes")
        if spec.exclusive:
            wanted[spec.node_type] += spec.max_nodes or 0
    if len({spec.topic for spec in specs}) < len(specs):
        raise ValueError("two pools have one topic")
    for kind, count in wanted.items():
        if count > len(eligible[kind]):
            raise ValueError(f"exclusive pools want {count} nodes of type {kind}, there are {len(eligible[kind])}")
