"""What a bad hook costs the others: items per second of a good hook beside one that misbehaves, in processes of their
own, against the same good hook alone. One that works, like ``idle`` and ``raise``, costs what its work costs.

``flood``: 8,000 items of 25 records, handed over as fast as the good hook takes them. The bad hook has a queue that
drops, and gets the same.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
from typing import Any

import trio

from appliance.app import Appliance
from appliance.model import LogBatch

from .harness import child, median, rounds, run_appliance

RUNS = 3
ITEMS, SIZE = 8_000, 25
BAD = ("alone", "idle", "raise", "hang", "exit", "segfault", "leak", "shout")
hoard: list[bytearray] = []


# ── what the hooks do, in their processes ──


def good(record: dict[str, Any]) -> None:
    assert record["n"] >= 0


def bad_idle(_: dict[str, Any]) -> None: ...


def bad_raise(record: dict[str, Any]) -> None:
    raise ValueError(record)


def bad_hang(_: dict[str, Any]) -> None:
    time.sleep(600)


def bad_exit(_: dict[str, Any]) -> None:
    os._exit(1)


def bad_segfault(_: dict[str, Any]) -> None:
    ctypes.string_at(0)


def bad_leak(_: dict[str, Any]) -> None:
    while True:
        hoard.append(bytearray(1 << 20))


def bad_shout(_record: dict[str, Any]) -> None:
    """A gigabyte for each record."""
    block = b"x" * 65_535 + b"\n"
    for _ in range(1 << 14):
        os.write(1, block)


# ── the measurement ──


def toml(bad: str) -> str:
    hooks = {"good": ("good", 'queue = "block"'), "bad": (f"bad_{bad}", 'queue = "drop_oldest"')}
    return "".join(
        f'[[hook]]\nname = "{name}"\non = ["log:*"]\nrun = "benchmarks.neighbours:{run}"\nisolation = "process"\n'
        f'{queue}\nqueue_size = 100_000\ntimeout = "1s"\nmemory_limit = "256MiB"\n'
        for name, (run, queue) in hooks.items()
        if run != "bad_alone"
    )


async def flood(appliance: Appliance) -> dict[str, Any]:
    """From the first item until the good hook has done them all, after the workers have started."""
    rows = [b'{"n":%d,"pad":"%s"}\n' % (n, b"x" * 250) for n in range(SIZE)]
    item = LogBatch(path="conn", source="zmq.bench", data=b"".join(rows), count=SIZE)
    door, account = appliance.ledger.account("zmq.bench"), appliance.ledger.account("hook.good")

    async def hand_over(count: int) -> None:
        for number in range(count):
            door.received += SIZE
            await appliance.dispatcher.dispatch(item, door, patience_s=60)
            if number % 16 == 0:
                await trio.lowlevel.checkpoint()
        while account.queued:
            await trio.sleep(0.001)

    await hand_over(100)
    began = time.perf_counter()
    await hand_over(ITEMS)
    return {"rate": ITEMS * SIZE / (time.perf_counter() - began), "lost": account.lost}


def main() -> None:
    results = rounds(BAD, RUNS, lambda mode: child("benchmarks.neighbours", mode))
    base = median(results["alone"], "rate")
    print("| the hook beside it | good hook, records/s | share | lost |\n|---|---|---|---|")
    for mode, found in results.items():
        rate = median(found, "rate")
        print(f"| {mode} | {rate:,.0f} | {rate / base:.0%} | {max(int(each['lost']) for each in found)} |")


if __name__ == "__main__":
    print(json.dumps(run_appliance(toml(sys.argv[1]), flood)))
