"""What a crash left of a capture file: a torn last record is cut off, a file without a packet is not worth keeping."""

from __future__ import annotations

from pathlib import Path

from appliance.native.pcap import PcapScan
from appliance.runtime.partfile import Repair
from appliance.runtime.torn import cut_torn

__all__ = ["repair_pcap"]


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
