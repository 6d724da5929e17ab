"""A capturer whose disk is full for a while, in a process of its own: ``full_disk.py limit|tmpfs FOLDER``.

`limit` bounds the size of every file of the process, `tmpfs` expects a small file system at FOLDER. Both are lifted
when writing has failed a few times. Prints what the books say.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

import trio

from tests.capture.harness import Bench, wait_until

PACKETS = 300
BALLAST_BYTES = 112 << 10


async def main(mode: str, folder: Path) -> None:
    ballast = folder / "ballast"
    if mode == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
    else:
        ballast.write_bytes(bytes(BALLAST_BYTES))
    bench = Bench(folder, "{seq}.pcap")
    async with bench.running():
        await bench.send(*[b"%06d" % n + bytes(200) for n in range(PACKETS)])
        await wait_until(lambda: bench.figures().write_errors >= 2)
        delivered_before = bench.books().delivered
        if mode == "limit":
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        else:
            ballast.unlink()
        await wait_until(lambda: bench.books().delivered == PACKETS)
    packets = [int(packet[:6]) for file in bench.packets().values() for packet in file]
    told = {
        "before": delivered_before,
        "in_order": packets == list(range(PACKETS)),
        "lost": bench.account.lost + bench.books().lost,
    }
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    trio.run(main, sys.argv[1], Path(sys.argv[2]))
