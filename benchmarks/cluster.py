"""Records per second and CPU per record of a cluster's logger on recorded ZeroMQ batches: PULL socket to files.

The batches of a real Zeek run, sent over and over by another process at full speed. They are small, 9.6 records each
on average, because the run was short: what a batch costs counts more here than in production.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import trio
import zmq

from appliance.app import Appliance
from appliance.native import Transcoder

from .harness import Stopwatch, child, median, rounds, run_appliance

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "zeromq" / "cluster.jsonl.gz"
ROUNDS = 120
RUNS = 5
MODES = {
    "transcoder": "C transcoder alone",
    "no consumer": "PULL socket, no consumer",
    "files": "PULL socket and jsonl sink",
}


def messages() -> list[list[bytes]]:
    lines = map(json.loads, gzip.decompress(GOLDEN.read_bytes()).splitlines())
    return [[bytes.fromhex(frame) for frame in line["frames"]] for line in lines if line["socket"] == "pull"]


def push(endpoint: str) -> None:
    context = zmq.Context()
    sock = context.socket(zmq.PUSH)
    sock.set_hwm(20_000)
    sock.connect(endpoint)
    wanted = messages()
    for _ in range(ROUNDS):
        for frames in wanted:
            sock.send_multipart(frames)
    sock.close(-1)
    context.term()


def transcode() -> dict[str, Any]:
    transcoder, payloads = Transcoder(), [frames[3] for frames in messages()]
    watch, count = Stopwatch(), 0
    watch.start()
    for _ in range(ROUNDS):
        for payload in payloads:
            count += transcoder.batch(payload).count
    return watch.stop(count)


async def measure(appliance: Appliance) -> dict[str, Any]:
    line = next(line for line in appliance.status().services if line.service.name == "cluster")
    wanted = ROUNDS * len(messages())
    records, batches = appliance.ledger.account("cluster"), appliance.ledger.account("cluster.batches")
    sender = subprocess.Popen([sys.executable, "-m", "benchmarks.cluster", "push", line.figures.endpoints[0]])
    watch = Stopwatch()
    while not batches.received:
        await trio.sleep(0.001)
    watch.start()
    while batches.received < wanted or any(account.queued for account in appliance.ledger):
        await trio.sleep(0.002)
    result = watch.stop(records.received, lost=appliance.ledger.lost)
    await trio.to_thread.run_sync(sender.wait)
    return result


def run(mode: str) -> dict[str, Any]:
    if mode == "transcoder":
        return transcode()
    sink = '[[sink]]\nname = "files"\non = ["log:*"]\n' if mode == "files" else ""
    toml = f'[cluster]\nbackend = "zeromq"\n[cluster.zeromq]\nlog_bind = "tcp://127.0.0.1:0"\n{sink}'
    return run_appliance(toml, measure)


def main() -> None:
    results = rounds(list(MODES), RUNS, lambda mode: child("benchmarks.cluster", mode))
    print(f"\nZeroMQ log batches: {ROUNDS} times the recorded run, medians of {RUNS} runs\n")
    print("| | records/s | CPU µs per record | lost |\n|---|--:|--:|--:|")
    for mode, name in MODES.items():
        rate, lost = median(results[mode], "rate"), max(r.get("lost", 0) for r in results[mode])
        print(f"| {name} | {rate:,.0f} | {median(results[mode], 'cpu_us'):.2f} | {lost} |")


if __name__ == "__main__":
    if sys.argv[1] == "push":
        push(sys.argv[2])
    else:
        print(json.dumps(run(sys.argv[1])))
