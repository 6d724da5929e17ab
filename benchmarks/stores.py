"""Data stores: puts a second beside a bare dict and a bare SQLite table, how late a clone is, and large snapshots.

Both sides are whole appliances in processes of their own, on loopback without TLS.
"""

from __future__ import annotations

import json
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import trio

from appliance.app import Appliance
from appliance.model import Item
from appliance.runtime.ledger import Account
from appliance.runtime.queue import ItemQueue
from appliance.runtime.stores import StoreRequest
from appliance.wire.stores.commands import NOBODY, Put
from appliance.zeek.binary import decode, encode
from appliance.zeek.values import Count

from .harness import Stopwatch, child, median, rounds, run_appliance

PUTS = 60_000
WRITERS = 200
RUNS = 3
ENTRIES = 1_000_000
BEATS = 2_000
"""Puts of the latency's measurement, one each millisecond."""
BATCH = 1000
BROKER = '[broker]\ntls = "off"\nqueue_bytes = "256MiB"\nmax_message = "256MiB"\n{}\n'
STORE = '[[store]]\nname = "s"\n{}\n'
MODES = {
    "dict": "a Python dict, keys and values encoded",
    "table": f"a bare SQLite table, {BATCH:,} puts a transaction",
    "memory": "master in memory, a hook after the other",
    "memory-many": f"master in memory, {WRITERS} hooks at a time",
    "sqlite": "master on SQLite, a hook after the other",
    "sqlite-many": f"master on SQLite, {WRITERS} hooks at a time",
    "peer-memory": f"master in memory, {WRITERS} writers at a clone elsewhere",
    "peer-sqlite": f"master on SQLite, {WRITERS} writers at a clone elsewhere",
}


def pairs(count: int) -> list[tuple[bytes, bytes]]:
    return [(encode(Count(number)), encode(Count(number * 3))) for number in range(count)]


def bare_dict() -> dict[str, Any]:
    found, watch = pairs(PUTS), Stopwatch()
    kept: dict[bytes, bytes] = {}
    watch.start()
    for key, value in found:
        kept[key] = value  # noqa: PERF403 - one after the other is what is measured
    return watch.stop(PUTS)


def bare_table() -> dict[str, Any]:
    found, watch = pairs(PUTS), Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        db = sqlite3.connect(Path(folder, "x.sqlite"), isolation_level=None)
        db.execute("pragma journal_mode = wal")
        db.execute("pragma synchronous = normal")
        db.execute("create table store (key blob primary key, value blob, expiry integer)")
        watch.start()
        for at in range(0, PUTS, BATCH):
            db.execute("begin immediate")
            rows = [(key, value, None) for key, value in found[at : at + BATCH]]
            db.executemany("insert or replace into store values (?, ?, ?)", rows)
            db.execute("commit")
        result = watch.stop(PUTS)
        db.close()
    return result


async def put_all(appliance: Appliance, count: int, writers: int) -> None:
    """Each writer waits for the acknowledgement of one put before the next."""
    stores, found = appliance.stores, pairs(count)
    await stores.perform("s", StoreRequest(operation="size"))

    async def write(first: int) -> None:
        for key, value in found[first::writers]:
            await stores.perform("s", StoreRequest(operation="put", key=key, value=value, timeout_s=60.0))

    async with trio.open_nursery() as nursery:
        for first in range(writers):
            nursery.start_soon(write, first)


def _figures(appliance: Appliance, name: str) -> Any:
    return next(line.figures for line in appliance.status().services if line.service.name == name)


def _core(appliance: Appliance) -> Any:
    """The store itself, past all that makes a put durable and told."""
    assert appliance._assembly is not None  # noqa: SLF001
    return appliance._assembly.units["store.s"].service._inner  # noqa: SLF001


def local(more: str, count: int, writers: int) -> dict[str, Any]:
    async def measure(appliance: Appliance) -> dict[str, Any]:
        watch = Stopwatch()
        watch.start()
        await put_all(appliance, count, writers)
        return watch.stop(count)

    return run_appliance(STORE.format(more), measure)


def from_peer(more: str) -> dict[str, Any]:
    async def measure(appliance: Appliance) -> dict[str, Any]:
        address = _figures(appliance, "broker").listening[0]
        watch = Stopwatch()
        watch.start()
        told = await _child("write", address)
        result = watch.stop(PUTS)
        assert _figures(appliance, "store.s").entries == PUTS
        return {**result, "rate": told["rate"]}

    return run_appliance(BROKER.format('listen = ["127.0.0.1:0"]') + STORE.format(more), measure)


async def _child(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.stores", *arguments]
    done = await trio.run_process(command, capture_stdout=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def clone_of(address: str, measure: Callable[[Appliance], Any]) -> dict[str, Any]:
    text = BROKER.format(f'connect = ["{address}"]') + STORE.format('role = "clone"')
    return run_appliance(text, measure)


def write(address: str) -> dict[str, Any]:
    """A clone whose writers write."""

    async def measure(appliance: Appliance) -> dict[str, Any]:
        await appliance.stores.perform("s", StoreRequest(operation="size"))
        watch = Stopwatch()
        watch.start()
        await put_all(appliance, PUTS, WRITERS)
        return watch.stop(PUTS)

    return clone_of(address, measure)


# ── how late a clone is ──


class Clocks(ItemQueue):
    """Looks at how old each value is that comes."""

    def __init__(self, account: Account) -> None:
        super().__init__(account, policy="drop_newest", max_records=1, max_bytes=1)
        self.ages_ns: list[int] = []
        self.is_complete = trio.Event()

    def put_nowait(self, item: Item) -> Item | None:
        value = decode(item.value)  # type: ignore[union-attr, arg-type]
        self.ages_ns.append(time.monotonic_ns() - value.value)  # type: ignore[union-attr]
        self.account.received += 1
        self.account.drop("unwanted", 1)
        if len(self.ages_ns) >= BEATS:
            self.is_complete.set()
        return None


def listen(address: str) -> dict[str, Any]:
    """A clone that looks at how late it is."""

    async def measure(appliance: Appliance) -> dict[str, Any]:
        queue = Clocks(appliance.ledger.account("clocks"))
        appliance.dispatcher.subscribe("clocks", queue, on=("store:s",), sources=())
        await queue.is_complete.wait()
        ages = sorted(queue.ages_ns)
        return {"p50": ages[len(ages) // 2] / 1e6, "p99": ages[len(ages) * 99 // 100] / 1e6, "most": ages[-1] / 1e6}

    return clone_of(address, measure)


def latency() -> dict[str, Any]:
    async def measure(appliance: Appliance) -> dict[str, Any]:
        address = _figures(appliance, "broker").listening[0]
        result: dict[str, Any] = {}

        async def run_child() -> None:
            result.update(await _child("listen", address))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_child)
            while not _figures(appliance, "store.s").clones:
                await trio.sleep(0.01)
            await trio.sleep(0.5)
            due_s = trio.current_time()
            for number in range(BEATS):
                due_s += 0.001
                await trio.sleep_until(due_s)
                value = encode(Count(time.monotonic_ns()))
                await appliance.stores.perform(
                    "s", StoreRequest(operation="put", key=encode(Count(number)), value=value)
                )
        return result

    return run_appliance(BROKER.format('listen = ["127.0.0.1:0"]') + STORE.format(""), measure)


# ── large snapshots ──


async def watch_loop(found: dict[str, float]) -> None:
    """Note the longest time in which the loop did nothing else."""
    while True:
        began = time.perf_counter()
        await trio.sleep(0.002)
        found["stall"] = max(found.get("stall", 0.0), time.perf_counter() - began - 0.002)


def serve() -> dict[str, Any]:
    """A master with many entries, until standard input ends."""

    async def measure(appliance: Appliance) -> dict[str, Any]:
        core = _core(appliance)
        for at, (key, value) in enumerate(pairs(ENTRIES)):
            core.me.apply(Put(key, value, None, NOBODY), 0)
            if at % 1000 == 0:
                await trio.lowlevel.checkpoint()
        await trio.sleep(1.0)
        print(_figures(appliance, "broker").listening[0], flush=True)
        found: dict[str, float] = {}
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch_loop, found)
            await trio.to_thread.run_sync(sys.stdin.read)
            nursery.cancel_scope.cancel()
        return {"stall": found["stall"], "rss": _rss_mb()}

    return run_appliance(BROKER.format('listen = ["127.0.0.1:0"]') + STORE.format(""), measure)


def _rss_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def snapshot() -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.stores", "serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as master:
        assert master.stdout is not None
        assert master.stdin is not None
        address = master.stdout.readline().strip()
        before = _rss_mb()

        async def measure(appliance: Appliance) -> dict[str, Any]:
            found: dict[str, float] = {}
            began = time.perf_counter()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch_loop, found)
                while _figures(appliance, "store.s").entries < ENTRIES:
                    await trio.sleep(0.002)
                took = time.perf_counter() - began
                await trio.sleep(0.5)
                nursery.cancel_scope.cancel()
            return {"took": took, "stall": found["stall"], "rss": _rss_mb() - before}

        result = clone_of(address, measure)
        master.stdin.close()
        told = json.loads(master.stdout.read().splitlines()[-1])
    return {**result, "master_stall": told["stall"], "master_rss": told["rss"]}


RUNNERS: dict[str, Callable[..., dict[str, Any]]] = {
    "dict": bare_dict,
    "table": bare_table,
    "memory": partial(local, "", PUTS, 1),
    "memory-many": partial(local, "", PUTS, WRITERS),
    "sqlite": partial(local, "persistent = true", PUTS // 30, 1),
    "sqlite-many": partial(local, "persistent = true", PUTS, WRITERS),
    "peer-memory": partial(from_peer, ""),
    "peer-sqlite": partial(from_peer, "persistent = true"),
    "write": write,
    "listen": listen,
    "latency": latency,
    "serve": serve,
    "snapshot": snapshot,
}


def main() -> None:
    results = rounds(list(MODES), RUNS, lambda mode: child("benchmarks.stores", mode))
    print("\n| | puts/s | CPU µs per put |\n|---|--:|--:|")
    for mode, name in MODES.items():
        print(f"| {name} | {median(results[mode], 'rate'):,.0f} | {median(results[mode], 'cpu_us'):.1f} |")
    late = child("benchmarks.stores", "latency")
    print(f"\nlatency to a clone: p50 {late['p50']:.2f} ms, p99 {late['p99']:.2f} ms, most {late['most']:.1f} ms")
    large = child("benchmarks.stores", "snapshot")
    print(
        f"snapshot of {ENTRIES:,} entries: {large['took']:.1f} s, longest stall {large['stall'] * 1000:.0f} ms at the "
        f"clone and {large['master_stall'] * 1000:.0f} ms at the master, {large['rss']:.0f} MiB more at the clone, "
        f"{large['master_rss']:.0f} MiB in all at the master"
    )


if __name__ == "__main__":
    print(json.dumps(RUNNERS[sys.argv[1]](*sys.argv[2:])))
