"""What an extraction gave, and what is missing in it and why. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from appliance.pcap.moment import format_time
from appliance.runtime.packets import Gap

from .gaps import CUTOFF
from .sources import FOREVER_NS

__all__ = ["Flaw", "Report", "describe_gap"]


class Flaw(msgspec.Struct, frozen=True):
    """A source that could not be read as it should."""

    source: str
    what: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """See the module. Times are nanoseconds since the epoch."""

    packets: int
    bytes: int
    """Of the PCAP, with its header."""
    first_ns: int | None
    """The earliest packet; None if there is none."""
    last_ns: int | None
    linktype: int
    sources: int
    """Segments in the time that was asked for."""
    read_packets: int
    read_bytes: int
    """Of the segments, without their indexes."""
    unindexed: int
    """Segments that were read whole, because they have no index, or a damaged one."""
    is_capped: bool
    """There are more packets than the limit allows."""
    gaps: tuple[Gap, ...]
    """What is missing in the time that was asked for, and why."""
    cutoff_packets: int
    """Of all connections in that time, left out on purpose because they were past the cutoff."""
    flaws: tuple[Flaw, ...]
    """Sources that were damaged, deleted meanwhile, or cannot be read; each is among the gaps, too."""

    @property
    def is_complete(self) -> bool:
        """Nothing that was asked for is missing: nothing dropped, deleted or damaged in that time, and no limit."""
        return not (self.gaps or self.is_capped)

    @classmethod
    def split_cutoff(cls, gaps: list[Gap]) -> tuple[tuple[Gap, ...], int]:
        """What is missing, by time, and how many packets were left out on purpose."""
        cut = sum(gap.packets or 0 for gap in gaps if gap.reason == CUTOFF)
        return tuple(sorted((gap for gap in gaps if gap.reason != CUTOFF), key=lambda gap: gap.from_ns)), cut

    def document(self) -> dict[str, Any]:
        """The figures as they are, and times as people read them."""
        document: dict[str, Any] = msgspec.to_builtins(self)
        document["is_complete"] = self.is_complete
        document["first"] = None if self.first_ns is None else format_time(self.first_ns)
        document["last"] = None if self.last_ns is None else format_time(self.last_ns)
        document["missing"] = [describe_gap(gap) for gap in self.gaps]
        for told, gap in zip(document["gaps"], self.gaps, strict=True):
            told["from"], told["to"] = format_time(gap.from_ns), _end(gap)
        return document


def describe_gap(gap: Gap) -> str:
    """A line for people."""
    amount = [f"{gap.packets:,} packets"] if gap.packets is not None else []
    amount += [f"{gap.bytes:,} bytes"] if gap.bytes is not None else []
    told = f" ({', '.join(amount)})" if amount else ""
    return f"{gap.reason}: from {format_time(gap.from_ns)} to {_end(gap) or 'nobody knows when'}{told}"


def _end(gap: Gap) -> str | None:
    return None if gap.to_ns >= FOREVER_NS else format_time(gap.to_ns)
