"""What a bad hook costs the others: items per second of a good hook beside one that misbehaves, in processes of their
own, against the same good hook alone. One that works, like ``idle`` and ``raise``, costs what its work costs.

Items of 25 records are handed over for four seconds: as fast as the good hook takes them (``flood``, which shares the
processor out) and at a rate that leaves room (``pace``). The bad hook has a queue that drops, and gets the same.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import time
from typing import Any

import trio

from appliance.app import Appliance
from appliance.model import LogBatch

from .harness import child, median, rounds, run_appliance

RUNS = 3
SECONDS, SIZE, RATE = 4.0, 25, 20_000
BAD = ("alone", "idle", "raise", "hang", "exit", "segfault", "leak", "fork", "shout")
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


def bad_fork(_record: dict[str, Any]) -> None:
    """Ten processes for each record, which outlive the call."""
    for _ in range(10):
        subprocess.Popen(["sleep", "600"])
    time.sleep(600)


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


def make_item() -> LogBatch:
    rows = [b'{"n":%d,"pad":"%s"}\n' % (n, b"x" * 250) for n in range(SIZE)]
    return LogBatch(path="conn", source="zmq.bench", data=b"".join(rows), count=SIZE)


async def hand_over(appliance: Appliance, items: int) -> None:
    """As a door does."""
    item, door = make_item(), appliance.ledger.account("zmq.bench")
    for _ in range(items):
        door.received += SIZE
        await appliance.dispatcher.dispatch(item, door, patience_s=60)
    await trio.lowlevel.checkpoint()


async def flood(appliance: Appliance) -> dict[str, Any]:
    """What the good hook does in that time, after the workers have started."""
    account = appliance.ledger.account("hook.good")

    async def last(seconds: float) -> float:
        began, before = time.perf_counter(), account.delivered
        while time.perf_counter() < began + seconds:
            await hand_over(appliance, 16)
        while account.queued:
            await trio.sleep(0.001)
        return (account.delivered - before) / (time.perf_counter() - began)

    await last(0.5)
    return {"rate": await last(SECONDS), "lost": account.lost}


async def pace(appliance: Appliance) -> dict[str, Any]:
    """What it has done when it was offered `RATE` records a second for that time, and how long the last ones waited."""
    account = appliance.ledger.account("hook.good")
    began, items = trio.current_time(), 0
    while (now := trio.current_time()) < began + SECONDS:
        due = int((now - began) * RATE / SIZE)
        await hand_over(appliance, due - items)
        items = due
        await trio.sleep(0.005)
    done = account.delivered
    while account.queued:
        await trio.sleep(0.001)
    return {"share": done / (items * SIZE), "late_s": trio.current_time() - now, "lost": account.lost}


def main() -> None:
    floods = rounds(BAD, RUNS, lambda mode: child("benchmarks.neighbours", mode, "flood"))
    paces = rounds(BAD, RUNS, lambda mode: child("benchmarks.neighbours", mode, "pace"))
    base = median(floods["alone"], "rate")
    print(f"| the hook beside it | good hook, records/s | share | of {RATE:,}/s done in time | late by | lost |")
    print("|---|--:|--:|--:|--:|--:|")
    for mode, found in floods.items():
        rate, lost = median(found, "rate"), max(int(each["lost"]) for each in (*found, *paces[mode]))
        done, late_s = median(paces[mode], "share"), median(paces[mode], "late_s")
        print(f"| {mode} | {rate:,.0f} | {rate / base:.0%} | {done:.2%} | {late_s * 1e3:.0f} ms | {lost} |")


if __name__ == "__main__":
    if sys.argv[1:]:
        print(json.dumps(run_appliance(toml(sys.argv[1]), pace if sys.argv[2] == "pace" else flood)))
    else:
        main()
