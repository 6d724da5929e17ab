"""Datagrams on loopback into a capture file: a loop that does what AIT-Core's capturer does (one receive, one write and
one flush for each), tcpdump on the same interface, and a capturer of ours, all with the same buffer and into memory.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import select
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import trio

from appliance.app import Appliance
from appliance.capture.sockets import set_buffer
from appliance.native import DatagramReceiver, PcapBlock, Received, scan_pcap

from .harness import Stopwatch, child, run_appliance

SIZES = (1000, 512, 64)
SECONDS = 2
STEADY_PER_S, STEADY_SECONDS = 40_000, 8
"""A rate that everybody holds, for the CPU of one datagram; so long that what happens once does not count."""
SLOWEST_PER_S, FASTEST_PER_S = 20_000, 1_280_000
FINE_STEPS = 4
BUFFER = 4 << 20
RUNS = 3
MODES = {
    "loop": "one receive, write and flush each",
    "tcpdump": "tcpdump on the interface",
    "ours": "broappliance `[[capture]]`",
    "bare": "limit: `recvmmsg` into blocks and `write`, nothing else",
    "receive": "limit: `recvmmsg` into blocks, into no file",
}
BARE_PAUSE_S = 0.01
QUIET_S = 1.0
MEMORY = Path("/dev/shm")
_MMSGHDR = struct.Struct("@PI4xPNPNi4xI4x")
_IOVEC = struct.Struct("@PN")
_BATCH = 32


class Blaster:
    """Sends one datagram over and over, 32 for each system call."""

    def __init__(self, port: int, size: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        self._socket.connect(("127.0.0.1", port))
        self._data = ctypes.create_string_buffer(b"x" * size, size)
        self._vector = ctypes.create_string_buffer(_IOVEC.pack(ctypes.addressof(self._data), size))
        header = _MMSGHDR.pack(0, 0, ctypes.addressof(self._vector), 1, 0, 0, 0, 0)
        self._messages = ctypes.create_string_buffer(header * _BATCH)
        self._sendmmsg = ctypes.CDLL(None, use_errno=True).sendmmsg

    def send(self, count: int) -> None:
        while count:
            sent = self._sendmmsg(self._socket.fileno(), self._messages, min(count, _BATCH), 0)
            if sent < 0:
                raise OSError(ctypes.get_errno(), "sendmmsg")
            count -= sent


def lasts_s(per_s: int) -> int:
    return STEADY_SECONDS if per_s == STEADY_PER_S else SECONDS


def send(port: int, size: int, per_s: int) -> None:
    """`per_s` datagrams a second, by the millisecond on an absolute clock; prints how many a second it made."""
    blaster, sent = Blaster(port, size), 0
    began = time.monotonic()
    for i in range(1, lasts_s(per_s) * 1000 + 1):
        time.sleep(max(0.0, began + i / 1000 - time.monotonic()))
        wanted = per_s * i // 1000
        blaster.send(wanted - sent)
        sent = wanted
    print(sent / (time.monotonic() - began))


def sender(port: int, size: int, per_s: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.udp", "send", str(port), str(size), str(per_s)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def made(process: subprocess.Popen[str]) -> float:
    """Wait for a sender; how many datagrams a second it made."""
    return float(process.communicate()[0])


def loop(size: int, per_s: int) -> dict[str, Any]:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    sock.bind(("127.0.0.1", 0))
    process = sender(sock.getsockname()[1], size, per_s)
    watch, count = Stopwatch(), 0
    with tempfile.TemporaryFile() as file:
        file.write(struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 147))
        while select.select([sock], [], [], QUIET_S if count else 30.0)[0]:
            data = sock.recv(65565)
            if not count:
                watch.start()
            now = time.time()
            file.write(struct.pack("=IIII", int(now), int(now % 1 * 1e6), len(data), len(data)) + data)
            file.flush()
            count += 1
    return watch.stop(count, recorded=count, made=made(process))


def tcpdump(size: int, per_s: int) -> dict[str, Any]:
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taker,
    ):
        taker.bind(("127.0.0.1", 0))  # nobody reads it: the datagrams just have somewhere to go
        port = taker.getsockname()[1]
        file = Path(folder, "capture.pcap")
        command = [
            "tcpdump",
            "-i",
            "lo",
            "-n",
            "-B",
            str(BUFFER >> 10),
            "-w",
            str(file),
            "udp",
            "dst",
            "port",
            str(port),
        ]
        process = subprocess.Popen([*command, "-Z", "root"], stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        while "listening on" not in process.stderr.readline():
            pass
        rate = made(sender(port, size, per_s))
        time.sleep(QUIET_S)  # what its ring still holds
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
        _, process.returncode, usage = os.wait4(process.pid, 0)
        with file.open("rb") as capture:
            recorded = scan_pcap(capture.fileno()).packets
    dropped = re.search(r"(\d+) packets dropped by kernel", said)
    assert dropped is not None
    cpu_us = (usage.ru_utime + usage.ru_stime) / recorded * 1e6
    return {"recorded": recorded, "kernel": int(dropped[1]), "cpu_us": cpu_us, "made": rate}


def bare(size: int, per_s: int, path: str) -> dict[str, Any]:
    """What the native part alone needs, in one thread that sleeps as long as the buffer lasts several times."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, tempfile.TemporaryDirectory() as folder:
        set_buffer(sock, BUFFER, door="bench")
        sock.bind(("127.0.0.1", 0))
        receiver, block = DatagramReceiver(sock.fileno(), addresses=False), PcapBlock(4 << 20)
        process = sender(sock.getsockname()[1], size, per_s)
        pause_s = min(BARE_PAUSE_S, 500 / per_s)
        with Path(path or f"{folder}/capture.pcap").open("wb", buffering=0) as file:
            select.select([sock], [], [], 30.0)
            watch = Stopwatch()
            watch.start()
            while select.select([sock], [], [], QUIET_S)[0]:
                time.sleep(pause_s)
                while receiver.receive(block, 1 << 20) is not Received.EMPTY:
                    block.flush(file.fileno())
                if block.used >= 1 << 20:
                    block.flush(file.fileno())
            block.flush(file.fileno())
        counts = receiver.counts()
        return watch.stop(counts.packets, recorded=counts.packets, kernel=counts.kernel_drops, made=made(process))


async def measure(appliance: Appliance, size: int, per_s: int) -> dict[str, Any]:
    line = next(line for line in appliance.status().services if line.service.name == "capture.bench")
    account, whole = appliance.ledger.account("handler.bench/raw"), appliance.ledger.account("capture.bench")
    process = sender(int(line.figures.address.rpartition(":")[2]), size, per_s)
    watch = Stopwatch()
    while not account.received:
        await trio.sleep(0.001)
    watch.start()
    rate = await trio.to_thread.run_sync(made, process)
    while account.queued:
        await trio.sleep(0.1)
    result = watch.stop(account.delivered)
    line = next(line for line in appliance.status().services if line.service.name == "capture.bench")
    with open(line.figures.handlers[0].open_file, "rb") as file:  # noqa: ASYNC230 - nothing is measured any more
        packets = scan_pcap(file.fileno()).packets
    assert packets == account.delivered, (packets, account.delivered)
    return {**result, "recorded": packets, "kernel": whole.dropped.get("kernel", 0), "made": rate}


def run(mode: str, size: int, per_s: int) -> dict[str, Any]:
    if mode == "loop":
        return loop(size, per_s)
    if mode == "tcpdump":
        return tcpdump(size, per_s)
    if mode in ("bare", "receive"):
        return bare(size, per_s, "" if mode == "bare" else os.devnull)
    toml = (
        '[[capture]]\nname = "bench"\nconn_type = "udp"\naddress = ["127.0.0.1", 0]\nreceive_buffer = "4MiB"\n'
        '[[capture.handler]]\nname = "raw"\n'
    )
    return run_appliance(toml, lambda appliance: measure(appliance, size, per_s))


def trial(mode: str, size: int, per_s: int) -> dict[str, Any]:
    """One run in a process of its own, into memory where there is such a file system."""
    if MEMORY.is_dir():
        os.environ["TMPDIR"] = str(MEMORY)
    print(".", end="", flush=True, file=sys.stderr)
    return child("benchmarks.udp", mode, str(size), str(per_s))


def lossless(mode: str, size: int) -> float:
    """The highest rate that was made and recorded whole: doubled until something is missing, then halved in between."""
    best, low, high = 0.0, 0, 0
    per_s = SLOWEST_PER_S
    while not high or high - low > high >> FINE_STEPS:
        result = trial(mode, size, per_s)
        if result["recorded"] == per_s * lasts_s(per_s):
            low, best = per_s, max(best, result["made"])
            if per_s >= FASTEST_PER_S or result["made"] < per_s * 0.9:
                break  # the sender makes no more
        else:
            high = per_s
        per_s = (low + high) // 2 if high else per_s * 2
    return best


LIMITS = frozenset({"bare", "receive"})
"""Modes whose highest rate nobody needs."""


def main() -> None:
    print(f"\nUDP on loopback, {BUFFER >> 20} MiB buffers, files in memory; medians of {RUNS}\n")
    print(f"| bytes | | datagrams/s without loss | of the loop | CPU us for one at {STEADY_PER_S:,}/s | of the loop |")
    print("|--:|---|--:|--:|--:|--:|")
    for size in SIZES:
        rates: dict[str, list[float]] = {mode: [] for mode in MODES}
        cpus: dict[str, list[float]] = {mode: [] for mode in MODES}
        for _ in range(RUNS):
            for mode in MODES:
                cpus[mode].append(trial(mode, size, STEADY_PER_S)["cpu_us"])
                rates[mode].append(0.0 if mode in LIMITS else lossless(mode, size))
        print(file=sys.stderr)
        for mode, name in MODES.items():
            rate, cpu = statistics.median(rates[mode]), statistics.median(cpus[mode])
            times = rate / statistics.median(rates["loop"])
            share = cpu / statistics.median(cpus["loop"])
            reached = f"{rate:,.0f} | {times:.2f}" if rate else "|"
            print(f"| {size} | {name} | {reached} | {cpu:.2f} | {share:.2f} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "send":
        send(*map(int, sys.argv[2:]))
    else:
        print(json.dumps(run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
