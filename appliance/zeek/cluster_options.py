"""Every name of the cluster framework that a script may use or redefine, and since and until when.

Source: Zeek, ``scripts/base/frameworks/cluster/*.zeek`` and ``policy/frameworks/cluster/**.zeek``, by their history.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from .topics import EXPERIMENTAL_STARTED, Backend, cluster_topics
from .version import Version

__all__ = ["NAMES", "FrameworkName", "default_of", "names_of"]

_FIRST = (2, 6)
Kind = Literal["option", "type", "state", "function", "event", "hook"]


class FrameworkName(msgspec.Struct, frozen=True):
    """One name."""

    name: str
    """With its module."""
    kind: Kind
    defaults: tuple[tuple[tuple[int, int], str], ...] = ()
    """Of an option: since a version, a value as Zeek writes it."""
    since: tuple[int, int] = _FIRST
    until: tuple[int, int] | None = None
    """The first version that does not have it."""
    backend: Backend | None = None
    """The one backend that has it, None if it is part of the framework itself."""

    def exists_in(self, version: Version) -> bool:
        """Whether a version has it."""
        return version.branch >= self.since and (self.until is None or version.branch < self.until)


def _option(name: str, *defaults: str | tuple[tuple[int, int], str], **when: tuple[int, int]) -> FrameworkName:
    since = when.get("since", _FIRST)
    values = tuple((since, each) if isinstance(each, str) else each for each in defaults)
    return FrameworkName(f"Cluster::{name}", "option", values, since, when.get("until"))


def _named(
    kind: Kind, *names: str, since: tuple[int, int] = _FIRST, until: tuple[int, int] | None = None
) -> list[FrameworkName]:
    return [FrameworkName(f"Cluster::{name}", kind, (), since, until) for name in names]


def _zeromq(name: str, *defaults: str | tuple[tuple[int, int], str], since: tuple[int, int] = (7, 1)) -> FrameworkName:
    values = tuple((since, each) if isinstance(each, str) else each for each in defaults)
    return FrameworkName(f"Cluster::Backend::ZeroMQ::{name}", "option", values, since, None, "zeromq")


_TOPIC = "topic"
"""A default that `cluster_topics` knows."""

_FRAMEWORK = [
    _option("node", 'getenv("CLUSTER_NODE")'),
    _option("nodes", "{}"),
    _option("manager_is_logger", "T"),
    _option("enable_round_robin_logging", "T"),
    _option("retry_interval", "1min", ((7, 2), "1sec")),
    *(_option(f"{role}_topic", _TOPIC) for role in ("logger", "manager", "proxy", "worker")),
    _option("time_machine_topic", _TOPIC, until=(7, 1)),
    _option("node_topic_prefix", _TOPIC),
    _option("nodeid_topic_prefix", _TOPIC),
    _option("broadcast_topics", _TOPIC, since=(6, 0)),
    _option("default_master_node", '""'),
    _option("default_backend", "Broker::MEMORY"),
    _option("default_persistent_backend", "Broker::SQLITE"),
    _option("default_store_dir", '""'),
    _option("stores", "{}"),
    *(_option(f"{kind}_pool_spec", _TOPIC) for kind in ("proxy", "worker", "logger")),
    _option("backend", "Cluster::CLUSTER_BACKEND_BROKER", ((8, 1), "Cluster::CLUSTER_BACKEND_NONE"), since=(7, 1)),
    _option("event_serializer", "Cluster::EVENT_SERIALIZER_BROKER_BIN_V1", since=(7, 1)),
    _option("log_serializer", "Cluster::LOG_SERIALIZER_ZEEK_BIN_V1", since=(7, 1)),
    _option("default_websocket_max_event_queue_size", "32", since=(7, 2)),
    _option("default_websocket_ping_interval", "5sec", since=(7, 2)),
    _option("Experimental::cluster_started_topic", f'"{EXPERIMENTAL_STARTED}"', since=(8, 0)),
    _option("Telemetry::core_metrics", "{INFO}", since=(8, 0)),
    _option("Telemetry::websocket_metrics", "{INFO}", since=(8, 0)),
    _option("default_publish_table_batch_size", "10000", since=(8, 2)),
    _option("default_table_publish_on_change_max_batch_size", "10", since=(8, 2)),
    _option("default_table_publish_on_change_max_batch_delay", "10msec", since=(8, 2)),
    *_named("type", "NodeType", "Node", "StoreInfo", "Info", "PoolSpec", "PoolNode", "Pool", "RoundRobinTable"),
    *_named("type", "NamedNode"),
    *_named("type", "Event", since=(7, 1)),
    *_named("type", "WebSocketServerOptions", "WebSocketTLSOptions", "EndpointInfo", "NetworkInfo", since=(7, 2)),
    *_named("type", "TableChangeHeader", "TableChangeInfo", "TableChangeInfos", since=(8, 2)),
    *_named("state", "worker_count", until=(6, 1)),
    *_named("state", "worker_pool", "proxy_pool", "logger_pool"),
    *_named("function", "is_enabled", "local_node_type", "node_topic", "nodeid_topic", "log", "create_store"),
    *_named("function", "register_pool", "rr_topic", "hrw_topic", "publish_rr", "publish_hrw", "rr_log_topic"),
    *_named("function", "get_node_count", "get_active_node_count", since=(6, 0)),
    *_named("function", "nodes_with_type"),
    *_named("function", "local_node_metrics_port", since=(7, 0)),
    *_named("function", "make_event", "publish", "subscribe", "unsubscribe", "init", "node_id", since=(7, 1)),
    *_named("function", "nodeid_to_node", since=(7, 1)),
    *_named("function", "publish_table", since=(8, 2)),
    *_named("function", "Experimental::is_cluster_started", since=(6, 0)),
    *_named("function", "listen_websocket", since=(7, 2)),
    *_named("event", "hello", "node_up", "node_down"),
    *_named("event", "websocket_client_added", "websocket_client_lost", since=(7, 2)),
    *_named("event", "table_change_infos", "forward_table_change_infos", since=(8, 2)),
    *_named("event", "Experimental::node_fully_connected", "Experimental::cluster_started", since=(6, 0)),
    *_named("hook", "log_policy", since=(4, 0)),
    *_named("hook", "connect_node_hook", since=(6, 0)),
    *_named("hook", "apply_table_change_infos_policy", since=(8, 2)),
    *_named("hook", "on_subscribe", "on_unsubscribe", since=(8, 0)),
]

_ZEROMQ = [
    _zeromq("connect_xpub_endpoint", '"tcp://127.0.0.1:5556"'),
    _zeromq("connect_xsub_endpoint", '"tcp://127.0.0.1:5555"'),
    _zeromq("connect_log_endpoints", "vector()"),
    _zeromq("listen_log_endpoint", '""'),
    _zeromq("listen_xpub_endpoint", '"tcp://127.0.0.1:5555"'),
    _zeromq("listen_xsub_endpoint", '"tcp://127.0.0.1:5556"'),
    _zeromq("run_proxy_thread", "F"),
    _zeromq("proxy_io_threads", "2", since=(7, 2)),
    _zeromq("linger_ms", "500"),
    *(_zeromq(name, "1000", since=(8, 0)) for name in ("xpub_sndhwm", "xsub_rcvhwm")),
    *(_zeromq(name, "-1", since=(8, 0)) for name in ("xpub_sndbuf", "xsub_rcvbuf")),
    *(_zeromq(name, "1000") for name in ("log_sndhwm", "log_rcvhwm")),
    *(_zeromq(name, "-1") for name in ("log_sndbuf", "log_rcvbuf")),
    _zeromq("log_immediate", "F"),
    FrameworkName("Cluster::Backend::ZeroMQ::xpub_nodrop", "option", (((7, 1), "T"),), (7, 1), (7, 2), "zeromq"),
    _zeromq("connect_xpub_nodrop", "T", since=(7, 2)),
    _zeromq("listen_xpub_nodrop", "T"),
    _zeromq("onloop_queue_hwm", "10000", since=(8, 0)),
    _zeromq("poll_max_messages", "100"),
    _zeromq("ipv6", "T", ((8, 1), "F"), since=(7, 2)),
    _zeromq("hello_expiration", "10sec"),
    _zeromq("internal_topic_prefix", '"zeek.zeromq.internal."', since=(7, 2)),
    _zeromq("node_topic_prefix", '"zeek.cluster.node"'),
    _zeromq("nodeid_topic_prefix", '"zeek.cluster.nodeid"'),
    _zeromq("debug_flags", "0"),
    *(
        _zeromq(f"curve_{side}_{key}", '""', since=(8, 2))
        for side in ("server", "client")
        for key in ("publickey", "secretkey")
    ),
    *(
        FrameworkName(f"Cluster::Backend::ZeroMQ::{name}", "event", (), (7, 1), None, "zeromq")
        for name in ("hello", "subscription", "unsubscription")
    ),
]

NAMES: tuple[FrameworkName, ...] = (*_FRAMEWORK, *_ZEROMQ)
"""All of them, options first."""


def names_of(version: Version) -> tuple[FrameworkName, ...]:
    """Those that a version has."""
    return tuple(each for each in NAMES if each.exists_in(version))


def default_of(name: str, version: Version, backend: Backend = "broker") -> str | None:
    """An option's value where nobody has redefined it, as Zeek writes it; None if the version has no such option."""
    option = next((each for each in NAMES if each.name == name and each.kind == "option"), None)
    if option is None or not option.exists_in(version):
        return None
    value = [text for since, text in option.defaults if version.branch >= since][-1]
    return _topic_default(name.removeprefix("Cluster::"), version, backend) if value is _TOPIC else value


def _topic_default(name: str, version: Version, backend: Backend) -> str:
    topics = cluster_topics(version, backend)
    if name == "broadcast_topics":
        return "{" + ", ".join(f'"{topic}"' for topic in topics.broadcast) + "}"
    if name.endswith("_pool_spec"):
        kind = name.removesuffix("_pool_spec")
        topic = getattr(topics, f"{kind}_pool")
        return f'[$topic="{topic}", $node_type=Cluster::{kind.upper()}]'
    if name.endswith("_topic_prefix"):
        prefix = getattr(topics, name.replace("_topic_prefix", "_prefix"))
        return f'"{prefix.rstrip(".")}"'
    return f'"{getattr(topics, name.removesuffix("_topic"))}"'
