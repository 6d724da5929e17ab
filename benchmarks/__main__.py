"""``python -m benchmarks [logs] [udp] [start]``: measure and print tables for docs/performance.md."""

from __future__ import annotations

import sys

from benchmarks import logs, start, udp

PARTS = {"logs": logs.main, "udp": udp.main, "start": start.main}

if __name__ == "__main__":
    wanted = sys.argv[1:] or list(PARTS)
    for name in wanted:
        PARTS[name]()
