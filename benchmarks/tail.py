"""Records per second and CPU per record of the tail, and of the stages before it.

The files are conn logs of Zeek's golden capture, written often enough; they are in the page cache. Mode (e) reads while
a process of its own writes at full speed and rotates by rename.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import trio

from appliance.app import Appliance
from appliance.logfile.lines import LineReader
from appliance.native.lines import LineBuffer
from appliance.zeek.json_lines import JsonLineRenderer
from appliance.zeek.tsv import TsvReader

from .harness import Stopwatch, child, median, rounds, run_appliance

RECORDS = 1_000_000
REFERENCE_RECORDS = 50_000
RUNS = 5
BLOCK = 1 << 20
LIVE_S = 8.0
GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "tsv"
MODES = {
    "a": "reference reader in Python, TSV",
    "b": "line reader, TSV",
    "c": "line reader, JSON",
    "d": "tail, no consumer, TSV",
    "e": "tail and jsonl sink, TSV",
    "f": "tail and jsonl sink, JSON",
    "g": "tail and jsonl sink, TSV, beside a writer that rotates every second",
}
SINK = '[[sink]]\nname = "files"\non = ["log:*"]\n'


def lines_of(kind: str) -> tuple[bytes, list[bytes]]:
    """The header and the records of the golden conn log; kind ``log`` (TSV) or ``json``."""
    lines = gzip.decompress((GOLDEN / f"conn.{kind}.gz").read_bytes()).splitlines(keepends=True)
    return b"".join(line for line in lines if line.startswith(b"#"))[: -len(lines[-1]) if kind == "log" else None], [
        line for line in lines if not line.startswith(b"#")
    ]


def blocks_of(kind: str, records: int) -> Iterator[bytes]:
    header, lines = lines_of(kind)
    yield header
    block = lines * 40
    while records > 0:
        yield b"".join(block[:records])
        records -= len(block)


def reference() -> dict[str, Any]:
    data = b"".join(blocks_of("log", REFERENCE_RECORDS))
    reader, watch, count = TsvReader(), Stopwatch(), 0
    watch.start()
    for at in range(0, len(data), BLOCK):
        for batch in reader.feed(data[at : at + BLOCK]):
            JsonLineRenderer(batch.header.schema).lines(batch.records)
            count += len(batch.records)
    assert count == REFERENCE_RECORDS
    return watch.stop(count)


def line_reader(kind: str) -> dict[str, Any]:
    data = b"".join(blocks_of(kind, RECORDS))
    reader, watch, count, at = LineReader("conn", max_line=1 << 20, buffer=LineBuffer()), Stopwatch(), 0, 0
    watch.start()
    while at < len(data):
        piece = reader.convert(data[at : at + BLOCK])
        at += piece.consumed
        count += sum(group.count for group in piece.groups)
    assert count == RECORDS
    return watch.stop(count)


async def measure_files(appliance: Appliance, folder: Path) -> dict[str, Any]:
    door = appliance.ledger.account("tail.bench")
    watch = Stopwatch()
    watch.start()
    (folder / "conn.tmp").rename(folder / "conn.log")
    while door.received < RECORDS or any(account.queued for account in appliance.ledger):
        await trio.sleep(0.002)
    return watch.stop(RECORDS, lost=appliance.ledger.lost)


async def measure_live(appliance: Appliance, folder: Path) -> dict[str, Any]:
    door = appliance.ledger.account("tail.bench")
    watch = Stopwatch()
    watch.start()
    writer = subprocess.Popen([sys.executable, "-m", "benchmarks.tail", "write", str(folder)], stdout=subprocess.PIPE)
    written = int(await trio.to_thread.run_sync(lambda: writer.communicate()[0]))
    while door.received < written or any(account.queued for account in appliance.ledger):
        await trio.sleep(0.002)
    return watch.stop(written, lost=appliance.ledger.lost + abs(door.received - written))


def write(folder: Path) -> int:
    """One system call for 100 records; Zeek makes one for each, and is slower."""
    header, lines = lines_of("log")
    block, written, end = b"".join(lines[:100]), 0, time.monotonic() + LIVE_S
    for i in range(1000):
        fd = os.open(folder / "conn.log", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND)
        os.write(fd, header)
        due = time.monotonic() + 1
        while time.monotonic() < due:
            os.write(fd, b"%d" % written + block[block.index(b".") :])
            written += 100
        os.close(fd)
        (folder / "conn.log").rename(folder / f"conn.2026-11-21-02-00-{i:02}.log")
        if time.monotonic() >= end:
            break
    return written


def run(mode: str) -> dict[str, Any]:
    if mode == "a":
        return reference()
    kind = "json" if mode in "cf" else "log"
    if mode in "bc":
        return line_reader(kind)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        toml = f'[[tail]]\nname = "bench"\npaths = ["{folder}/*.log"]\n' + (SINK if mode != "d" else "")
        if mode == "g":
            return run_appliance(toml, lambda appliance: measure_live(appliance, folder))
        with (folder / "conn.tmp").open("wb") as file:
            file.writelines(blocks_of(kind, RECORDS))
        return run_appliance(toml, lambda appliance: measure_files(appliance, folder))


def main() -> None:
    results = rounds(list(MODES), RUNS, lambda mode: child("benchmarks.tail", mode))
    print(f"\nLog files: {RECORDS:,} conn records, medians of {RUNS} runs\n")
    print("| | | records/s | CPU µs per record | lost |\n|---|---|--:|--:|--:|")
    for mode, name in MODES.items():
        rate, lost = median(results[mode], "rate"), max(r.get("lost", 0) for r in results[mode])
        print(f"| {mode} | {name} | {rate:,.0f} | {median(results[mode], 'cpu_us'):.2f} | {lost} |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["write"]:
        print(write(Path(sys.argv[2])))
    elif sys.argv[1:]:
        print(json.dumps(run(sys.argv[1])))
    else:
        main()
