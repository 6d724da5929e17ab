"""Requests with bodies: how large, how slow, in which form."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from appliance.api.exchange import MAX_BODY
from tests.api.harness import Bench, closing, parse_response

BODY = b'{"topic":"t","print":"x"}'


async def repeat(stream: trio.SocketStream, data: bytes, *, each_s: float = 0.0) -> None:
    """Send the same again and again, but not for ever."""
    for _ in range(1000):
        await stream.send_all(data)
        await trio.sleep(each_s)


async def test_a_body_in_chunks(tmp_path: Path) -> None:
    """Read as one."""
    bench = Bench(tmp_path)
    async with bench.serving():
        response = await bench.exchange(
            b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"".join(b"1\r\n%c\r\n" % byte for byte in BODY)
            + b"0\r\n\r\n"
        )
    assert response.status == 202


async def test_a_client_that_asks_first_is_told_to_go_on(tmp_path: Path) -> None:
    """RFC 9110 §10.1.1."""
    bench = Bench(tmp_path)
    async with bench.serving(), await trio.open_unix_socket(str(bench.path)) as stream:
        head = b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
        await stream.send_all(closing(head % len(BODY)))
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 100 ")
        await stream.send_all(BODY)
        assert parse_response(b"".join([data async for data in stream])).status == 202


async def test_a_body_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """By what its head announces."""
    bench = Bench(tmp_path)
    async with bench.serving():
        head = b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
        response = await bench.exchange(head % (MAX_BODY + 1))
        assert (await bench.post(BODY)).status == 202
    assert response.status == 413


async def test_a_body_without_an_announced_size_is_cut_off(tmp_path: Path) -> None:
    """As soon as it is too large."""
    bench = Bench(tmp_path)
    async with bench.serving(), await trio.open_unix_socket(str(bench.path)) as stream:
        await stream.send_all(b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + bytes(1 << 16) + b"\r\n"
        with pytest.raises(trio.BrokenResourceError):
            await repeat(stream, chunk)
    assert bench.publisher.published == []


async def test_the_largest_body_is_read(tmp_path: Path) -> None:
    """Up to the limit it is only a question of what is in it."""
    bench = Bench(tmp_path)
    bench.publisher.max_message = 2 * MAX_BODY
    text = b"x" * (MAX_BODY - len(BODY) + 1)
    async with bench.serving():
        response = await bench.post(BODY.replace(b"x", text))
    assert response.status == 202
    [(_, message)] = bench.publisher.published
    assert message.endswith(text)


async def test_a_body_that_does_not_come_costs_ten_seconds(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """As a head that does not come; a byte now and then does not help."""
    bench = Bench(tmp_path)
    async with bench.serving(), await trio.open_unix_socket(str(bench.path)) as stream:
        await stream.send_all(b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
        began = trio.current_time()
        with pytest.raises(trio.BrokenResourceError):
            await repeat(stream, b" ", each_s=1)
        assert trio.current_time() - began <= 12


async def test_a_client_that_goes_in_the_middle_is_forgotten(tmp_path: Path) -> None:
    """Nothing is published, and the next one is served."""
    bench = Bench(tmp_path)
    async with bench.serving():
        async with await trio.open_unix_socket(str(bench.path)) as stream:
            await stream.send_all(
                b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 25\r\n\r\n" + BODY[:9]
            )
        assert (await bench.post(BODY)).status == 202
    assert len(bench.publisher.published) == 1


async def test_a_head_of_a_refusal_has_no_body(tmp_path: Path) -> None:
    """RFC 9110 §9.3.2: HEAD is answered as GET would be, without content."""
    bench = Bench(tmp_path)
    async with bench.serving():
        response = await bench.exchange(b"HEAD /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert (response.status, response.body) == (404, b"")
    assert int(response.headers["content-length"]) > 10


async def test_an_endpoint_without_events_has_no_such_path(tmp_path: Path) -> None:
    """What is not there is not found."""
    bench = Bench(tmp_path)
    bench.server.endpoints = []
    async with bench.serving():
        response = await bench.exchange(b"GET /v1/events?topic=a HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (response.status, response.headers["content-type"]) == (404, "application/problem+json")
        assert (await bench.post(BODY)).status == 404
