"""Events and log records per second through the Broker endpoint, beside sockets that move the same frames and look at
none of them. Plain TCP on loopback, two processes.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from typing import Any

import trio

from appliance.app import Appliance
from appliance.runtime.queue import ItemQueue
from appliance.zeek.address import Address
from appliance.zeek.messages import Event, encode_message
from appliance.zeek.values import Count

from .broker_peer import EVENTS, LOG_ROUNDS, READ, TOPIC, log_frames, make_events, send_events, send_logs, take
from .harness import Stopwatch, child, median, rounds, run_appliance

RUNS = 5
EVENT_MODES = {
    "raw": "sockets alone, nothing decoded",
    "count": "received, by a consumer that counts",
    "hook": "received, by a hook that reads the arguments",
    "task": "received, by an asynchronous hook that reads the arguments",
    "send": "sent, each made of Python values",
    "again": "sent, published again by a broker sink",
}
LOG_MODES = {"logs": "Broker log writes, no consumer", "files": "Broker log writes and jsonl sink"}
ZEROMQ_MODES = {
    "zeromq no consumer": "ZeroMQ log batches, no consumer",
    "zeromq files": "ZeroMQ log batches and jsonl sink",
}
"""What `benchmarks.cluster` measures, in turn with the others: the same cluster's records by its other way."""
BROKER = f"""\
[broker]
listen = ["127.0.0.1:0"]
tls = "off"
subscribe = ["{TOPIC}", "zeek/logs/", "zeek/cluster/"]
queue = 1000000
queue_bytes = "1GiB"
"""
CONSUMERS = {
    "hook": '[[hook]]\nname = "args"\non = ["event:Bench::*"]\nrun = "benchmarks.broker:hook"\nqueue = "block"\n',
    "task": '[[hook]]\nname = "args"\non = ["event:Bench::*"]\nrun = "benchmarks.broker:task"\nqueue = "block"\n',
    "again": f'[[sink]]\nname = "out"\nkind = "broker"\non = ["event:Bench::*"]\ntopic = "{TOPIC}"\n',
    "files": '[[sink]]\nname = "files"\non = ["log:*"]\nflush_every = "100ms"\n',
}


def hook(event: dict[str, Any]) -> None:
    """Reads every argument."""
    number, text, address = event["args"]
    assert number.value >= 0 and text and address  # noqa: PT018


async def task(event: dict[str, Any]) -> None:
    """The same on the loop."""
    hook(event)


def _child(mode: str, *arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "benchmarks.broker", "peer", mode, *map(str, arguments)])


def raw() -> dict[str, Any]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        sender = _child("raw", server.getsockname()[1])
        connection, _ = server.accept()
        wanted = EVENTS * len(make_events(b"\x40" * 16)) // 1000
        watch, got = Stopwatch(), len(connection.recv(1))
        watch.start()
        while got < wanted:
            got += len(connection.recv(READ))
        result = watch.stop(EVENTS)
        connection.close()
        sender.wait()
        return result


def _port(appliance: Appliance) -> int:
    line = next(line for line in appliance.status().services if line.service.name == "broker")
    return int(line.figures.listening[0].rpartition(":")[2])


async def receive(appliance: Appliance, mode: str) -> dict[str, Any]:
    """Take what a peer sends."""
    door, messages = appliance.ledger.account("broker"), appliance.ledger.account("broker.messages")
    _, creates, writes = log_frames()
    wanted = len(creates) + LOG_ROUNDS * len(writes) if mode in LOG_MODES else EVENTS
    async with trio.open_nursery() as nursery:
        if mode == "count":
            queue = ItemQueue(appliance.ledger.account("bench"), policy="block", max_records=100_000, max_bytes=1 << 28)
            appliance.dispatcher.subscribe("bench", queue, on=["event:*"], sources=())
            nursery.start_soon(_count, queue)
        sender = _child("logs" if mode in LOG_MODES else "events", _port(appliance))
        watch = Stopwatch()
        while not door.received:
            await trio.sleep(0.001)
        watch.start()
        while messages.received < wanted or any(account.queued for account in appliance.ledger):
            await trio.sleep(0.002)
        result = watch.stop(door.received, lost=appliance.ledger.lost)
        nursery.cancel_scope.cancel()
    await trio.to_thread.run_sync(sender.wait)
    return result


async def _count(queue: ItemQueue) -> None:
    while True:
        async with queue.lease(10_000) as parcel:
            parcel.deliver(parcel.count)


async def send(appliance: Appliance, mode: str) -> dict[str, Any]:
    """Give a peer what it takes."""
    out = appliance.ledger.account("broker.out")
    frame_bytes = len(make_events(b"\x40" * 16)) // 1000
    taker = _child("take", _port(appliance), frame_bytes)
    outlet = appliance.outlet
    probe = encode_message(Event.make("Bench::probe"))
    while outlet.publish("zeek/event/bench", [probe]).refused != "no_subscriber":
        await trio.sleep(0.001)
    watch = Stopwatch()
    watch.start()
    if mode == "send":
        for i in range(EVENTS):
            event = Event.make("Bench::e", Count(i), b"a string of some length", Address(b"\x0a\x00\x00\x01"))
            outlet.publish(TOPIC, [encode_message(event)])
            if i % 1000 == 0:
                await trio.lowlevel.checkpoint()
    while out.delivered < EVENTS:
        await trio.sleep(0.001)
    result = watch.stop(EVENTS, lost=appliance.ledger.lost)
    await trio.to_thread.run_sync(taker.wait)
    return result


async def again(appliance: Appliance) -> dict[str, Any]:
    """Take from one peer, give to another."""
    taker = _child("take", _port(appliance), len(make_events(b"\x40" * 16)) // 1000)
    while appliance.outlet.publish("nobody", [b"\x00"]).refused != "no_subscriber":
        await trio.sleep(0.001)
    result = await receive(appliance, "again")
    await trio.to_thread.run_sync(taker.wait)
    return result


def run(mode: str) -> dict[str, Any]:
    if mode == "raw":
        return raw()

    async def measure(appliance: Appliance) -> dict[str, Any]:
        if mode == "again":
            return await again(appliance)
        return await (send(appliance, mode) if mode == "send" else receive(appliance, mode))

    return run_appliance(BROKER + CONSUMERS.get(mode, ""), measure)


def peer(mode: str, port: int, *more: str) -> None:
    if mode in ("raw", "events"):
        send_events(port, is_raw=mode == "raw")
    elif mode == "logs":
        send_logs(port)
    else:
        take(port, int(more[0]))


def _measure(mode: str) -> dict[str, Any]:
    if mode in ZEROMQ_MODES:
        return child("benchmarks.cluster", mode.removeprefix("zeromq "))
    return child("benchmarks.broker", mode)


def main() -> None:
    results = rounds([*EVENT_MODES, *LOG_MODES, *ZEROMQ_MODES], RUNS, _measure)
    base = median(results["raw"], "rate")
    print(f"\nBroker: {EVENTS:,} events of 3 arguments, 143 bytes each; medians of {RUNS} runs\n")
    print("| | events/s | of the sockets | CPU µs per event | lost |\n|---|--:|--:|--:|--:|")
    for mode, name in EVENT_MODES.items():
        rate, lost = median(results[mode], "rate"), max(r.get("lost", 0) for r in results[mode])
        print(f"| {name} | {rate:,.0f} | {rate / base:.2f} | {median(results[mode], 'cpu_us'):.2f} | {lost} |")
    print(f"\nLogs of a cluster: {LOG_ROUNDS} times the recorded run; medians of {RUNS} runs\n")
    print("| | records/s | CPU µs per record | lost |\n|---|--:|--:|--:|")
    for mode, name in (LOG_MODES | ZEROMQ_MODES).items():
        rate, lost = median(results[mode], "rate"), max(r.get("lost", 0) for r in results[mode])
        print(f"| {name} | {rate:,.0f} | {median(results[mode], 'cpu_us'):.2f} | {lost} |")


if __name__ == "__main__":
    if sys.argv[1] == "peer":
        peer(sys.argv[2], int(sys.argv[3]), *sys.argv[4:])
    else:
        print(json.dumps(run(sys.argv[1])))
