"""The listener: real sockets, and clients that do not mean well."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from appliance.config import Metrics
from appliance.errors import ApplianceError
from appliance.metrics.listener import MAX_CONNECTIONS, MetricsListener


async def read(accept: str) -> tuple[str, bytes]:
    return f"text/x; accept={accept}", b"level 1\n"


@asynccontextmanager
async def serving(host: str = "127.0.0.1") -> AsyncIterator[tuple[MetricsListener, int]]:
    """A listener on any free port, and that port."""
    listener = MetricsListener(Metrics(listen=f"{host}:0"), read)
    async with trio.open_nursery() as nursery:
        await nursery.start(listener.run)
        yield listener, int(listener.statistics().listening[0].rpartition(":")[2])
        listener.stop()


async def ask(port: int, request: bytes, host: str = "127.0.0.1") -> bytes:
    """Everything that is answered until the connection ends."""
    async with await trio.open_tcp_stream(host, port) as stream:
        await stream.send_all(request)
        return b"".join([part async for part in stream])


def get(target: str = "/metrics", *, method: str = "GET", host: str = "localhost:9991", more: str = "") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n".encode()


async def test_a_scrape_gets_the_page() -> None:
    """In the format that was asked for, on a connection that ends then."""
    async with serving() as (listener, port):
        answer = await ask(port, get(more="Accept: a/b\r\n"))
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.splitlines()[0] == b"HTTP/1.1 200 "
        assert b"content-type: text/x; accept=a/b" in head.lower()
        assert b"connection: close" in head.lower()
        assert body == b"level 1\n"
        assert listener.statistics().requests == 1
        assert listener.statistics().cut == 0
    assert listener.statistics().listening == ()


async def test_head_has_no_body() -> None:
    """But the same headers."""
    async with serving() as (_, port):
        head, _, body = (await ask(port, get(method="HEAD"))).partition(b"\r\n\r\n")
        assert b"content-length: 8" in head.lower()
        assert body == b""


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (get("/metrics?x=1"), 200),
        (b"GET /metrics HTTP/1.0\r\n\r\n", 200),
        (get(host="127.0.0.1:1"), 200),
        (get(host="[::1]:1"), 200),
        (get(host="[::1]"), 200),
        (get(host="prometheus.localhost"), 200),
        (get(host="evil.example:9991"), 421),
        (get(host="127.0.0.1.evil.example"), 421),
        (get("/"), 404),
        (get("/../metrics"), 404),
        (get("/v1/status"), 404),
        (get(method="POST", more="Content-Length: 3\r\n") + b"abc", 405),
        (b"GET /metrics HTTP/1.1\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 70_000, 431),
    ],
    ids=["query", "http-1.0", "address", "ipv6", "ipv6-portless", "localhost", "foreign", "foreign-like", "root",
         "dots", "elsewhere", "post", "hostless", "tls", "huge"],
)  # fmt: skip
async def test_every_request_gets_its_code(request_: bytes, status: int) -> None:
    """Nothing but the page is served, and to nobody whom a foreign page has sent."""
    async with serving() as (_, port), await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(request_)
        answer = bytes(await stream.receive_some(65536)).lower()
        assert answer.split()[1] == str(status).encode()
        assert (b"allow: get, head" in answer) == (status == 405)


async def test_ipv6_is_served() -> None:
    """With the address in brackets."""
    async with serving("[::1]") as (listener, port):
        assert listener.statistics().listening == (f"[::1]:{port}",)
        assert (await ask(port, get(), "::1")).startswith(b"HTTP/1.1 200")


async def test_a_taken_address_is_told() -> None:
    """At the start, by the address in the file."""
    async with serving() as (_, port):
        second = MetricsListener(Metrics(listen=f"127.0.0.1:{port}"), read)
        with pytest.raises(ApplianceError, match=rf"cannot listen on 127.0.0.1:{port} for metrics: "):
            await second.run()


async def test_who_says_nothing_is_cut(autojump_clock: trio.testing.MockClock) -> None:
    """After the time that a scrape takes at most."""
    async with serving() as (listener, port), await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(b"GET /metr")
        with trio.fail_after(60):
            assert await stream.receive_some(1) == b""
        assert listener.statistics().cut == 1
        assert listener.statistics().connections == 0


async def test_many_who_say_nothing_keep_nobody_from_a_scrape() -> None:
    """One too many costs the one that has been silent for longest its place."""
    async with serving() as (listener, port), trio.open_nursery() as nursery:
        for _ in range(2 * MAX_CONNECTIONS):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            nursery.start_soon(hold, stream)
        with trio.fail_after(5):
            assert (await ask(port, get())).startswith(b"HTTP/1.1 200")
        assert listener.statistics().connections <= MAX_CONNECTIONS
        assert listener.statistics().cut > MAX_CONNECTIONS - 1
        nursery.cancel_scope.cancel()


async def hold(stream: trio.SocketStream) -> None:
    async with stream:
        await trio.sleep_forever()


async def test_a_client_that_goes_away_disturbs_nobody() -> None:
    """Before its request, and in the midst of it."""
    async with serving() as (listener, port):
        for part in (b"", b"GET /metrics HT"):
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(part)
        assert (await ask(port, get())).startswith(b"HTTP/1.1 200")
        while listener.statistics().connections:
            await trio.lowlevel.checkpoint()
        assert listener.statistics().cut == 0
