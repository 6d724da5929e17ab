"""The table ``[[recorder]]``."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from appliance.config.table_parts import Name, Table
from appliance.units import Duration, Limit, Size

__all__ = ["Recorder"]


class Recorder(Table, frozen=True, kw_only=True):
    """Ring recorder: the packets of one interface, at wire speed, into indexed segments."""

    name: Name
    interface: Annotated[str, Meta(min_length=1, max_length=15, description="network interface")]
    promiscuous: Annotated[bool, Meta(description="also frames for others")] = True
    filter: Annotated[str, Meta(description="pcap-filter(7); empty: everything")] = ""
    snaplen: Annotated[int, Meta(ge=64, le=262_144, description="bytes kept of each packet")] = 65_535
    hardware_time: Annotated[
        bool, Meta(description="times of the interface's own clock, which needs CAP_NET_ADMIN; else the kernel's")
    ] = False
    fanout: Annotated[int, Meta(ge=1, le=64, description="rings and threads that share the packets by flow")] = 1
    ring: Annotated[Size, Meta(description="kernel memory of each ring, 2MiB to 4GiB: bridges a stall")] = Size(
        256 << 20
    )
    directory: Annotated[str, Meta(description="of the segments; empty: recorder/<name>")] = ""
    segment_size: Annotated[Size, Meta(description="no segment grows beyond this")] = Size(1 << 30)
    segment_every: Annotated[Duration, Meta(description="a new segment on the clock's boundary (UTC)")] = Duration(
        60 * 10**9
    )
    compress: Annotated[Literal["none", "zstd"], Meta(description="finished segments")] = "none"
    budget: Annotated[
        Size | None, Meta(description="bytes of all segments; the oldest go first. Absent: what the disk holds")
    ] = None
    min_free: Annotated[Size | None, Meta(description="of the disk that stays free; absent: 2 % of it")] = None
    cutoff: Annotated[Limit, Meta(description="bytes kept of every connection, or none: all")] = Limit.parse("none")
    memory: Annotated[Size, Meta(description='newest packets in memory; for write = "triggered"')] = Size(0)
    write: Annotated[
        Literal["all", "triggered"], Meta(description="triggered: to memory; only evidence reaches the disk")
    ] = "all"
    index: Annotated[bool, Meta(description="a flow index for each segment")] = True
