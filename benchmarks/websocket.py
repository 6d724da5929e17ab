"""Events per second through a [[websocket]], beside sockets that look at nothing, and beside wsproto, if it is
installed, which only takes frames apart. Loopback without TLS, two processes.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import socket
import subprocess
import sys
from contextlib import suppress
from typing import Any

import trio

from appliance.app import Appliance
from appliance.runtime.queue import ItemQueue
from appliance.wire.websocket_messages import make_data
from appliance.zeek.address import Address
from appliance.zeek.messages import Event, encode_message
from appliance.zeek.values import Count

from .harness import Stopwatch, child, median, rounds, run_appliance

RUNS = 5
EVENTS = 50_000
TOPIC = "zeek.event.bench"
MODES = {
    "raw": "sockets alone",
    "wsproto": "received, frames only, by wsproto",
    "count": "received, by a consumer that counts",
    "wsproto-send": "sent, frames only, by wsproto",
    "send": "sent, each made of Python values",
}
READ = 1 << 18
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def make_event(number: int) -> Event:
    return Event.make("Bench::e", Count(number), b"a string of some length", Address(b"\x0a\x00\x00\x01"))


def server_frames() -> bytes:
    """All events as a server sends them."""
    text = make_data(TOPIC, make_event(12345))
    return (b"\x81\x7e" + len(text).to_bytes(2) + text) * EVENTS


# ── the other side ──


def _upgrade(connection: socket.socket) -> None:
    request = b""
    while b"\r\n\r\n" not in request:
        request += connection.recv(READ)
    headers = dict(line.lower().split(b": ", 1) for line in request.split(b"\r\n\r\n")[0].split(b"\r\n")[1:])
    key = next(line[19:] for line in request.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key: "))
    assert headers[b"upgrade"] == b"websocket"
    accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
    connection.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
    connection.recv(READ)  # the topics
    ack = b'{"type":"ack","endpoint":"bench","version":"8.0.10"}'
    connection.sendall(b"\x81" + bytes([len(ack)]) + ack)


def peer(mode: str) -> None:
    """Listen, tell the port, and give events to who connects, or take what it sends."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        print(server.getsockname()[1], flush=True)
        connection, _ = server.accept()
    with connection:
        if mode != "raw":
            _upgrade(connection)
        if not mode.endswith("send"):
            connection.sendall(server_frames())
            connection.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):
            while connection.recv(READ):
                pass


def _start(mode: str) -> tuple[subprocess.Popen[bytes], int]:
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.websocket", "peer", mode], stdout=subprocess.PIPE)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


# ── our side ──


def raw(port: int) -> dict[str, Any]:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        watch = Stopwatch()
        connection.recv(1)
        watch.start()
        while connection.recv(READ):
            pass
        return watch.stop(EVENTS)


def bare(port: int, *, is_sender: bool) -> dict[str, Any]:
    """What wsproto does alone, without a look at the texts."""
    from wsproto import ConnectionType, WSConnection  # type: ignore[import-not-found,unused-ignore]
    from wsproto.events import Request, TextMessage  # type: ignore[import-not-found,unused-ignore]

    ws, watch = WSConnection(ConnectionType.CLIENT), Stopwatch()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(ws.send(Request(host="localhost", target="/v1/messages/json")))
        ws.receive_data(connection.recv(READ))
        list(ws.events())
        connection.sendall(ws.send(TextMessage(data="[]")))
        watch.start()
        if is_sender:
            text = make_data(TOPIC, make_event(12345)).decode()
            for _ in range(EVENTS // 100):
                connection.sendall(b"".join(ws.send(TextMessage(data=text)) for _ in range(100)))
            return watch.stop(EVENTS)
        found = 0
        while found <= EVENTS and (data := connection.recv(READ)):
            ws.receive_data(data)
            found += sum(isinstance(event, TextMessage) and event.message_finished for event in ws.events())
        return watch.stop(EVENTS)


async def receive(appliance: Appliance) -> dict[str, Any]:
    account = appliance.ledger.account("websocket.bench")
    queue = ItemQueue(appliance.ledger.account("bench"), policy="block", max_records=100_000, max_bytes=1 << 28)
    appliance.dispatcher.subscribe("bench", queue, on=["event:*"], sources=())
    watch = Stopwatch()
    while not appliance.outlet.publish(TOPIC, [encode_message(make_event(0))]).peers:
        await trio.sleep(0.001)
    watch.start()
    while account.received < EVENTS or queue.waiting:
        async with queue.lease(10_000) as parcel:
            parcel.deliver(parcel.count)
    return watch.stop(EVENTS, lost=appliance.ledger.lost)


async def send(appliance: Appliance) -> dict[str, Any]:
    out, outlet = appliance.ledger.account("websocket.bench.out"), appliance.outlet
    while not outlet.publish(TOPIC, [encode_message(make_event(0))]).peers:
        await trio.sleep(0.001)
    watch = Stopwatch()
    watch.start()
    for number in range(EVENTS):
        outlet.publish(TOPIC, [encode_message(make_event(number))])
        if number % 100 == 0:
            await trio.lowlevel.checkpoint()
    while out.delivered <= EVENTS:
        await trio.sleep(0.001)
    return watch.stop(EVENTS, lost=appliance.ledger.lost)


def run(mode: str) -> dict[str, Any]:
    process, port = _start(mode)
    if mode == "raw":
        result = raw(port)
    elif mode.startswith("wsproto"):
        result = bare(port, is_sender=mode.endswith("send"))
    else:
        topics = '"zeek."' if mode == "count" else ""
        result = run_appliance(
            f'[[websocket]]\nname = "bench"\nurl = "ws://127.0.0.1:{port}"\ntopics = [{topics}]\nqueue = 1000000\n'
            'queue_bytes = "1GiB"\n',
            send if mode == "send" else receive,
        )
    process.wait()
    return result


def main() -> None:
    modes = [mode for mode in MODES if not mode.startswith("wsproto") or importlib.util.find_spec("wsproto")]
    results = rounds(modes, RUNS, lambda mode: child("benchmarks.websocket", mode))
    size = len(make_data(TOPIC, make_event(12345)))
    print(f"\nWebSocket: {EVENTS:,} events of 3 arguments, {size} bytes each; medians of {RUNS} runs\n")
    print("| | events/s | CPU µs per event | lost |\n|---|--:|--:|--:|")
    for mode in modes:
        rate, lost = median(results[mode], "rate"), max(r.get("lost", 0) for r in results[mode])
        print(f"| {MODES[mode]} | {rate:,.0f} | {median(results[mode], 'cpu_us'):.2f} | {lost} |")


if __name__ == "__main__":
    if sys.argv[1] == "peer":
        peer(sys.argv[2])
    else:
        print(json.dumps(run(sys.argv[1])))
