"""What the tables make of us: a node of a cluster, with its topics, its layout, and the peers that Zeek would dial."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from appliance.config import addresses
from appliance.config.cluster_tables import Cluster, ClusterNode
from appliance.config.tables import Broker, Config, Peering
from appliance.units import Duration
from appliance.zeek.layout import ClusterLayout, LayoutNode, NodeType
from appliance.zeek.pools import Pools, builtin_specs
from appliance.zeek.topics import OVERRIDES, ClusterTopics, cluster_topics
from appliance.zeek.version import parse_version

__all__ = ["Membership", "first_manager", "layout_of", "merge_layout", "node_name", "plan_membership", "plan_peering"]

_FIELDS = ("ip", "zone_id", "port", "interface", "manager", "time_machine", "metrics_port")
_ROLE_TOPICS = {
    NodeType.LOGGER: "logger",
    NodeType.MANAGER: "manager",
    NodeType.PROXY: "proxy",
    NodeType.WORKER: "worker",
    NodeType.TIME_MACHINE: "time_machine",
}


class Membership(msgspec.Struct, frozen=True, kw_only=True):
    """Our place in a cluster. No table of the file."""

    name: str
    role: NodeType
    layout: ClusterLayout
    """Who there is. We may be missing."""
    topics: ClusterTopics
    announce: bool
    """Whether we take part in presence."""
    says_connected: bool
    """Whether the manager waits for ``node_fully_connected``."""

    @property
    def is_logger(self) -> bool:
        """Whether log records are for us."""
        return self.role is NodeType.LOGGER or (self.role is NodeType.MANAGER and self.layout.is_manager_logging)

    def make_pools(self) -> Pools:
        """Zeek's three pools, with nobody up."""
        return Pools(self.layout, self.topics, self.name, builtin_specs(self.topics))

    @property
    def role_topics(self) -> tuple[str, ...]:
        """What our role subscribes to: pools, its own topic, and of a logger all logs. Topics of our name and ID are
        not among them.

        Source: Zeek, ``scripts/base/frameworks/cluster/setup-connections.zeek``.
        """
        topics = list(self.make_pools().own_topics)
        if (kind := _ROLE_TOPICS.get(self.role)) is not None:
            topics.append(getattr(self.topics, kind))
        if self.is_logger and self.topics.logs:
            topics.append(self.topics.logs)
        return tuple(topics)

    @property
    def to_dial(self) -> tuple[LayoutNode, ...]:
        """The nodes that one of our role connects to. Who is not listed has the first manager for its own."""
        me = self.layout.node(self.name)
        managers = self.layout.of_type(NodeType.MANAGER)
        manager = me.manager if me is not None else next((each.name for each in managers), "")
        machine = me.time_machine if me is not None else ""
        loggers = self.layout.of_type(NodeType.LOGGER)
        found: list[LayoutNode] = []
        if self.role in (NodeType.MANAGER, NodeType.PROXY, NodeType.WORKER):
            found += loggers
        if self.role is NodeType.WORKER:
            found += self.layout.of_type(NodeType.PROXY)
        if self.role in (NodeType.PROXY, NodeType.WORKER):
            found += [each for each in managers if each.name == manager]
        if self.role in (NodeType.MANAGER, NodeType.WORKER):
            found += [each for each in self.layout.of_type(NodeType.TIME_MACHINE) if each.name == machine]
        return tuple(each for each in found if each.name != self.name)


def node_name(config: Config) -> str:
    """Our name in the cluster."""
    return config.cluster.node or config.appliance.name


def first_manager(cluster: Cluster) -> str:
    """The name of the cluster's first manager, who owns the stores that nobody else does; empty without one."""
    names = (name for name, node in cluster.nodes.items() if node.type == "manager")
    return min(names, key=lambda name: name.encode("utf-8", "surrogateescape"), default="")


def layout_of(cluster: Cluster) -> ClusterLayout:
    """The nodes of the tables as a layout."""
    return ClusterLayout(
        nodes=tuple(
            LayoutNode(
                name=name,
                type=NodeType(node.type),
                extra=tuple(node.extra.items()),
                **{key: getattr(node, key) for key in _FIELDS},
            )
            for name, node in cluster.nodes.items()
        ),
        manager_is_logger=cluster.manager_is_logger,
        retry_interval_ns=cluster.retry_interval,
    )


def merge_layout(cluster: Cluster, layout: ClusterLayout) -> Cluster:
    """The table with what a layout says besides; nodes that are in both are as the table has them."""
    told = {
        node.name: ClusterNode(
            type=node.type.value, extra=dict(node.extra), **{key: getattr(node, key) for key in _FIELDS}
        )
        for node in layout.nodes
    }
    nodes: Mapping[str, ClusterNode] = told | cluster.nodes
    retry, is_logger = cluster.retry_interval, cluster.manager_is_logger
    if retry is None and layout.retry_interval_ns:
        retry = Duration(layout.retry_interval_ns)
    return replace(
        cluster,
        nodes=dict(nodes),
        retry_interval=retry,
        manager_is_logger=layout.manager_is_logger if is_logger is None else is_logger,
    )


def plan_membership(config: Config) -> Membership | None:
    """Our place in the cluster of a valid configuration; None without one."""
    cluster = config.cluster
    if cluster.backend == "none":
        return None
    layout, name = layout_of(cluster), node_name(config)
    me = layout.node(name)
    overrides = {key: text for key in OVERRIDES if (text := getattr(cluster.topics, key))}
    listed = me.type if me is not None else NodeType.NONE
    return Membership(
        name=name,
        role=listed if cluster.role == "auto" else NodeType(cluster.role),
        layout=layout,
        topics=cluster_topics(parse_version(cluster.zeek_version), cluster.backend, overrides),
        announce=cluster.announce,
        says_connected=cluster.experimental,
    )


def plan_peering(config: Config) -> Peering | None:
    """What our Broker endpoint is made from, with the addresses that the nodes give us; None without one."""
    broker = config.broker
    member = plan_membership(config) if config.cluster.backend == "broker" else None
    if member is not None:
        broker = _with_nodes(broker, member, config.cluster.retry_interval)
    if not broker.is_endpoint:
        return None
    return Peering(broker=broker, zeek_version=config.cluster.zeek_version, member=member)


def _with_nodes(broker: Broker, member: Membership, retry: Duration | None) -> Broker:
    known = {addresses.parse_peer(text) for text in broker.connect}
    connect = list(broker.connect)
    for node in member.to_dial:
        if (text := _address(node)) and (place := addresses.parse_peer(text)) not in known:
            known.add(place)
            connect.append(text)
    me = member.layout.node(member.name)
    listen = broker.listen or ((_address(me),) if me is not None and _address(me) else ())
    return replace(broker, listen=listen, connect=tuple(connect), retry_interval=retry or broker.retry_interval)


def _address(node: LayoutNode) -> str:
    """Where a node listens; empty if it does not, or only Zeek knows."""
    if not node.ip or node.port is None:
        return ""
    host = f"{node.ip}%{node.zone_id}" if node.zone_id and "%" not in node.ip else node.ip
    return f"[{host}]:{node.port}" if ":" in host else f"{host}:{node.port}"
