"""Datagrams recorded without loss, beside a loop that does what AIT-Core's capturer does: one receive, one write and
one flush for each datagram."""

from __future__ import annotations

import json
import select
import socket
import struct
import subprocess
import sys
import tempfile
import time
from typing import Any

import trio

from appliance.app import Appliance
from appliance.native import scan_pcap

from .harness import Stopwatch, child, median, rounds, run_appliance

PER_S = 60_000
SECONDS = 4
SIZE = 1000
BUFFER = 4 << 20
RUNS = 5
MODES = {"loop": "one receive, write and flush each", "ours": "broappliance [[capture]]"}


def send(port: str) -> None:
    """`PER_S` datagrams a second, by the millisecond, on an absolute clock."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(("127.0.0.1", int(port)))
    data, burst = b"x" * SIZE, PER_S // 1000
    began = time.monotonic()
    for i in range(SECONDS * 1000):
        time.sleep(max(0.0, began + i / 1000 - time.monotonic()))
        for _ in range(burst):
            sock.send(data)


def sender(port: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "benchmarks.udp", "send", str(port)])


def loop() -> dict[str, Any]:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    sock.bind(("127.0.0.1", 0))
    process = sender(sock.getsockname()[1])
    watch, count = Stopwatch(), 0
    with tempfile.TemporaryFile() as file:
        file.write(struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 147))
        while select.select([sock], [], [], 1.0 if count else 30.0)[0]:
            data = sock.recv(65565)
            if not count:
                watch.start()
            now = time.time()
            file.write(struct.pack("=IIII", int(now), int(now % 1 * 1e6), len(data), len(data)) + data)
            file.flush()
            count += 1
    result = watch.stop(count, recorded=count)
    process.wait()
    return result


async def measure(appliance: Appliance) -> dict[str, Any]:
    line = next(line for line in appliance.status().services if line.service.name == "capture.bench")
    account, whole = appliance.ledger.account("handler.bench/raw"), appliance.ledger.account("capture.bench")
    process = sender(int(line.figures.address.rpartition(":")[2]))
    watch = Stopwatch()
    while not account.received:
        await trio.sleep(0.001)
    watch.start()
    await trio.to_thread.run_sync(process.wait)
    while account.queued:
        await trio.sleep(0.01)
    result = watch.stop(account.delivered)
    line = next(line for line in appliance.status().services if line.service.name == "capture.bench")
    with open(line.figures.handlers[0].open_file, "rb") as file:  # noqa: ASYNC230 - nothing is measured any more
        packets = scan_pcap(file.fileno()).packets
    assert packets == account.delivered, (packets, account.delivered)
    return {**result, "recorded": packets, "kernel": whole.dropped.get("kernel", 0)}


def run(mode: str) -> dict[str, Any]:
    if mode == "loop":
        return loop()
    toml = (
        '[[capture]]\nname = "bench"\nconn_type = "udp"\naddress = ["127.0.0.1", 0]\nreceive_buffer = "4MiB"\n'
        '[[capture.handler]]\nname = "raw"\n'
    )
    return run_appliance(toml, measure)


def main() -> None:
    results = rounds(list(MODES), RUNS, lambda mode: child("benchmarks.udp", mode))
    sent = PER_S * SECONDS
    print(f"\nUDP: {PER_S:,} datagrams/s of {SIZE} bytes for {SECONDS} s, 4 MiB buffer, medians of {RUNS} runs\n")
    print("| | recorded | worst run | kernel drops, counted | CPU µs per datagram |\n|---|--:|--:|--:|--:|")
    for mode, name in MODES.items():
        recorded = [result["recorded"] / sent for result in results[mode]]
        kernel = max(r["kernel"] for r in results[mode]) if mode == "ours" else "not known"
        share = median(results[mode], "recorded") / sent
        cpu = median(results[mode], "cpu_us")
        print(f"| {name} | {share:.2%} | {min(recorded):.2%} | {kernel} | {cpu:.1f} |")


if __name__ == "__main__":
    if sys.argv[1] == "send":
        send(sys.argv[2])
    else:
        print(json.dumps(run(sys.argv[1])))
