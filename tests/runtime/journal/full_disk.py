"""A journal on a file system that is full for a while, in a process of its own: ``full_disk.py POLICY FOLDER``.

Fills FOLDER, a small file system, puts 4000 records, makes room again, and prints what the books say.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import structlog
import trio

from appliance.model import Item, LogBatch
from appliance.runtime.journal import journal
from tests.fakes import numbers_in

from .harness import bench


def big(first: int, count: int) -> LogBatch:
    data = b"".join(b"%06d%s\n" % (n, b" " * 2000) for n in range(first, first + count))
    return LogBatch(path="conn", source="zmq.a", data=data, count=count)


async def main(policy: str, folder: Path) -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    journal.RETRY_S = 0.05  # it is tried again, in vain, as often as in a night
    ballast = folder / "ballast"
    lost: list[int] = []
    seen: list[int] = []
    async with bench(folder / "j") as b:
        queue = await b.queue(policy=policy)
        queue.put_nowait(big(0, 100))
        await b.journal.flush()
        with ballast.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)) == 4096:
                    pass
            except OSError:
                pass
        waiting: list[Item] = []
        for first in range(100, 4000, 100):
            rest = queue.put_nowait(big(first, 100))
            if rest is not None:
                waiting.append(rest)
            await trio.sleep(0.01)
        assert b.journal.is_failing
        # What was accepted before is worked on although the disk is full: settling needs no room.
        with trio.fail_after(20):
            while len(seen) < 50:
                async with queue.lease(10) as parcel:
                    seen += [n for item in parcel.items for n in numbers_in(item)]
                    parcel.deliver(parcel.count)
        was_failing = b.journal.is_failing
        figures = b.figures()
        lost.append(figures.dropped.get("disk", 0))
        ballast.unlink()
        with trio.fail_after(20):
            for kept in waiting:
                await queue.wait_put(kept, patience_s=60)
            queue.put_nowait(big(4000, 100))
            await b.journal.flush()
    async with bench(folder / "j") as b:  # what the disk holds, in another run
        queue = await b.queue(policy=policy)
        with trio.fail_after(20):
            while queue._backlog.records:
                async with queue.lease(100) as parcel:
                    seen += [n for item in parcel.items for n in numbers_in(item)]
                    parcel.deliver(parcel.count)
        b.figures()
    told = {"lost": lost[0], "seen": len(seen), "distinct": len(set(seen)), "last": max(seen), "failing": was_failing}
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    trio.run(main, sys.argv[1], Path(sys.argv[2]))
