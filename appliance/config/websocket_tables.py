"""The table ``[[websocket]]``."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from appliance.config.table_parts import MaxWait, Name, Table
from appliance.units import Duration, Size

__all__ = ["Websocket"]


class Websocket(Table, frozen=True, kw_only=True):
    """A client of Zeek's WebSocket API: events of a cluster, whatever its backend is."""

    name: Name
    url: Annotated[
        str, Meta(description="ws://host:port or wss://host:port; the path is /v1/messages/json if there is none")
    ]
    topics: Annotated[
        tuple[str, ...], Meta(description="prefixes of the topics that we take; empty: we only publish")
    ] = ()
    publish: Annotated[
        tuple[str, ...] | None,
        Meta(description='what may be published: topics, or prefixes that end in "/" or "."; absent: everything'),
    ] = None
    application: Annotated[
        str,
        Meta(
            pattern=r"^[-A-Za-z0-9/_.=:*@]{0,128}$",
            description="what we call ourselves in Zeek's logs; empty: broappliance and its version",
        ),
    ] = ""
    ca: Annotated[str, Meta(description="wss: who may sign the server's certificate, PEM; empty: the system's")] = ""
    verify: Annotated[bool, Meta(description="wss: false: whoever answers is believed, whatever his certificate")] = (
        True
    )
    server_name: Annotated[str, Meta(description="wss: name in the server's certificate; empty: the host of url")] = ""
    certificate: Annotated[str, Meta(description="wss: our certificate with its chain, PEM")] = ""
    key: Annotated[str, Meta(description="wss: its key, PEM")] = ""
    passphrase_file: Annotated[str, Meta(description="wss: file whose first line is the passphrase of the key")] = ""
    authorization_file: Annotated[
        str, Meta(description="file whose first line is sent as Authorization, for a proxy in front of Zeek")
    ] = ""
    time_zone: Annotated[
        str, Meta(description="of the server, e.g. Europe/Berlin: Zeek up to 7.2 sends local times; later ones UTC")
    ] = "UTC"
    retry_interval: Annotated[
        Duration, Meta(description="before the second attempt to connect; twice as long before each further one")
    ] = Duration(10**9)
    retry_max: Annotated[Duration, Meta(description="no longer than this between attempts")] = Duration(30 * 10**9)
    connect_timeout: Annotated[Duration, Meta(description="for a connection, with TLS and the upgrade from HTTP")] = (
        Duration(10 * 10**9)
    )
    ack_timeout: Annotated[
        Duration,
        Meta(description="for the acknowledgement of our topics; a server that dislikes them never sends it"),
    ] = Duration(10 * 10**9)
    ping_interval: Annotated[
        Duration,
        Meta(description="a server that is silent for three of these although it is asked is cut; 0s: never"),
    ] = Duration(5 * 10**9)
    queue: Annotated[int, Meta(ge=1, le=10_000_000, description="messages that may wait to be sent")] = 8192
    queue_bytes: Annotated[Size, Meta(description="their bytes")] = Size(64 << 20)
    overflow: Annotated[
        Literal["drop_oldest", "drop_newest", "disconnect"], Meta(description="when the queue is full")
    ] = "drop_oldest"
    max_message: Annotated[Size, Meta(description="a server that sends a longer one is cut; we send none either")] = (
        Size(4 << 20)
    )
    max_wait: MaxWait = Duration(5 * 10**9)
