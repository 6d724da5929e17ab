"""The tables ``[cluster]``, ``[cluster.topics]``, ``[cluster.nodes.NAME]`` and ``[cluster.zeromq]``."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from appliance.config.store_tables import ClusterStores
from appliance.config.table_parts import MaxWait, Table
from appliance.units import Duration, Size

__all__ = ["Cluster", "ClusterNode", "ClusterTopicNames", "ClusterZeromq"]

Port = Annotated[int, Meta(ge=1, le=65535)]
MetricsPort = Annotated[int, Meta(ge=0, le=65535)]
NodeKind = Literal["none", "control", "logger", "manager", "proxy", "worker", "time_machine"]


class ClusterZeromq(Table, frozen=True, kw_only=True):
    """Our sockets on Zeek's ZeroMQ cluster backend."""

    log_bind: Annotated[
        str, Meta(description="tcp://host:port where Zeek's nodes push their log batches; empty: we are no logger")
    ] = ""
    log_filters: Annotated[
        tuple[str, ...], Meta(min_length=1, description="names of log filters; a record arrives once for each filter")
    ] = ("default",)
    hwm: Annotated[int, Meta(ge=1, le=1_000_000, description="batches that libzmq may hold per sender")] = 1000
    max_message: Annotated[Size, Meta(description="a sender of a longer message is cut")] = Size(64 << 20)
    max_wait: MaxWait = Duration(5 * 10**9)
    curve_secret_key_file: Annotated[
        str, Meta(description="the cluster's server secret key: log_bind is encrypted then")
    ] = ""
    curve_client_public_key_file: Annotated[
        str, Meta(description="the cluster's client public key; only its holders may send")
    ] = ""


class ClusterTopicNames(Table, frozen=True, kw_only=True):
    """What a site has redefined; an empty one is as its version of Zeek has it."""

    logger: Annotated[str, Meta(description="Cluster::logger_topic")] = ""
    manager: Annotated[str, Meta(description="Cluster::manager_topic")] = ""
    proxy: Annotated[str, Meta(description="Cluster::proxy_topic")] = ""
    worker: Annotated[str, Meta(description="Cluster::worker_topic")] = ""
    time_machine: Annotated[str, Meta(description="Cluster::time_machine_topic")] = ""
    node_prefix: Annotated[str, Meta(description="Cluster::node_topic_prefix")] = ""
    nodeid_prefix: Annotated[str, Meta(description="Cluster::nodeid_topic_prefix")] = ""


class ClusterNode(Table, frozen=True, kw_only=True):
    """One node, as an entry of Cluster::nodes."""

    type: Annotated[NodeKind, Meta(description="what it does")]
    ip: Annotated[str, Meta(description="address, or the name of a host; empty: nobody dials it")] = ""
    port: Annotated[Port | None, Meta(description="where it listens for Broker; absent: nowhere")] = None
    zone_id: Annotated[str, Meta(description="zone of a link-local address")] = ""
    interface: Annotated[str, Meta(description="up to Zeek 7.0: what a worker sniffs on")] = ""
    manager: Annotated[str, Meta(description="the node that is its manager")] = ""
    time_machine: Annotated[str, Meta(description="up to Zeek 7.0: the node that is its time machine")] = ""
    metrics_port: Annotated[MetricsPort | None, Meta(description="of its metrics; 0: switched off")] = None
    extra: Annotated[dict[str, str], Meta(description="fields of the site's own, as Zeek's expressions")] = field(
        default_factory=dict
    )


class Cluster(Table, frozen=True, kw_only=True):
    """Our place in a Zeek cluster."""

    zeek_version: Annotated[
        str,
        Meta(pattern=r"^[0-9]+\.[0-9]+$", description="a version like 8.0; Zeek's log text differs between versions"),
    ] = "8.0"
    backend: Annotated[
        Literal["broker", "zeromq", "none"], Meta(description="the cluster's backend; none: we are no node")
    ] = "none"
    node: Annotated[str, Meta(description="our name in it; empty: [appliance] name; CLUSTER_NODE overrides it")] = ""
    role: Annotated[
        Literal["auto", "none", "control", "logger", "manager", "proxy", "worker", "time_machine"],
        Meta(description="what we are; auto: what the node of our name is, or none"),
    ] = "auto"
    layout: Annotated[
        str,
        Meta(description="file that says who there is: cluster-layout.zeek, node.cfg, zeek.conf or a folder of them"),
    ] = ""
    manager_is_logger: Annotated[
        bool | None,
        Meta(description="Cluster::manager_is_logger; absent: as the layout says, or if there is no logger"),
    ] = None
    announce: Annotated[bool, Meta(description="take part in presence: say hello, know who is up")] = True
    experimental: Annotated[
        bool, Meta(description="the cluster loads frameworks/cluster/experimental: tell the manager that we are there")
    ] = False
    retry_interval: Annotated[
        Duration | None,
        Meta(description="between attempts to connect to nodes; absent: as the layout or [broker] says"),
    ] = None
    topics: ClusterTopicNames = field(default_factory=ClusterTopicNames)
    nodes: Annotated[dict[str, ClusterNode], Meta(description="the nodes, by name; they come before the layout's")] = (
        field(default_factory=dict)
    )
    zeromq: ClusterZeromq = field(default_factory=ClusterZeromq)
    stores: ClusterStores = field(default_factory=ClusterStores)

    @property
    def is_logger(self) -> bool:
        """Whether Zeek's nodes push their logs to us over ZeroMQ."""
        return self.backend == "zeromq" and bool(self.zeromq.log_bind)
