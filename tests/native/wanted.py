"""Packets that a query wants, out of PCAP files."""

from __future__ import annotations

import os
from pathlib import Path

from appliance.native import Extent, FlowQuery, PcapMerge, SegmentIndex

__all__ = ["read_segment", "read_wanted"]


def read_wanted(fd: int, query: FlowQuery, extents: list[Extent] | None = None) -> bytes:
    """The records of one file, or of parts of it."""
    merge = PcapMerge(query)
    merge.add(fd, extents)
    return b"".join(iter(merge.read, None))


def read_segment(path: Path, query: FlowQuery, index: Path) -> bytes:
    """The records of one file that its index points at."""
    with path.open("rb") as pcap, index.open("rb") as sidecar:
        extents = SegmentIndex(sidecar.fileno()).lookup(query, os.fstat(pcap.fileno()).st_size)
        return read_wanted(pcap.fileno(), query, extents)
