"""Clients under test, and a server that enforces what Zeek's server demands."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import trio

from appliance.config import Websocket
from appliance.model import EventBatch
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.ledger import AccountFigures, Ledger
from appliance.runtime.outlet import Outlet
from appliance.runtime.queue import ItemQueue
from appliance.units import Duration, Size
from appliance.websocket.build import make_client
from appliance.websocket.figures import ClientFigures
from appliance.zeek.json_values import render_members
from appliance.zeek.messages import Event, decode_message, encode_message, make_value
from appliance.zeek.values import Value
from tests.broker.harness import DEADLINE_S, wait_until
from tests.wire.websocket import server_frame

__all__ = ["DEADLINE_S", "Conn", "House", "Stub", "data", "event", "run_house", "serve", "table", "wait_until"]

_NAME = re.compile(rb"[-A-Za-z0-9/_.=:*@]+")
_DURATIONS = frozenset({"retry_interval", "retry_max", "connect_timeout", "ack_timeout", "ping_interval", "max_wait"})


def table(url: str = "ws://127.0.0.1:1", **keys: Any) -> Websocket:
    """A [[websocket]] table for tests: quick to dial again."""
    for name, value in keys.items():
        if name in _DURATIONS:
            keys[name] = Duration.parse(value)
        if name in ("queue_bytes", "max_message"):
            keys[name] = Size(value)
    given: dict[str, Any] = {
        "name": "zeek",
        "url": url,
        "topics": ("t/",),
        "retry_interval": Duration(10_000_000),
        "retry_max": Duration(20_000_000),
    }
    return Websocket(**(given | keys))


def event(name: str = "My::event", *args: Value) -> bytes:
    """An event message, as consumers publish it."""
    return encode_message(Event.make(name, *args))


def data(name: str = "My::event", *args: Value, topic: str = "t/x") -> bytes:
    """An event as a server sends it."""
    members = render_members(make_value(Event.make(name, *args)))
    return b'{"type":"data-message","topic":' + json.dumps(topic).encode() + b"," + members + b"}"


class Conn:
    """One connection at the server. What the client must not do is an error here."""

    def __init__(self, stream: trio.abc.Stream, number: int) -> None:
        self.stream = stream
        self.number = number
        self.headers: dict[bytes, bytes] = {}
        self.topics: list[str] = []
        self._buffer = b""
        self._mask = b""

    async def _read(self, size: int) -> bytes:
        while len(self._buffer) < size:
            more = await self.stream.receive_some(1 << 16)
            if not more:
                raise EOFError
            self._buffer += more
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    async def head(self) -> bytes:
        """The request, up to its empty line; it must be right."""
        while b"\r\n\r\n" not in self._buffer:
            self._buffer += await self.stream.receive_some(1 << 16)
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        line, *headers = head.split(b"\r\n")
        self.headers = {key.lower(): value for key, _, value in (each.partition(b": ") for each in headers)}
        assert line == b"GET /v1/messages/json HTTP/1.1"
        assert self.headers[b"upgrade"].lower() == b"websocket"
        assert self.headers[b"connection"].lower() == b"upgrade"
        assert self.headers[b"sec-websocket-version"] == b"13"
        assert len(base64.b64decode(self.headers[b"sec-websocket-key"], validate=True)) == 16
        assert _NAME.fullmatch(self.headers[b"x-application-name"])
        assert b"sec-websocket-extensions" not in self.headers
        return line

    async def upgrade(self) -> None:
        """Read the request, and answer it."""
        await self.head()
        digest = hashlib.sha1(self.headers[b"sec-websocket-key"] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        answer = [b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket", b"Connection: Upgrade"]
        answer += [b"Sec-WebSocket-Accept: " + base64.b64encode(digest), b"", b""]
        await self.raw(b"\r\n".join(answer))

    async def greet(self, version: str = "8.0.10") -> None:
        """All the way to the acknowledgement."""
        await self.upgrade()
        topics = json.loads(await self.text())
        assert isinstance(topics, list)
        assert all(isinstance(topic, str) for topic in topics)
        self.topics = topics
        ack = {"type": "ack", "endpoint": f"zeek-websocket-{self.number}", "version": version}
        await self.send(json.dumps(ack).encode())

    async def frame(self) -> tuple[int, bytes]:
        """The next frame; whole, masked with a mask of its own, as short as can be, and text if it says so."""
        first, second = await self._read(2)
        assert first & 0xF0 == 0x80
        assert second & 0x80
        size = second & 0x7F
        if size > 125:
            wide = int.from_bytes(await self._read(2 if size == 126 else 8))
            assert wide > (125 if size == 126 else 0xFFFF)
            size = wide
        mask = await self._read(4)
        assert mask != self._mask
        self._mask = mask
        masked = await self._read(size)
        payload = bytes(byte ^ mask[i & 3] for i, byte in enumerate(masked))
        opcode = first & 0x0F
        assert opcode in (1, 8, 9, 10)
        assert opcode == 1 or size <= 125
        if opcode == 1:
            payload.decode()
        return opcode, payload

    async def text(self) -> bytes:
        """The next message; pings are answered."""
        while True:
            opcode, payload = await self.frame()
            if opcode == 9:
                await self.send(payload, 10)
            elif opcode == 1:
                return payload
            else:
                assert opcode == 10

    async def event(self) -> tuple[str, str, list[Any]]:
        """The next event: topic, name and arguments as JSON; every member must be as Zeek wants it."""
        tree = json.loads(await self.text())
        assert tree.keys() == {"type", "topic", "@data-type", "data"}
        assert (tree["type"], tree["@data-type"]) == ("data-message", "vector")
        version, kind, content = tree["data"]
        assert (version, kind) == ({"@data-type": "count", "data": 1},) * 2
        name, args = content["data"][:2]
        return tree["topic"], name["data"], args["data"]

    async def wait_closed(self) -> int:
        """Wait for the client's goodbye, answer it; returns its code, 1006 without one."""
        try:
            while True:
                opcode, payload = await self.frame()
                if opcode == 8:
                    await self.send(payload, 8)
                    return int.from_bytes(payload[:2])
        except (EOFError, trio.BrokenResourceError):
            return 1006

    async def end(self) -> None:
        """Answer the goodbye, if the connection is still open."""
        if self.headers:
            with suppress(trio.ClosedResourceError):
                await self.wait_closed()
        await self.close()

    async def send(self, payload: bytes, opcode: int = 1) -> None:
        await self.raw(server_frame(payload, opcode))

    async def raw(self, octets: bytes) -> None:
        await self.stream.send_all(octets)

    async def close(self) -> None:
        await trio.aclose_forcefully(self.stream)


class Stub:
    """Connections as they come, one for each `accept`."""

    def __init__(self, scheme: str, port: int) -> None:
        self.url = f"{scheme}://127.0.0.1:{port}"
        self.conns: list[Conn] = []
        self._send, self._receive = trio.open_memory_channel[Conn](100)

    async def take(self, stream: trio.abc.Stream) -> None:
        conn = Conn(stream, len(self.conns))
        self.conns.append(conn)
        await self._send.send(conn)

    async def accept(self) -> Conn:
        """The next connection, before anything is said."""
        with trio.fail_after(DEADLINE_S):
            return await self._receive.receive()

    async def meet(self) -> Conn:
        """The next connection, whose topics are acknowledged."""
        conn = await self.accept()
        with trio.fail_after(DEADLINE_S):
            await conn.greet()
        return conn


@asynccontextmanager
async def serve(context: ssl.SSLContext | None = None) -> AsyncIterator[Stub]:
    """A server on loopback; at the end every connection is closed."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    stub = Stub("wss" if context else "ws", listener.socket.getsockname()[1])

    async def listen() -> None:
        while True:
            stream: trio.abc.Stream = await listener.accept()
            if context is not None:
                stream = trio.SSLStream(stream, context, server_side=True)
            await stub.take(stream)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        yield stub
        nursery.cancel_scope.cancel()
    await listener.aclose()
    for conn in stub.conns:
        await conn.close()


class House:
    """One client with its ledger and a consumer that takes everything."""

    def __init__(self, url: str, *, policy: str = "drop_newest", max_records: int = 1_000_000, **keys: Any) -> None:
        self.ledger, self.dispatcher, self.outlet = Ledger(), Dispatcher(), Outlet()
        self.queue = ItemQueue(
            self.ledger.account("sink.all"), policy=policy, max_records=max_records, max_bytes=1 << 30
        )
        self.dispatcher.subscribe("sink.all", self.queue, on=("event:*",), sources=[])
        self.client = make_client(
            "websocket.zeek",
            table(url, **keys),
            ledger=self.ledger,
            dispatcher=self.dispatcher,
            outlet=self.outlet,
        )
        self.batches: list[EventBatch] = []

    @property
    def figures(self) -> ClientFigures:
        return self.client.statistics()

    @property
    def error(self) -> str:
        """Why the last attempt failed."""
        return self.figures.dialers[0].last_error

    def books(self, name: str = "") -> AccountFigures:
        """One account; every look is a check of all."""
        found = self.ledger.statistics()
        assert {a.name: a.imbalance for a in found} == {a.name: 0 for a in found}
        return next(a for a in found if a.name == "websocket.zeek" + (f".{name}" if name else ""))

    def publish(self, topic: str, *messages: bytes) -> tuple[int, str]:
        return tuple(self.outlet.publish(topic, messages))  # type: ignore[return-value]

    async def take(self) -> list[EventBatch]:
        """Everything that has arrived so far."""
        while self.queue.waiting:
            async with self.queue.lease(1_000_000) as parcel:
                self.batches += [item for item in parcel.items if isinstance(item, EventBatch)]
                parcel.deliver(parcel.count)
        return self.batches

    async def events(self) -> list[tuple[str, str, tuple[Value, ...]]]:
        """Topic, name and arguments of what has arrived so far."""
        return [
            (batch.topic, batch.name, tuple(decode_message(payload).args))  # type: ignore[union-attr]
            for batch in await self.take()
            for payload in batch.payloads()
        ]

    async def wait_events(self, count: int) -> list[tuple[str, str, tuple[Value, ...]]]:
        """So many events at least."""
        await wait_until(lambda: self.books("").received >= count)
        return await self.events()

    async def wait_ready(self, count: int = 1) -> None:
        await wait_until(lambda: len(self.figures.peers) == count)


@asynccontextmanager
async def run_house(house: House, server: Stub | None = None) -> AsyncIterator[None]:
    """Run a client; at the end it is stopped, and the books are looked at. With `server` that one answers goodbyes."""
    async with trio.open_nursery() as nursery:

        async def run(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            await house.client.run(task_status=task_status)

        with trio.fail_after(DEADLINE_S):
            await nursery.start(run)
        yield
        house.client.stop()
        for conn in server.conns if server is not None else ():
            nursery.start_soon(conn.end)
    assert [house.books(name).queued for name in ("", "messages", "out")] == [0, 0, 0]
    assert house.figures.peers == ()
    assert house.outlet.doors == {}
