"""The table ``[broker]``, and what our endpoint is made from."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from appliance.config.table_parts import MaxWait, Table
from appliance.units import Duration, Size

__all__ = ["Broker", "Peering"]


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
