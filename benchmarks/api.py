"""What those who ask wait for, and what those who record notice of it.

The status and a scrape, each on a connection of its own, from another process: at rest, and while a publisher sends
logs as fast as they are taken. Then a PCAP of 1 GiB from a recorder that goes on recording, in a network namespace of
its own (needs root): what it costs in packets.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import trio
import zmq

from appliance.app import Appliance

from .harness import child, median, rounds, run_appliance
from .logs import ROW
from .udp import Blaster

if TYPE_CHECKING:
    from collections.abc import Iterator

RUNS = 3
ASKED = 200
TARGETS = ("/v1/status", "/metrics")
SINKS = 56
"""So many that a scrape has 2,000 series."""
LOGS = '[[zmq]]\nname = "bench"\nbind = ["tcp://127.0.0.1:0"]\n[[sink]]\nname = "files"\non = ["log:*"]\n'
MANY = "".join(f'[[sink]]\nname = "s{n}"\non = ["log:none{n}"]\npath = "s{n}.log"\n' for n in range(SINKS))
GIB, DATAGRAM, PER_S = 1 << 30, 1400, 50_000
RECORDER = (
    '[[recorder]]\nname = "edge"\ninterface = "lo"\nfilter = "udp"\nring = "64MiB"\nsegment_size = "256MiB"\n'
    'budget = "8GiB"\ndirectory = "edge"\n'
)


# ── those who ask ──


def connect(path: str) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(path)
    return connection


def ask(path: str, target: str) -> dict[str, Any]:
    """How long answers take, the connection included."""
    took, body = [], b""
    for _ in range(ASKED):
        began = time.perf_counter()
        connection = connect(path)
        connection.request("GET", target)
        body = connection.getresponse().read()
        took.append((time.perf_counter() - began) * 1e3)
        connection.close()
        time.sleep(0.005)
    series = sum(1 for line in body.splitlines() if not line.startswith(b"#")) if target == "/metrics" else 0
    return {"ms": statistics.median(took), "p99_ms": sorted(took)[ASKED * 99 // 100], "series": series}


def fetch(path: str) -> dict[str, Any]:
    """Take a PCAP of 1 GiB and throw it away."""
    began, size = time.perf_counter(), 0
    connection = connect(path)
    connection.request("GET", f"/v1/extract/pcap?from=-1h&max-bytes={GIB}")
    response = connection.getresponse()
    while data := response.read(1 << 18):
        size += len(data)
    return {"bytes": size, "seconds": time.perf_counter() - began}


# ── those who work ──


def publish(endpoint: str) -> None:
    """Send logs until somebody ends it; waits where they are not taken so fast."""
    sock = zmq.Context().socket(zmq.XPUB)
    sock.setsockopt(zmq.XPUB_NODROP, 1)
    sock.connect(endpoint)
    assert sock.recv() == b"\x01"
    row = ROW % b"smb"
    while True:
        sock.send_multipart((b"conn", row))


def blast(port: str) -> None:
    """Datagrams at a steady rate, until somebody ends it."""
    blaster, began, sent = Blaster(int(port), DATAGRAM), time.monotonic(), 0
    while True:
        wanted = int((time.monotonic() - began) * PER_S)
        blaster.send(wanted - sent)
        sent = wanted
        time.sleep(0.001)


@contextmanager
def working(mode: str, argument: str) -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-m", "benchmarks.api", mode, argument]) as process:
        try:
            yield
        finally:
            process.kill()


# ── the measurements ──


async def measure_answers(appliance: Appliance, *, is_busy: bool) -> dict[str, Any]:
    [api] = [line for line in appliance.status().services if line.service.name == "api"]
    [door] = [line for line in appliance.status().services if line.service.name == "zmq.bench"]
    path, account = api.figures.sockets[0], appliance.ledger.account("zmq.bench")
    found: dict[str, Any] = {}

    async def ask_all() -> None:
        for target in TARGETS:
            before, began = account.received, time.perf_counter()
            arguments = ("ask", path, target)
            asked = await trio.to_thread.run_sync(child, "benchmarks.api", *arguments)
            per_s = (account.received - before) / (time.perf_counter() - began)
            found.update({f"{target} {key}": value for key, value in (asked | {"per_s": per_s}).items()})

    if not is_busy:
        await ask_all()
        return found
    with working("publish", door.figures.endpoints[0]):
        while account.received < 100_000:
            await trio.sleep(0.01)
        await ask_all()
    return found | {"lost": appliance.ledger.lost}


async def measure_extract(appliance: Appliance) -> dict[str, Any]:
    [api] = [line for line in appliance.status().services if line.service.name == "api"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taker:
        taker.bind(("127.0.0.1", 0))  # nobody reads it: the datagrams just have somewhere to go

        def recorder() -> Any:
            return next(line.figures for line in appliance.status().services if line.service.name == "recorder.edge")

        with working("blast", str(taker.getsockname()[1])):
            while recorder().bytes < GIB * 5 // 4:
                await trio.sleep(0.1)
            before = recorder()
            found = await trio.to_thread.run_sync(child, "benchmarks.api", "fetch", api.figures.sockets[0])
            after = recorder()
    return found | {
        "before": before.kernel_drops + before.disk_drops,
        "during": after.kernel_drops + after.disk_drops - before.kernel_drops - before.disk_drops,
        "packets": after.packets - before.packets,
    }


def main() -> None:
    results = rounds(("rest", "load"), RUNS, lambda mode: child("benchmarks.api", mode))
    print("| | | median ms | 99 % ms | series | records/s meanwhile |\n|---|---|--:|--:|--:|--:|")
    for mode, found in results.items():
        for target in TARGETS:
            ms, p99, series, per_s = (median(found, f"{target} {key}") for key in ("ms", "p99_ms", "series", "per_s"))
            print(f"| {mode} | {target} | {ms:.1f} | {p99:.1f} | {series:,.0f} | {per_s:,.0f} |")
    if os.geteuid() != 0:
        print("the extraction needs root: it is not measured", file=sys.stderr)
        return
    command = ["unshare", "--net", sys.executable, "-m", "benchmarks.api", "extract"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=300)
    found = json.loads(done.stdout.splitlines()[-1])
    print(
        f"\n{found['bytes'] / GIB:.2f} GiB extracted in {found['seconds']:.1f} s; "
        f"of {found['packets']:,} packets recorded meanwhile {found['during']:,} were lost ({found['before']:,} before)"
    )


if __name__ == "__main__":
    mode, *arguments = sys.argv[1:] or [""]
    if not mode:
        main()
    elif mode in ("publish", "blast"):
        globals()[mode](*arguments)
    elif mode in ("ask", "fetch"):
        print(json.dumps(globals()[mode](*arguments)))
    elif mode == "extract":
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        print(json.dumps(run_appliance(RECORDER, measure_extract)))
    else:
        is_busy = mode == "load"

        async def measure(appliance: Appliance) -> dict[str, Any]:
            return await measure_answers(appliance, is_busy=is_busy)

        print(json.dumps(run_appliance(LOGS + MANY, measure)))
