"""Hooks: items per second and the delay from item to call, for each isolation and queue kind, and others beside them.

The whole appliance, fed by a door in its own process with records of 300 bytes. ``single``: an item and a call for
each record. ``batch``: items of 1000 records, and calls with 1000. The delay is measured at 1000 single items a
second, on the clock that all processes share.
"""

from __future__ import annotations

import json
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import trio

from appliance.app import Appliance
from appliance.model import LogBatch

from . import hook_calls
from .harness import Stopwatch, child, cpu_s, median, rounds, run_appliance

RUNS = 3
SINGLE, BATCH = 60_000, 600_000
BATCH_SIZE = 1000
RATE, RATE_S = 1000, 4.0
IDLE_S = 5.0
PAD = b"x" * 250
ISOLATIONS = ("task", "thread", "process")
QUEUES = ("block", "durable")
OURS = [f"{queue}-{isolation}" for queue in QUEUES for isolation in ISOLATIONS]
OTHERS = ("loop", "pool", "huey")


def record(n: int) -> bytes:
    return b'{"n":%d,"at_ns":%d,"pad":"%s"}\n' % (n, time.monotonic_ns(), PAD)


def items(count: int, size: int) -> Iterator[LogBatch]:
    for first in range(0, count, size):
        data = b"".join(record(n) for n in range(first, first + size))
        yield LogBatch(path="conn", source="zmq.bench", data=data, count=size)


def toml(mode: str, what: str, **more: object) -> str:
    queue, isolation = mode.split("-")
    run = {"single": "count", "batch": "count_batch", "delay": "note"}[what] + "_async" * (isolation == "task")
    batch = BATCH_SIZE if what == "batch" else 1
    lines = [
        'name = "bench"', 'on = ["log:*"]', f'run = "benchmarks.hook_calls:{run}"', f'isolation = "{isolation}"',
        f"batch = {batch}", f'queue = "{queue}"', "queue_size = 10_000_000",
        'queue_full = "block"' * (queue == "durable"),
        *(f"{key} = {value}" for key, value in more.items()),
    ]  # fmt: skip
    return "[[hook]]\n" + "\n".join(lines) + "\n"


async def hand_over(appliance: Appliance, item: LogBatch) -> None:
    """As a door does."""
    door = appliance.ledger.account("zmq.bench")
    door.received += item.count
    await appliance.dispatcher.dispatch(item, door, patience_s=60)


async def feed(appliance: Appliance, count: int, size: int) -> dict[str, Any]:
    """Hand over as fast as it is taken."""
    account = appliance.ledger.account("hook.bench")
    made = list(items(count, size))
    watch = Stopwatch()
    watch.start()
    for number, item in enumerate(made):
        await hand_over(appliance, item)
        if number % 64 == 0:
            await trio.lowlevel.checkpoint()
    while account.queued:
        await trio.sleep(0.002)
    return watch.stop(count, lost=account.lost)


async def pace(appliance: Appliance) -> dict[str, Any]:
    """Hand over at a pace."""
    account = appliance.ledger.account("hook.bench")
    began, count = trio.current_time(), 0
    while (now := trio.current_time()) < began + RATE_S:
        while count < (now - began) * RATE:
            for item in items(1, 1):
                await hand_over(appliance, item)
            count += 1
        await trio.sleep(0.001)
    while account.queued:
        await trio.sleep(0.002)
    return {"count": count, "lost": account.lost}


async def rest(_: Appliance) -> dict[str, Any]:
    """Do nothing."""
    await trio.sleep(1)
    before = cpu_s()
    await trio.sleep(IDLE_S)
    return {"share": (cpu_s() - before) / IDLE_S}


def ours(mode: str, what: str) -> dict[str, Any]:
    if what == "idle":
        return run_appliance(toml(mode, "single"), rest)
    if what != "delay":
        count, size = (SINGLE, 1) if what == "single" else (BATCH, BATCH_SIZE)
        return run_appliance(toml(mode, what), lambda appliance: feed(appliance, count, size))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "delays")
        result = run_appliance(toml(mode, what, options=f'{{ file = "{file}" }}'), pace)
        delays = sorted(delay for (delay,) in struct.iter_unpack("<q", file.read_bytes()))
        skipped = delays[: -RATE // 5]  # while the worker starts
        return {**result, "p50_ms": at(skipped, 0.5), "p99_ms": at(skipped, 0.99)}


def at(values: list[int], share: float) -> float:
    return values[int(share * len(values))] / 1e6


def others(mode: str, what: str) -> dict[str, Any]:
    if mode == "huey":
        return huey(what)
    count, size = (SINGLE, 1) if what == "single" else (BATCH, BATCH_SIZE)
    found = [json.loads(record(n)) for n in range(count)]
    watch = Stopwatch()
    if mode == "loop":
        watch.start()
        for each in found:
            hook_calls.count(each)
        return watch.stop(count)
    with ProcessPoolExecutor(1) as pool:
        list(pool.map(hook_calls.count, found[:10]))
        watch.start()
        for _ in pool.map(hook_calls.count, found, chunksize=size):
            pass
        return watch.stop(count)


def huey(what: str) -> dict[str, Any]:
    """One worker thread on a SQLite file; a task is what a batch is here."""
    from huey import SqliteHuey

    count, size = (6000, 1) if what == "single" else (BATCH, BATCH_SIZE)
    with tempfile.TemporaryDirectory() as folder:
        queue = SqliteHuey(filename=str(Path(folder, "huey.db")), results=False)
        done: list[int] = []

        @queue.task()  # type: ignore[untyped-decorator]
        def work(records: list[dict[str, Any]]) -> None:
            hook_calls.count_batch(records)
            done.append(len(records))

        settings = {"workers": 1, "worker_type": "thread", "periodic": False, "backoff": 1, "initial_delay": 0.001}
        consumer = queue.create_consumer(**settings)
        consumer.start()
        watch = Stopwatch()
        watch.start()
        for first in range(0, count, size):
            work([json.loads(record(n)) for n in range(first, first + size)])
        while sum(done) < count:
            time.sleep(0.005)
        result = watch.stop(count)
        consumer.stop(graceful=True)
        return result


def run(mode: str, what: str) -> dict[str, Any]:
    return others(mode, what) if mode in OTHERS else ours(mode, what)


def has_huey() -> bool:
    try:
        import huey  # noqa: F401
    except ImportError:
        return False
    return True


def main() -> None:
    others_here = [mode for mode in OTHERS if mode != "huey" or has_huey()]
    rates = {
        what: rounds([*others_here, *OURS], RUNS, lambda mode, what=what: child("benchmarks.hooks", mode, what))  # type: ignore[misc]
        for what in ("single", "batch")
    }
    delays = rounds(OURS, RUNS, lambda mode: child("benchmarks.hooks", mode, "delay"))
    print(f"\nHooks: medians of {RUNS} runs\n")
    print("| | single items/s | CPU µs | in batches of 1000, items/s | CPU µs | delay p50 ms | p99 ms |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for mode in (*others_here, *OURS):
        figures = [(median(found[mode], "rate"), median(found[mode], "cpu_us")) for found in rates.values()]
        cells = [cell for rate, cpu_us in figures for cell in (f"{rate:,.0f}", f"{cpu_us:.1f}")]
        late = [f"{median(delays[mode], key):.2f}" for key in ("p50_ms", "p99_ms")] if mode in delays else ["", ""]
        print(f"| {mode} | " + " | ".join([*cells, *late]) + " |")
    idle = [child("benchmarks.hooks", "durable-process", "idle")["share"] for _ in range(RUNS)]
    print(f"\nIdle, durable and in a process: {100 * statistics.median(idle):.2f} % of a core")


if __name__ == "__main__":
    if sys.argv[1:]:
        print(json.dumps(run(*sys.argv[1:])))
    else:
        main()
