"""The tables of the file that are about evidence: packets for alarms, and the map from uids to flows."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from appliance.config.table_parts import Consumer, HookQueue, Keep, Name, Policy, QueueSize, Table
from appliance.units import Duration, Size

__all__ = ["Evidence", "Uids"]


class Evidence(Consumer, frozen=True, kw_only=True):
    """Packets for an alarm: from before the record to after it, as one PCAP with a note."""

    where: Annotated[str, Meta(description="rule-engine expression over the record's fields")] = ""
    recorder: Annotated[Name, Meta(description="whose packets")]
    before: Annotated[Duration, Meta(description="how long before the record's ts the packets begin")] = Duration(
        60 * 10**9
    )
    after: Annotated[Duration, Meta(description="how long after the record's ts they end")] = Duration(30 * 10**9)
    select: Annotated[
        Literal["conn", "pair", "host", "all"],
        Meta(
            description="which packets, by the record's id.*, uid, community_id, src and dst; a record that does not "
            "name a connection gets those of the pair, one that names one host those of that"
        ),
    ] = "conn"
    max_size: Annotated[
        Size,
        Meta(
            description="of one PCAP; of a connection its first packets are kept, of hosts those nearest to the alarm"
        ),
    ] = Size(100 << 20)
    max_span: Annotated[
        Duration, Meta(description="longest time that one PCAP covers when alarms follow each other, or one that asks")
    ] = Duration(3600 * 10**9)
    max_pending: Annotated[
        int, Meta(ge=1, le=1_000_000, description="PCAPs that may be unfinished; further alarms are left out")
    ] = 1000
    max_rate: Annotated[
        int, Meta(ge=1, le=1_000_000, description="PCAPs begun in a minute; further alarms are left out")
    ] = 60
    directory: Annotated[str, Meta(description="of the PCAPs; strftime (UTC, the record's ts) and {name}")] = (
        "evidence/{name}/%Y-%m-%d"
    )
    keep: Annotated[Keep | None, Meta(description="how much of the finished files is kept")] = None
    queue: Annotated[
        HookQueue,
        Meta(description="durable: on disk, survives a crash; else in memory, and what happens when it is full"),
    ] = "durable"
    queue_full: Annotated[
        Policy, Meta(description="durable: what happens when the queue is full or its disk takes nothing")
    ] = "drop_newest"

    @property
    def foreign_keys(self) -> frozenset[str]:
        """Keys that are for durable queues: of no effect with others, and refused when they are written."""
        return frozenset() if self.queue == "durable" else frozenset({"queue_full"})


class Uids(Table, frozen=True, kw_only=True):
    """Which flow a Zeek uid means: <state_dir>/uids.db, kept if there is a recorder."""

    on: Annotated[tuple[str, ...], Meta(description="log:<path glob>: records with uid and id.*; empty: no map")] = (
        "log:conn",
    )
    from_: Annotated[tuple[str, ...], Meta(description="doors, e.g. zmq.bro; empty: any")] = field(
        name="from", default=()
    )
    max_flows: Annotated[int, Meta(ge=1000, le=1_000_000_000, description="that are kept; the oldest go")] = 5_000_000
    keep: Annotated[Duration, Meta(description="how long each is kept")] = Duration(7 * 86400 * 10**9)
    queue_size: QueueSize = 200_000
    queue_bytes: Annotated[Size, Meta(description="bytes that may wait")] = Size(256 << 20)
