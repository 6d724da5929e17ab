"""The tables of the TOML file as frozen structs: names, types, defaults and a line of documentation for each.

The descriptions feed the JSON Schema. A table or key that is not here does not exist in this version.
"""

from __future__ import annotations

import re
import socket
from typing import Annotated, Literal

from msgspec import Meta, field

from appliance.config.broker_tables import Broker, Peering
from appliance.config.capture_tables import Capture, Handler
from appliance.config.cluster_tables import Cluster, ClusterNode, ClusterTopicNames, ClusterZeromq
from appliance.config.evidence_tables import Evidence, Uids
from appliance.config.hook_tables import Hook
from appliance.config.operation_tables import Journal, Metrics
from appliance.config.recorder_tables import Recorder
from appliance.config.sink_tables import Sink
from appliance.config.store_tables import ClusterStores, Store
from appliance.config.table_parts import (
    NAME_PATTERN,
    Keep,
    MaxWait,
    Name,
    Policy,
    Table,
)
from appliance.config.watch_tables import Watch
from appliance.config.websocket_tables import Websocket
from appliance.units import Duration, Limit, Size

__all__ = [
    "Api",
    "Appliance",
    "Broker",
    "Capture",
    "Cluster",
    "ClusterNode",
    "ClusterStores",
    "ClusterTopicNames",
    "ClusterZeromq",
    "Config",
    "Evidence",
    "Handler",
    "Hook",
    "Journal",
    "Keep",
    "Log",
    "Metrics",
    "Peering",
    "Policy",
    "Recorder",
    "Sink",
    "Store",
    "Table",
    "Tail",
    "Uids",
    "Watch",
    "Websocket",
    "Zmq",
]


def _hostname() -> str:
    name = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname().split(".")[0])[:64]
    return name if re.fullmatch(NAME_PATTERN, name) else "appliance"


class Appliance(Table, frozen=True, kw_only=True):
    """Identity and housekeeping of the process."""

    name: Annotated[Name, Meta(description="node name; CLUSTER_NODE overrides it")] = field(default_factory=_hostname)
    state_dir: Annotated[str, Meta(description="journal, stores, default outputs")] = "/var/lib/broappliance"
    drain_timeout: Annotated[Duration, Meta(description="how long a stop may take to deliver what was received")] = (
        Duration(10 * 10**9)
    )
    python_path: Annotated[tuple[str, ...], Meta(description="folders from which hooks are imported")] = ()


class Log(Table, frozen=True, kw_only=True):
    """The appliance's own diagnostics."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="the least severe messages that are written")
    ] = "info"
    format: Annotated[
        Literal["auto", "console", "json"], Meta(description="auto: console on a terminal, json otherwise")
    ] = "auto"


class Zmq(Table, frozen=True, kw_only=True):
    """Subscriber for the Bro/Zeek ZeroMQ log writer. The writer connects, we bind."""

    name: Name
    bind: Annotated[
        tuple[str, ...], Meta(min_length=1, description="tcp://host:port (port 0: any free one) or ipc:///path")
    ]
    logs: Annotated[tuple[str, ...], Meta(description="globs over the log path, matched whole")] = ("*",)
    exclude: Annotated[tuple[str, ...], Meta(description="globs of log paths to leave out")] = ()
    rename: Annotated[dict[str, str], Meta(description="log path as sent → as handed on (the writer's -N suffix)")] = (
        field(default_factory=dict)
    )
    hwm: Annotated[int, Meta(ge=1, le=10_000_000, description="messages that libzmq may hold per writer")] = 100_000
    heartbeat: Annotated[
        Duration, Meta(description="keep-alive interval; a writer whose machine does not answer three is cut")
    ] = Duration(10 * 10**9)
    max_record: Annotated[Size, Meta(description="a longer record is refused and counted")] = Size(1 << 20)
    max_wait: MaxWait = Duration(5 * 10**9)


class Tail(Table, frozen=True, kw_only=True):
    """Follows Zeek's own log files, TSV or JSON, across rotation."""

    name: Name
    paths: Annotated[
        tuple[str, ...], Meta(min_length=1, description="globs of files; archives (.gz, .zst) are read, too")
    ]
    from_start: Annotated[
        bool, Meta(description="read files that exist at the very first start from their beginning")
    ] = True
    poll: Annotated[Duration, Meta(description="longest time until a change is noticed")] = Duration(10**9)
    max_record: Annotated[Size, Meta(description="a longer line is refused and counted")] = Size(1 << 20)
    max_wait: MaxWait = Duration(5 * 10**9)


class Api(Table, frozen=True, kw_only=True):
    """The endpoint that the command line and others ask."""

    listen: Annotated[tuple[str, ...], Meta(description="unix:/path or host:port")] = (
        "unix:/run/broappliance/api.sock",
    )
    token_file: Annotated[str, Meta(description="who may use TCP: lines NAME read|operate sha256:HEX")] = ""
    certificate: Annotated[str, Meta(description="of TCP listeners, PEM")] = ""
    key: Annotated[str, Meta(description="of the certificate, PEM")] = ""
    group: Annotated[str, Meta(description="of the Unix sockets: its members may read")] = ""
    operate_group: Annotated[str, Meta(description="its members may operate, too")] = ""
    hosts: Annotated[tuple[str, ...], Meta(description="names under which it is reached")] = ()
    extract_rate: Annotated[Limit, Meta(description="read per second by all extractions, or none: no limit")] = Limit(
        200 << 20
    )
    legacy_routes: Annotated[bool, Meta(description="serve AIT's six routes at their old paths, too")] = False
    ui: Annotated[bool, Meta(description="the page for browsers at /ui/")] = True


class Config(Table, frozen=True, kw_only=True):
    """The whole file."""

    appliance: Appliance = field(default_factory=Appliance)
    log: Log = field(default_factory=Log)
    zmq: Annotated[tuple[Zmq, ...], Meta(description="subscribers for the ZeroMQ log writer")] = ()
    broker: Broker = field(default_factory=Broker)
    store: Annotated[tuple[Store, ...], Meta(description="Broker's data stores")] = ()
    cluster: Cluster = field(default_factory=Cluster)
    websocket: Annotated[tuple[Websocket, ...], Meta(description="clients of Zeek's WebSocket API")] = ()
    tail: Annotated[tuple[Tail, ...], Meta(description="log files to follow")] = ()
    watch: Annotated[tuple[Watch, ...], Meta(description="folders of finished files and folders")] = ()
    capture: Annotated[tuple[Capture, ...], Meta(description="socket capturers")] = ()
    recorder: Annotated[tuple[Recorder, ...], Meta(description="ring recorders")] = ()
    journal: Journal = field(default_factory=Journal)
    hook: Annotated[tuple[Hook, ...], Meta(description="callables and programs that are called for each item")] = ()
    sink: Annotated[tuple[Sink, ...], Meta(description="log records into files")] = ()
    evidence: Annotated[tuple[Evidence, ...], Meta(description="packets for alarms")] = ()
    uids: Uids = field(default_factory=Uids)

    @property
    def is_peer(self) -> bool:
        """Whether there is a Broker endpoint."""
        return self.broker.is_endpoint or self.cluster.backend == "broker"

    @property
    def has_uids(self) -> bool:
        """Whether the map of uids is kept."""
        return bool(self.uids.on and (self.recorder or self.evidence))

    api: Api = field(default_factory=Api)
    metrics: Annotated[
        Metrics | None, Meta(description="a listener for Prometheus; without this table there is none")
    ] = None
