"""The journal alone: a million records that wait, what a start with them costs, and what goes in and out.

Records of 300 bytes, put one by one; the start and its memory are measured in a process of their own.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import structlog
import trio

from appliance.model import LogBatch
from appliance.runtime.durable import DurableQueue
from appliance.runtime.journal.journal import Journal
from appliance.runtime.journal.shelf import RetryPolicy
from appliance.runtime.journal.sqlite import SqliteKeep
from appliance.runtime.ledger import Account

from .harness import Stopwatch, child

RECORDS = 1_000_000
TAKEN = 100_000
ROW = b'{"pad":"%s"}\n' % (b"x" * 288)


def memory_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def make_queue(folder: Path) -> tuple[Journal, DurableQueue]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    journal = Journal(SqliteKeep(folder / "journal.db"))
    queue = DurableQueue(
        journal, journal.backlog("h", Account("hook.h")), policy="block", max_records=2 * RECORDS, max_bytes=1 << 40,
        retry=RetryPolicy(),
    )  # fmt: skip
    return journal, queue


async def fill(folder: Path) -> dict[str, Any]:
    journal, queue = make_queue(folder)
    await queue.open()
    item = LogBatch(path="conn", source="zmq.a", data=ROW, count=1)
    watch = Stopwatch()
    watch.start()
    for _ in range(RECORDS):
        if (rest := queue.put_nowait(item)) is not None:
            await queue.wait_put(rest, patience_s=60)
    await journal.flush()
    result = watch.stop(RECORDS, memory_mib=memory_mib())
    await journal.aclose(60)
    return result


async def start(folder: Path) -> dict[str, Any]:
    before = memory_mib()
    began = time.perf_counter()
    journal, queue = make_queue(folder)
    await queue.open()
    async with queue.lease(256) as parcel:
        first_s = time.perf_counter() - began
        assert queue.statistics().records == RECORDS
        parcel.deliver(parcel.count)
    watch = Stopwatch()
    watch.start()
    taken = 0
    while taken < TAKEN:
        async with queue.lease(256) as parcel:
            taken += parcel.count
            parcel.deliver(parcel.count)
    result = watch.stop(taken, first_s=first_s, memory_mib=memory_mib() - before)
    await journal.aclose(60)
    return result


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        filled = child("benchmarks.journal", "fill", folder)
        started = child("benchmarks.journal", "start", folder)
    print(f"\nJournal with {RECORDS:,} records\n\n| | |\n|---|--:|")
    print(f"| put one by one, records/s | {filled['rate']:,.0f} |")
    print(f"| memory of the process that puts them, MiB | {filled['memory_mib']:,.0f} |")
    print(f"| from the start to the first lease, ms | {1000 * started['first_s']:,.0f} |")
    print(f"| leased by 256 and settled after that, records/s | {started['rate']:,.0f} |")
    print(f"| memory that this takes, MiB | {started['memory_mib']:,.0f} |")


if __name__ == "__main__":
    if sys.argv[1:]:
        print(json.dumps(trio.run({"fill": fill, "start": start}[sys.argv[1]], Path(sys.argv[2]))))
    else:
        main()
