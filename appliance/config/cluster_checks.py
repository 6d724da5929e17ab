"""What types cannot tell about [cluster]: who we are, who there is, what the version of Zeek knows."""

from __future__ import annotations

import re
from typing import Any

from appliance.config import addresses
from appliance.config.cluster_tables import ClusterZeromq
from appliance.config.lines import Key
from appliance.config.membership import layout_of, node_name, plan_peering
from appliance.config.report import Places, Report, nearest, quote
from appliance.config.shape import HOLE, select
from appliance.config.tables import Cluster, Config
from appliance.config.zeromq_checks import check_zeromq
from appliance.zeek.topics import OVERRIDES
from appliance.zeek.version import parse_version

__all__ = ["check_cluster", "remark_on_types"]

_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LOCAL = "<$>"  # Broker's own
_LONGEST_NAME = 512
_TIME_MACHINE = "time_machine"
_WITHOUT_TIME_MACHINES = (7, 1)


def check_cluster(config: Config, report: Report, *, complete: bool) -> None:
    """Report everything that is wrong in [cluster].

    Args:
        config: the tables, with holes.
        report: takes the mistakes.
        complete: whether every file could be read; if not, nobody is blamed for what may be in the others.
    """
    for _, cluster in select(config, "cluster"):
        check_zeromq(cluster, report)
        _check_topics(cluster, report)
        _check_nodes(cluster, report)
        _check_backend(cluster, report)
        if complete and HOLE not in (cluster.backend, cluster.node, cluster.role, cluster.announce):
            _check_place(config, cluster, report)


def _check_topics(cluster: Any, report: Report) -> None:
    for name in OVERRIDES:
        for _, text in select(cluster, "topics", name):
            if text.startswith(_LOCAL):
                report.add(("cluster", "topics", name), f"{quote(text)} is one of Broker's own")
            elif len(text) > _LONGEST_NAME:
                report.add(("cluster", "topics", name), f"is longer than {_LONGEST_NAME} characters")


def _check_nodes(cluster: Any, report: Report) -> None:
    if cluster.nodes is HOLE:
        return
    for name, node in cluster.nodes.items():
        key = ("cluster", "nodes", name)
        if node is HOLE:
            continue
        if not name or len(name) > _LONGEST_NAME or not name.isprintable():
            report.add(key, f"{quote(name)} is not the name of a node")
        if node.ip is not HOLE and node.ip:
            try:
                addresses.parse_udp(node.ip, 0)
            except ValueError as exc:
                hint = "leave out the brackets" if node.ip.startswith("[") else ""
                report.add((*key, "ip"), str(exc), hint)
        for field, text in node.extra.items() if node.extra is not HOLE else ():
            if not (_FIELD.fullmatch(field) and (text is HOLE or (text.strip() and "\n" not in text))):
                report.add((*key, "extra", field), "expected a field and one of Zeek's expressions, in one line")


def remark_on_types(cluster: Any, places: Places) -> tuple[str, ...]:
    """Where the file has a type of node that its Zeek does not have: a name and a topic like others, to which nobody of
    Zeek's speaks. Zeek 7.1 removed ``Cluster::TIME_MACHINE``. A layout's own nodes are told of with the layout.
    """
    if cluster is HOLE or parse_version(cluster.zeek_version) < _WITHOUT_TIME_MACHINES:
        return ()
    keys: list[Key] = [("cluster", "role")] if cluster.role == _TIME_MACHINE else []
    keys += [("cluster", "nodes", name, "type") for name, node in cluster.nodes.items() if node.type == _TIME_MACHINE]
    told = f"Zeek {cluster.zeek_version} has no time machines, 7.0 was the last one; requests for packets need no role"
    return tuple(f"{places[key].file}:{places[key].line}: {told}" for key in keys if key in places)


def _check_backend(cluster: Any, report: Report) -> None:
    if HOLE in (cluster.backend, cluster.zeek_version):
        return
    if cluster.backend == "zeromq" and parse_version(cluster.zeek_version) < (7, 1):
        told = f"Zeek {cluster.zeek_version} has no ZeroMQ backend, which came with 7.1"
        report.add(("cluster", "zeek_version"), told, 'write backend = "broker"')
    elif cluster.backend == "zeromq" and cluster.zeromq == ClusterZeromq():
        hint = "set read and write of [cluster.zeromq], or its log_bind, or all of them"
        report.add(("cluster", "backend"), "there is no address of the cluster", hint)
    if cluster.backend == "none":
        for name, default in (("role", "auto"), ("layout", ""), ("node", "")):
            if getattr(cluster, name) not in (default, HOLE):
                told = 'has no effect with backend = "none"'
                report.add(("cluster", name), told, 'write backend = "broker" or "zeromq"')


def _is_whole(cluster: Cluster) -> bool:
    """Whether nothing is missing of what says who we are and who there is."""
    tables = (cluster, cluster.topics, *(cluster.nodes.values() if cluster.nodes is not HOLE else ()))
    return all(
        table is not HOLE and HOLE not in [getattr(table, name) for name in table.__struct_fields__] for table in tables
    )


def _check_place(config: Config, cluster: Cluster, report: Report) -> None:
    if cluster.backend == "none" or config.appliance is HOLE or not _is_whole(cluster):
        return
    name, me = node_name(config), layout_of(cluster).node(node_name(config))
    key = ("cluster", "node") if ("cluster", "node") in report.places else ("appliance", "name")
    if me is None and cluster.nodes and cluster.role == "auto" and cluster.announce:
        meant = nearest(name, cluster.nodes)
        hint = f"did you mean {quote(meant)}?" if meant else "add it, or say which role it has"
        report.add(key, f"there is no node {quote(name)} in the cluster", hint)
        return
    if me is not None and cluster.role not in ("auto", me.type.value):
        told = f"the node {quote(name)} is of type {quote(me.type.value)}"
        report.add(("cluster", "role"), told, f'write role = {quote(me.type.value)}, or "auto"')
    broker = config.broker
    if cluster.backend == "broker" and broker is not HOLE and HOLE not in (broker.listen, broker.connect):
        _check_peers(config, report)


def _check_peers(config: Config, report: Report) -> None:
    broker = config.broker
    if any(HOLE in (text, broker.retry_interval) for text in (*broker.listen, *broker.connect)):
        return
    try:
        peering = plan_peering(config)
    except ValueError:
        return  # an address that is told already
    if peering is None:
        hint = "set [broker] listen or connect, or give our node an ip and a port"
        report.add(("cluster", "backend"), "there is nobody to dial, and no address to listen on", hint)
