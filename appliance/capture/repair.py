"""What a crash left of a capture file: a torn last record is cut off, a file without a packet is not worth keeping."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import msgspec
import structlog

from appliance.model import Segment
from appliance.native.pcap import PcapScan
from appliance.runtime.partfile import Repair, finish_leftovers
from appliance.runtime.pattern import PathPattern
from appliance.runtime.torn import cut_torn

__all__ = ["recover_segments", "repair_pcap"]

log = structlog.get_logger("capture")


def repair_pcap(part: Path, *, scans: dict[Path, PcapScan] | None = None) -> Repair:
    """Make a capture file whole in place; see `appliance.runtime.partfile.finish_leftovers`.

    Args:
        part: the file.
        scans: gets what is in it.

    Raises:
        OSError: cannot be opened or cut.
        ValueError: no capture file.
    """
    scan, cut = cut_torn(part)
    if scans is not None:
        scans[part] = scan
    return Repair(cut=cut, size=scan.good_bytes)


def recover_segments(pattern: PathPattern, *, handler: str, source: str) -> tuple[list[Segment], int]:
    """Finish what an earlier run has left behind. Blocks.

    Args:
        pattern: of the files.
        handler, source: whose they are.

    Returns:
        Those that have packets, and how many were finished altogether. What the earlier run lost is not known.
    """
    segments: list[Segment] = []
    finished = 0
    scans: dict[Path, PcapScan] = {}
    for leftover in finish_leftovers(pattern, partial(repair_pcap, scans=scans)):
        finished += leftover.outcome == "finished"
        found = {name: str(value) for name, value in msgspec.structs.asdict(leftover).items() if value}
        log.warning("found a file of an earlier run", door=source, **found)
        if leftover.final is not None:
            segments.append(_segment_of(leftover.final, scans[leftover.part], handler=handler, source=source))
    return segments, finished


def _segment_of(path: Path, scan: PcapScan, *, handler: str, source: str) -> Segment:
    return Segment(
        handler=handler,
        source=source,
        path=str(path),
        packets=scan.packets,
        disk_size=scan.good_bytes,
        first_ns=scan.first_ns,
        last_ns=scan.last_ns,
        linktype=scan.linktype,
    )
