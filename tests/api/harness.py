"""The endpoint on a real Unix socket with a publisher, a dispatcher and a ledger behind it, and clients of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import trio
import trio.testing

from appliance.api.application import make_application
from appliance.api.events import EventsApi
from appliance.api.exchange import Answer, Request
from appliance.api.roles import OWNER, Role
from appliance.api.server import ApiServer
from appliance.api.table import Endpoint
from appliance.config import Api
from appliance.model import EventBatch, Item, Print
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.ledger import AccountFigures, Ledger
from appliance.runtime.outlet import Outlet
from appliance.zeek.messages import Event, encode_message
from appliance.zeek.values import Count, Value
from tests.fakes import FakePublisher


class Response(NamedTuple):
    """What a client got."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def parse_response(data: bytes) -> Response:
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    if headers.get("transfer-encoding") == "chunked":
        body = unchunk(body)
    return Response(int(first.split()[1]), headers, body)


def unchunk(data: bytes) -> bytes:
    """The content of a chunked body that has come to its end."""
    whole = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            assert data == b"\r\n"
            return whole
        whole, data = whole + data[:length], data[length + 2 :]


def closing(request: bytes) -> bytes:
    """A request after which the server ends the connection."""
    return request.replace(b" HTTP/1.1\r\n", b" HTTP/1.1\r\nConnection: close\r\n", 1)


async def ask(endpoints: Sequence[Endpoint], method: str, target: str, body: Any = None) -> tuple[int, Any]:
    """Status and document of a request by whoever may do everything, without sockets."""
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    path, _, query = target.partition("?")
    messages = [{"type": "http.request", "body": data}]
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop() if messages else await trio.sleep_forever()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": [],
        "state": {"who": OWNER},
    }  # fmt: skip
    await make_application(endpoints)(scope, receive, send)
    return sent[0]["status"], json.loads(b"".join(each["body"] for each in sent[1:]))


def events(*args: Value, topic: str = "my/topic", name: str = "My::event", count: int = 1) -> EventBatch:
    """Some events with the same arguments."""
    message = encode_message(Event.make(name, *args))
    data = (len(message).to_bytes(4) + message) * count
    return EventBatch(
        name=name, topic=topic, source="broker", data=data, count=count, peer="a-peer", received_ns=1_500_000_000
    )


def numbered(number: int, *, topic: str = "my/topic") -> EventBatch:
    return events(Count(number), topic=topic)


def printed(text: bytes, *, topic: str = "bro/print/x") -> Print:
    return Print(topic=topic, source="broker", text=text, peer="a-peer", received_ns=2_000_000_000)


async def nothing(request: Request) -> Answer:
    """An empty document."""
    return Answer(200, b"{}")


class Bench:
    """See the module."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "api.sock"
        self.publisher = FakePublisher()
        self.outlet = Outlet()
        self.outlet.open("broker", self.publisher)
        self.dispatcher = Dispatcher()
        self.ledger = Ledger()
        api = EventsApi(outlet=self.outlet, dispatcher=self.dispatcher, ledger=self.ledger)
        status = Endpoint(method="GET", path="/v1/status", role=Role.READ, summary="Status", handle=nothing)
        self.server = ApiServer(Api(listen=(f"unix:{self.path}",)), [status, *api.endpoints()], events=api)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            await nursery.start(self.server.run)
            yield
            self.server.stop()

    async def exchange(self, request: bytes) -> Response:
        """Send a request and read until the server ends the connection."""
        async with await trio.open_unix_socket(str(self.path)) as stream:
            await stream.send_all(closing(request))
            return parse_response(b"".join([data async for data in stream]))

    async def post(self, body: bytes | dict[str, Any]) -> Response:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.exchange(
            b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(data), data)
        )

    async def dispatch(self, *items: Item) -> None:
        """As a door does."""
        account = self.ledger.account("broker")
        for item in items:
            account.received += item.count
            await self.dispatcher.dispatch(item, account, patience_s=5.0)

    def figures(self) -> AccountFigures:
        figures = self.ledger.account("api.subscribers").statistics()
        assert figures.imbalance == 0
        return figures


class Subscriber:
    """A client that follows events."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.raw = b""

    @property
    def frames(self) -> list[tuple[str, Any]]:
        """Kind and data of every whole server-sent event so far."""
        text = self._content().decode()
        blocks = [block.split("\n") for block in text.split("\n\n")[:-1] if not block.startswith(":")]
        assert all(len(lines) == 2 for lines in blocks)
        return [(kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for kind, data in blocks]

    def _content(self) -> bytes:
        head, _, data = self.raw.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        whole = b""
        while data:
            size, newline, rest = data.partition(b"\r\n")
            length = int(size, 16)
            if not newline or not length or len(rest) < length + 2:
                break
            whole, data = whole + rest[:length], rest[length + 2 :]
        return whole

    @property
    def beats(self) -> int:
        return self._content().count(b":\n\n")

    @property
    def is_ended(self) -> bool:
        """Whether the server said that this was all."""
        return self.raw.endswith(b"\r\n0\r\n\r\n")

    async def read(self, frames: int) -> list[tuple[str, Any]]:
        """Read until there are so many frames."""
        while len(self.frames) < frames:
            data = await self.stream.receive_some()
            assert data, "ended too early"
            self.raw += data
        return self.frames

    async def read_all(self) -> list[tuple[str, Any]]:
        """Read until the server ends the connection."""
        while data := await self.stream.receive_some():
            self.raw += data
        return self.frames


@asynccontextmanager
async def subscribed(bench: Bench, *topics: str) -> AsyncIterator[Subscriber]:
    """A client whose subscription is in force."""
    query = "&".join(f"topic={topic}" for topic in topics)
    async with await trio.open_unix_socket(str(bench.path)) as stream:
        client = Subscriber(stream)
        await stream.send_all(f"GET /v1/events?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        while b":\n\n" not in client.raw:
            data = await stream.receive_some()
            assert data
            client.raw += data
        await trio.testing.wait_all_tasks_blocked()
        yield client
