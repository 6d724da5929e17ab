"""A sink whose disk is full for a while, in a process of its own: ``full_disk.py limit|tmpfs FOLDER``.

`limit` bounds the size of every file of the process, `tmpfs` expects a small file system at FOLDER. Both are lifted
when the sink has failed a few times. Prints what the books say.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

import trio

from appliance.runtime.backoff import Backoff
from appliance.runtime.supervisor import Supervisor
from tests.sinks.harness import Bench, batch, wait_until

BALLAST_BYTES = 112 << 10


async def main(mode: str, folder: Path) -> None:
    ballast = folder / "ballast"
    if mode == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    else:
        ballast.write_bytes(bytes(BALLAST_BYTES))

    def lift() -> None:
        if mode == "limit":
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        else:
            ballast.unlink()

    bench = Bench(folder, "{path}.log", flush_every=0.01)
    async with trio.open_nursery() as nursery:
        supervisor = Supervisor(nursery, make_backoff=lambda: Backoff(first_s=0.01, longest_s=0.05))
        handle = await supervisor.start("sink.s", bench.sink)
        for first in range(0, 4000, 100):
            bench.put(batch(*range(first, first + 100), path="a" if first % 200 else "b"))
        await wait_until(lambda: handle.restarts >= 3)
        lift()
        await bench.settle()
        await handle.stop(10)
        nursery.cancel_scope.cancel()
    told = {"restarts": handle.restarts, "delivered": bench.figures().delivered, "error": handle.last_error}
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    trio.run(main, sys.argv[1], Path(sys.argv[2]))
