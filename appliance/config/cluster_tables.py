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

    read: Annotated[
        str,
        Meta(description="the proxy's XPUB, where events come from (zeekctl: tcp://host:27760, plain Zeek: 5555)"),
    ] = ""
    write: Annotated[
        str, Meta(description="the proxy's XSUB, where events go to (zeekctl: tcp://host:27761, plain Zeek: 5556)")
    ] = ""
    subscribe: Annotated[
        tuple[str, ...], Meta(description="prefixes of the topics whose events we take, beside those of our role")
    ] = ()
    event_serializer: Annotated[
        Literal["broker-bin-v1", "broker-json-v1"],
        Meta(description="Cluster::event_serializer of the cluster: how events are written; both are read"),
    ] = "broker-bin-v1"
    run_proxy: Annotated[
        bool, Meta(description="bind read and write ourselves and be the proxy, for a cluster without a Zeek manager")
    ] = False
    queue: Annotated[
        int,
        Meta(ge=1, le=10_000_000, description="events that may wait for us, and as many for the network"),
    ] = 100_000
    queue_bytes: Annotated[Size, Meta(description="their bytes, each way")] = Size(64 << 20)
    log_bind: Annotated[
        str, Meta(description="tcp://host:port where Zeek's nodes push their log batches; empty: we are no logger")
    ] = ""
    log_filters: Annotated[
        tuple[str, ...], Meta(min_length=1, description="names of log filters; a record arrives once for each filter")
    ] = ("default",)
    hwm: Annotated[int, Meta(ge=1, le=1_000_000, description="batches that libzmq may hold per sender")] = 1000
    max_message: Annotated[
        Size, Meta(description="who sends a longer batch of logs is cut; longer events are refused")
    ] = Size(64 << 20)
    max_wait: MaxWait = Duration(5 * 10**9)
    curve_server_public_key_file: Annotated[
        str, Meta(description="the cluster's server public key: read and write are encrypted then")
    ] = ""
    curve_secret_key_file: Annotated[
        str,
        Meta(
            description="our secret key; with log_bind or run_proxy the cluster's server secret key, and they are "
            "encrypted then, else the client's"
        ),
    ] = ""
    curve_public_key_file: Annotated[
        str, Meta(description="the public key of the client's secret one; absent: it is computed")
    ] = ""
    curve_client_secret_key_file: Annotated[
        str, Meta(description="the cluster's client secret key, for read and write where the server's is used as well")
    ] = ""
    curve_client_public_key_file: Annotated[
        str, Meta(description="the cluster's client public key; only its holders may connect to us")
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
    def is_zeromq_node(self) -> bool:
        """Whether events come and go over ZeroMQ."""
        return self.backend == "zeromq" and bool(self.zeromq.read and self.zeromq.write)

    @property
    def is_logger(self) -> bool:
        """Whether Zeek's nodes push their logs to us over ZeroMQ."""
        return self.backend == "zeromq" and bool(self.zeromq.log_bind)
