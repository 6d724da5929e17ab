"""Programs that are killed: ``crash.py compress FILE N`` dies before its Nth step, ``crash.py sink FOLDER`` runs on.

The first prints ``done`` if it has fewer steps. The second writes numbered rows into compressed files until somebody
kills it.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

from appliance.runtime import partfile
from appliance.runtime.compress import compress
from tests.sinks.harness import Bench, batch

STEPS = [
    *((os, name) for name in ("open", "read", "writev", "fchmod", "utime", "fsync", "unlink", "close")),
    (partfile, "move"),
]


def die_before(step: int) -> None:
    count = itertools.count()

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if next(count) == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return call

    for module, name in STEPS:
        setattr(module, name, counted(getattr(module, name)))


async def run_sink(folder: Path) -> None:
    bench = Bench(folder, "{path}.log", flush_every=0.001, rotate_size=4096, compress="zstd")
    async with bench.running():
        for first in itertools.count(0, 100):
            bench.put(batch(*range(first, first + 100)))
            await trio.sleep(0.0005)


if __name__ == "__main__":
    if sys.argv[1] == "sink":
        trio.run(run_sink, Path(sys.argv[2]))
    else:
        import zstandard  # noqa: F401 - not a step of ours

        die_before(int(sys.argv[3]))
        compress(Path(sys.argv[2]))
        sys.stdout.write("done")
