"""The tables ``[[capture]]`` and ``[[capture.handler]]``."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from appliance.config.table_parts import Keep, Name, Table
from appliance.units import Duration, Size

__all__ = ["Capture", "Handler"]


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
