"""``python -m benchmarks [PART ...]``: measure all or some parts and print tables for docs/performance.md."""

from __future__ import annotations

import sys

from benchmarks import (
    api,
    broker,
    cluster,
    hooks,
    journal,
    logs,
    neighbours,
    start,
    stores,
    tail,
    transcode,
    udp,
    websocket,
)

PARTS = {
    "logs": logs.main,
    "cluster": cluster.main,
    "broker": broker.main,
    "websocket": websocket.main,
    "transcode": transcode.main,
    "tail": tail.main,
    "udp": udp.main,
    "hooks": hooks.main,
    "journal": journal.main,
    "stores": stores.main,
    "start": start.main,
    "neighbours": neighbours.main,
    "api": api.main,
}

if __name__ == "__main__":
    wanted = sys.argv[1:] or list(PARTS)
    for name in wanted:
        PARTS[name]()
