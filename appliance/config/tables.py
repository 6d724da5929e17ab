"""The tables of the TOML file as frozen structs: names, types, defaults and a line of documentation for each.

The descriptions feed the JSON Schema. A table or key that is not here does not exist in this version.
"""

from __future__ import annotations

import re
import socket
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, field

from appliance.config.cluster_tables import Cluster, ClusterNode, ClusterTopicNames, ClusterZeromq
from appliance.config.evidence_tables import Evidence, Uids
from appliance.config.operation_tables import Journal, Metrics
from appliance.config.recorder_tables import Recorder
from appliance.config.sink_tables import Sink
from appliance.config.store_tables import ClusterStores, Store
from appliance.config.table_parts import (
    NAME_PATTERN,
    Consumer,
    HookQueue,
    Keep,
    MaxWait,
    Name,
    Policy,
    Table,
    Via,
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


class Broker(Table, frozen=True, kw_only=True):
    """Our endpoint on Zeek's Broker network. Without an address to listen on or to connect to, there is none."""

    listen: Annotated[
        tuple[str, ...],
        Meta(description="host:port or [address]:port; port 0: any free one, told in <state_dir>/broker.ports"),
    ] = ()
    connect: Annotated[tuple[str, ...], Meta(description="host:port of peers, which are dialled again for ever")] = ()
    retry_interval: Annotated[
        Duration,
        Meta(description="between attempts to connect; ZEEK_DEFAULT_CONNECT_RETRY (seconds) overrides it"),
    ] = Duration(10**9)
    handshake_timeout: Annotated[
        Duration, Meta(description="for a connection to be made, with TLS and Broker's handshake")
    ] = Duration(10 * 10**9)
    max_half_open: Annotated[
        int, Meta(ge=1, le=65536, description="incoming connections in their handshake; one more cuts the oldest")
    ] = 64
    max_peers: Annotated[int, Meta(ge=1, le=65536, description="further peers are refused")] = 1024
    ping_interval: Annotated[
        Duration,
        Meta(description="a peer that sends nothing for three of these, although it is asked to, is cut; 0s: never"),
    ] = Duration(0)
    tls: Annotated[
        Literal["anonymous", "off", "mutual"],
        Meta(description="anonymous: encrypted only, Broker's default; mutual: both sides have a certificate"),
    ] = "anonymous"
    certificate: Annotated[str, Meta(description="mutual: our certificate with its chain, PEM")] = ""
    key: Annotated[str, Meta(description="mutual: its key, PEM")] = ""
    ca: Annotated[str, Meta(description="mutual: who signs the certificates of peers, PEM")] = ""
    passphrase_file: Annotated[str, Meta(description="mutual: file whose first line is the passphrase of the key")] = ""
    subscribe: Annotated[
        tuple[str, ...], Meta(description="prefixes of the topics that we take: events, prints and logs")
    ] = ()
    publish: Annotated[
        tuple[str, ...] | None,
        Meta(description='what may be published: topics, or prefixes that end in "/"; absent: everything'),
    ] = None
    advertise: Annotated[
        tuple[str, ...] | None,
        Meta(description="the part of subscribe that peers are told of, as prefixes; absent: all of it"),
    ] = None
    forward: Annotated[bool, Meta(description="relay what we subscribed to between peers")] = False
    queue: Annotated[int, Meta(ge=1, le=10_000_000, description="messages that may wait for each peer")] = 8192
    queue_bytes: Annotated[Size, Meta(description="bytes that may wait for each peer")] = Size(64 << 20)
    overflow: Annotated[
        Literal["drop_oldest", "drop_newest", "disconnect"], Meta(description="when a peer's queue is full")
    ] = "drop_oldest"
    max_message: Annotated[Size, Meta(description="a peer that sends a longer one is cut")] = Size(64 << 20)
    max_wait: MaxWait = Duration(5 * 10**9)

    @property
    def is_endpoint(self) -> bool:
        """Whether there are peers to be had."""
        return bool(self.listen or self.connect)


class Peering(msgspec.Struct, frozen=True, kw_only=True):
    """What our endpoint is made from; no table of the file."""

    broker: Broker
    zeek_version: str
    """Of `Cluster`: whose log text the lines of log records have."""
    member: Any = None
    """`Membership`; None: we are a peer without being a node."""


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


class Handler(Table, frozen=True, kw_only=True):
    """One output of a socket capturer."""

    name: Name
    log_dir: Annotated[str, Meta(description="strftime (UTC) and {name} {capture} {host} {pid} {seq}")] = "captures"
    file_name_pattern: Annotated[str, Meta(description="as log_dir")] = "%Y-%m-%d-%H-%M-%S-{name}.pcap"
    rotate_log: Annotated[bool, Meta(description="start a new file every rotate_log_delta")] = True
    rotate_log_index: Annotated[
        Literal[
            "year", "years", "tm_year", "month", "months", "tm_mon", "day", "days", "tm_mday",
            "hour", "hours", "tm_hour", "minute", "minutes", "tm_min", "second", "seconds", "tm_sec",
        ],
        Meta(description="unit of rotate_log_delta; real elapsed time"),
    ] = "day"  # fmt: skip
    rotate_log_delta: Annotated[int, Meta(ge=1, le=1_000_000, description="how many of rotate_log_index")] = 1
    rotate_size: Annotated[Size | None, Meta(description="in addition: no file grows beyond this")] = None
    rotate_packets: Annotated[int, Meta(ge=0, description="in addition; 0: no limit")] = 0
    align: Annotated[bool, Meta(description="rotate on the clock's boundary (UTC)")] = True
    pre_write_transforms: Annotated[
        tuple[str, ...], Meta(description="package.module:attribute each; bytes → bytes, or None to leave a packet out")
    ] = ()
    on_transform_error: Annotated[
        Literal["drop", "pass", "quarantine"],
        Meta(description="what happens to a packet that a transform cannot take; pass: written as it came"),
    ] = "drop"
    linktype: Annotated[
        Literal["auto", "user0", "ip"],
        Meta(description="user0 (147): payload; ip (101): with the headers it had; auto: ethernet 1, else user0"),
    ] = "auto"
    format: Annotated[Literal["pcap", "pcapng"], Meta(description="with times in nanoseconds")] = "pcap"
    compress: Annotated[Literal["none", "zstd"], Meta(description="finished files")] = "none"
    keep: Annotated[Keep | None, Meta(description="how much of the finished files is kept")] = None


class Capture(Table, frozen=True, kw_only=True):
    """Socket capturer: one socket, its packets into rotating PCAP files."""

    name: Name
    conn_type: Annotated[
        Literal["udp", "tcp", "ethernet"], Meta(description="what is captured: datagrams, streams, frames")
    ]
    address: Annotated[
        tuple[str, Annotated[int, Meta(ge=0, le=65535)]],
        Meta(
            description="udp: host and port to bind; tcp: to connect to or to bind; ethernet: interface and EtherType"
        ),
    ]
    multicast: Annotated[tuple[str, ...], Meta(description="udp: groups to join, each as group or source@group")] = ()
    interface: Annotated[str, Meta(description="udp, tcp: the network interface that is used; empty: any")] = ""
    receive_buffer: Annotated[Size, Meta(description="SO_RCVBUF request")] = Size(8 << 20)
    filter: Annotated[str, Meta(description="ethernet: pcap-filter(7)")] = ""
    promiscuous: Annotated[bool, Meta(description="ethernet: also frames for others")] = True
    snaplen: Annotated[int, Meta(ge=64, le=262_144, description="ethernet: bytes kept of each frame")] = 262_144
    mode: Annotated[Literal["connect", "listen"], Meta(description="tcp: who connects to whom")] = "connect"
    framing: Annotated[
        Literal["none", "newline", "u16be", "u32be"],
        Meta(description="tcp: what a packet is; none: what arrived together; else a line, or what a length announces"),
    ] = "none"
    max_frame: Annotated[Size, Meta(description="tcp: a connection with a longer frame is closed")] = Size(64 << 10)
    max_clients: Annotated[int, Meta(ge=1, le=65_536, description="tcp, listen: connections at a time")] = 1024
    keepalive: Annotated[Duration, Meta(description="tcp: silence after which the peer is asked")] = Duration(
        60 * 10**9
    )
    tls: Annotated[bool, Meta(description="tcp: with TLS")] = False
    ca: Annotated[str, Meta(description="tls: certificates of those who may sign the peer's; empty: the system's")] = ""
    certificate: Annotated[str, Meta(description="tls: our certificate")] = ""
    key: Annotated[str, Meta(description="tls: its private key")] = ""
    handler: Annotated[tuple[Handler, ...], Meta(min_length=1, description="where the packets go")]


_DURABLE_KEYS = frozenset({"attempts", "backoff", "backoff_max", "queue_full"})


_KINDS_OF = {
    "workdir": ("command",),
    "produces": ("command",),
    "run": ("run",),
    "isolation": ("run",),
    "max_items": ("run",),
    "options": ("run",),
    "command": ("command",),
    "concurrency": ("run", "command"),
    "batch": ("run", "command"),
    "cpu_limit": ("run", "command"),
    "sites": ("sites",),
    "logs_path": ("sites",),
    "exit_timeout": ("sites",),
}
"""Key → the kinds of hooks that it is for; others are for all."""


class Hook(Consumer, frozen=True, kw_only=True):
    """A Python callable, a program or a package of BroAPT's kind that is called for each item."""

    where: Annotated[str, Meta(description="rule-engine expression over the record's fields")] = ""
    run: Annotated[str, Meta(description="package.module:attribute; or there is command or sites")] = ""
    command: Annotated[
        tuple[str, ...],
        Meta(
            min_length=1,
            description="program and arguments, no shell; {path} {name} {dir} {start} {end} stand for what the item is "
            "about; it gets the record as JSON on standard input",
        ),
    ] = ()
    workdir: Annotated[
        str,
        Meta(
            description="command: a folder of its own for each call, e.g. logs/{name}; it gets this name when the "
            "program has ended well, else it is deleted"
        ),
    ] = ""
    produces: Annotated[
        str,
        Meta(
            pattern="^(folder:[A-Za-z0-9][A-Za-z0-9._-]{0,63})?$", description="workdir: the item that each folder is"
        ),
    ] = ""
    sites: Annotated[
        str, Meta(description="folder of a package with HOOK and EXIT, whose callables get the names of log folders")
    ] = ""
    logs_path: Annotated[
        str, Meta(description="sites: what it has as const.LOGS_PATH, and what the names of folders are relative to")
    ] = ""
    exit_timeout: Annotated[Duration, Meta(description="sites: for each EXIT callable")] = Duration(5 * 10**9)
    isolation: Annotated[
        Literal["auto", "task", "thread", "process"],
        Meta(description="auto: async callables in a task, sync ones in a process, which can be killed"),
    ] = "auto"
    batch: Annotated[
        int, Meta(ge=1, le=100_000, description="more than 1: each call gets a list of at most so many records")
    ] = 1
    concurrency: Annotated[int, Meta(ge=1, le=256, description="calls at the same time")] = 1
    order_by: Annotated[
        str, Meta(description="a field: records in which it has the same value are called in order, one by one")
    ] = ""
    timeout: Annotated[Duration, Meta(description="for one call")] = Duration(30 * 10**9)
    attempts: Annotated[
        int, Meta(ge=1, le=1000, description="with each record, the first included; then it is a dead letter")
    ] = 5
    backoff: Annotated[
        Duration, Meta(description="before the second attempt; twice as long before each further one")
    ] = Duration(10**9)
    backoff_max: Annotated[Duration, Meta(description="no longer than this between attempts")] = Duration(300 * 10**9)
    queue: Annotated[
        HookQueue,
        Meta(description="durable: on disk, survives a crash; else in memory, and what happens when it is full"),
    ] = "durable"
    queue_full: Annotated[
        Policy, Meta(description="durable: what happens when the queue is full or its disk takes nothing")
    ] = "drop_newest"
    max_items: Annotated[
        int, Meta(ge=0, description="records after which a worker process is replaced by a new one; 0: never")
    ] = 0
    memory_limit: Annotated[
        Size | None, Meta(description="memory of its own that a worker process or program may use; absent: no limit")
    ] = None
    cpu_limit: Annotated[
        Duration | None,
        Meta(description="processor time for one call in a worker process or program; absent: no limit"),
    ] = None
    via: Via = ()
    options: Annotated[dict[str, Any], Meta(description="the hook's own table, handed over as ctx.config")] = field(
        default_factory=dict
    )

    @property
    def kind(self) -> str:
        """The key that says what is called: ``run``, ``command`` or ``sites``."""
        return "command" if self.command else "sites" if self.sites else "run"

    @property
    def foreign_keys(self) -> frozenset[str]:
        """Keys that are for hooks of another kind, or for durable queues if this one is not: of no effect here, and
        refused when they are written.
        """
        return frozenset(self.foreign_kinds).union(() if self.queue == "durable" else _DURABLE_KEYS)

    @property
    def foreign_kinds(self) -> dict[str, tuple[str, ...]]:
        """Those of hooks of other kinds → those kinds."""
        return {key: kinds for key, kinds in _KINDS_OF.items() if self.kind not in kinds}


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
