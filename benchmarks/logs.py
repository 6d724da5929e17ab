"""Records per second and CPU per record of the log subscriber, beside a bare blocking pyzmq loop.

Every mode gets the same records from the same publisher in another process, at full speed. Each run is a process of its
own; the publisher begins when the subscription has arrived.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import trio
import zmq

from appliance.app import Appliance

from .harness import Stopwatch, child, median, rounds, run_appliance

RECORDS = 500_000
RUNS = 7
MODES = {
    "a": "bare blocking pyzmq loop, receives only",
    "b": "subscriber, no consumer",
    "c": "subscriber and jsonl sink",
    "d": "subscriber and hook whose `where` matches 1 %",
}
ROW = (
    b'{"ts":1429466342.201355,"uid":"CHhAvVGS1DHFjwGM9","id.orig_h":"192.168.1.31","id.orig_p":49812,'
    b'"id.resp_h":"192.168.1.104","id.resp_p":445,"proto":"tcp","service":"%s","duration":0.254219,'
    b'"orig_bytes":2012,"resp_bytes":9321,"conn_state":"SF","local_orig":true,"local_resp":true,"missed_bytes":0,'
    b'"history":"ShADadFf","orig_pkts":17,"orig_ip_bytes":2904,"resp_pkts":15,"resp_ip_bytes":10113,"ip_proto":6}'
)
CONSUMERS = {
    "b": "",
    # The last block would wait a second for more, which is no work: a run takes little longer than that.
    "c": '[[sink]]\nname = "files"\non = ["log:*"]\nflush_every = "100ms"\n',
    "d": '[[hook]]\nname = "rare"\non = ["log:*"]\nrun = "benchmarks.logs:hook"\nqueue = "block"\n'
    """where = 'service == "rare" and resp_bytes > 9000'\n""",
}


async def hook(record: dict[str, Any]) -> None:
    """A hook that costs nothing."""


def publish(endpoint: str) -> None:
    context = zmq.Context()
    sock = context.socket(zmq.XPUB)  # as PUB, and it tells when the subscription has arrived
    sock.set_hwm(0)
    sock.connect(endpoint)
    assert sock.recv() == b"\x01"
    often, rare = ROW % b"smb", ROW % b"rare"
    send = sock.send_multipart
    for i in range(RECORDS):
        send((b"conn", rare if i % 100 == 0 else often))
    sock.close(-1)
    context.term()


def publisher(endpoint: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "benchmarks.logs", "publish", endpoint])


def bare() -> dict[str, Any]:
    context = zmq.Context()
    sock = context.socket(zmq.SUB)
    sock.set_hwm(100_000)
    sock.subscribe(b"")
    port = sock.bind_to_random_port("tcp://127.0.0.1")
    sender = publisher(f"tcp://127.0.0.1:{port}")
    watch = Stopwatch()
    sock.recv_multipart()
    watch.start()
    for _ in range(RECORDS - 1):
        sock.recv_multipart()
    result = watch.stop(RECORDS)
    sender.wait()
    return result


async def measure(appliance: Appliance) -> dict[str, Any]:
    line = next(line for line in appliance.status().services if line.service.name == "zmq.bench")
    door = appliance.ledger.account("zmq.bench")
    sender = publisher(line.figures.endpoints[0])
    watch = Stopwatch()
    while not door.received:
        await trio.sleep(0.001)
    watch.start()
    while door.received < RECORDS or any(account.queued for account in appliance.ledger):
        await trio.sleep(0.002)
    result = watch.stop(RECORDS, lost=appliance.ledger.lost)
    await trio.to_thread.run_sync(sender.wait)
    return result


def run(mode: str) -> dict[str, Any]:
    if mode == "a":
        return bare()
    door = '[[zmq]]\nname = "bench"\nbind = ["tcp://127.0.0.1:0"]\n'
    return run_appliance(door + CONSUMERS[mode], measure)


def main() -> None:
    results = rounds(list(MODES), RUNS, lambda mode: child("benchmarks.logs", mode))
    base = median(results["a"], "rate")
    print(f"\nLog records: {RECORDS:,} of {len(ROW)} bytes, medians of {RUNS} runs\n")
    print("| | | records/s | of (a) | CPU µs per record | lost |\n|---|---|--:|--:|--:|--:|")
    for mode, name in MODES.items():
        rate, lost = median(results[mode], "rate"), max(r.get("lost", 0) for r in results[mode])
        print(f"| {mode} | {name} | {rate:,.0f} | {rate / base:.2f} | {median(results[mode], 'cpu_us'):.2f} | {lost} |")


if __name__ == "__main__":
    if sys.argv[1] == "publish":
        publish(sys.argv[2])
    else:
        print(json.dumps(run(sys.argv[1])))
