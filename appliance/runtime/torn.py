"""What a crash left of a capture file: a torn last record is cut off."""

from __future__ import annotations

import os
from pathlib import Path

from appliance.native.pcap import PcapScan, scan_pcap

__all__ = ["cut_torn"]


def cut_torn(part: Path) -> tuple[PcapScan, int]:
    """Cut a torn last record, and the header if there is no packet; returns what is left and the bytes cut off.

    Raises:
        OSError: cannot be opened or cut.
        ValueError: no capture file.
    """
    fd = os.open(part, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        scan = scan_pcap(fd)
        if not scan.packets:
            scan = scan._replace(good_bytes=0)
        if scan.good_bytes < size:
            os.ftruncate(fd, scan.good_bytes)
        return scan, size - scan.good_bytes
    finally:
        os.close(fd)
