"""The table ``[[sink]]``."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from appliance.config.table_parts import Consumer, Keep, Policy, Via
from appliance.units import Duration, Size

__all__ = ["Sink"]

_FILE_KEYS = frozenset(
    {"path", "rotate_every", "rotate_size", "flush_every", "compress", "keep", "add_fields", "time_format"}
)
_BROKER_KEYS = frozenset({"topic", "unsolicited", "via", "pool", "key"})
_ZMQ_KEYS = frozenset({"endpoint"})


class Sink(Consumer, frozen=True, kw_only=True):
    """Log records into files or to a ZeroMQ subscriber, or logs, events and prints into a cluster."""

    kind: Annotated[
        Literal["jsonl", "tsv", "broker", "zmq"],
        Meta(
            description="jsonl: one JSON object a line; tsv: Zeek's ASCII format; broker: published again in the "
            "cluster; zmq: logs as the ZeroMQ log writer publishes them"
        ),
    ] = "jsonl"
    topic: Annotated[
        str,
        Meta(
            description="broker: what is published goes out on it as it is; logs, with a / at its end, on it and their "
            "stream; if it is empty, logs on zeek/logs/ and their stream"
        ),
    ] = ""
    unsolicited: Annotated[bool, Meta(description="broker: to every peer, whether it asked for the topic or not")] = (
        False
    )
    pool: Annotated[
        Literal["", "worker", "proxy", "logger"],
        Meta(description="broker: to one member of this pool of the cluster, in place of a topic"),
    ] = ""
    key: Annotated[
        str,
        Meta(
            description="pool: the field of a record, or the number of an event's argument, whose hash chooses the "
            "member as Cluster::publish_hrw does; empty: by turns, as publish_rr"
        ),
    ] = ""
    via: Via = ()
    endpoint: Annotated[
        str, Meta(description="zmq: where the subscriber binds, tcp://host:port or ipc:///path; we connect")
    ] = ""
    path: Annotated[str, Meta(description="strftime (UTC) and {path} {node} {source}")] = "logs/{path}/%Y-%m-%d-%H.log"
    rotate_every: Annotated[Duration, Meta(description="on the clock's boundary (UTC)")] = Duration(3600 * 10**9)
    rotate_size: Annotated[Size | None, Meta(description="in addition: no file grows beyond this")] = None
    flush_every: Annotated[Duration, Meta(description="longest time that a record stays in memory")] = Duration(10**9)
    compress: Annotated[Literal["none", "zstd"], Meta(description="finished files")] = "none"
    keep: Annotated[Keep | None, Meta(description="how much of the finished files is kept")] = None
    add_fields: Annotated[
        tuple[Literal["_path", "_node", "_write_ts"], ...],
        Meta(description="members that a record gets unless it has them; jsonl only"),
    ] = ()
    time_format: Annotated[
        Literal["epoch", "iso8601", "millis"],
        Meta(description="of times, as Zeek's JSON writer names them; jsonl only"),
    ] = "epoch"
    queue: Annotated[Policy, Meta(description="what happens when the queue is full")] = "block"

    @property
    def foreign_keys(self) -> frozenset[str]:
        """Keys that are for sinks of another kind: of no effect here, and refused when they are written."""
        own = {"broker": _BROKER_KEYS, "zmq": _ZMQ_KEYS}.get(self.kind, _FILE_KEYS)
        return (_FILE_KEYS | _BROKER_KEYS | _ZMQ_KEYS) - own
