"""The status endpoint on real Unix sockets."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing
from structlog.typing import EventDict

from appliance.api.exchange import Answer, Request
from appliance.api.roles import Role
from appliance.api.server import MAX_CONNECTIONS, ApiServer
from appliance.api.table import Endpoint
from appliance.config import Api
from appliance.errors import ApplianceError

from .harness import closing


async def status(request: Request) -> Answer:
    """What the appliance would say."""
    return Answer(200, b'{"state":"running"}')


DOCUMENTS = [Endpoint(method="GET", path="/v1/status", role=Role.READ, summary="Status", handle=status)]


@asynccontextmanager
async def serving(path: Path, *, is_optional: bool = False) -> AsyncIterator[ApiServer]:
    server = ApiServer(Api(listen=(f"unix:{path}",)), DOCUMENTS, is_optional=is_optional)
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run)
        yield server
        server.stop()


async def exchange(path: Path, request: bytes) -> bytes:
    """Send a request and read until the server ends the connection."""
    async with await trio.open_unix_socket(str(path)) as stream:
        await stream.send_all(closing(request))
        return b"".join([data async for data in stream])


async def hold(path: Path) -> None:
    """Connect and say nothing."""
    async with await trio.open_unix_socket(str(path)):
        await trio.sleep_forever()


async def test_documents_are_served_by_path(tmp_path: Path) -> None:
    """GET answers with the document, whatever the query."""
    path = tmp_path / "api.sock"
    async with serving(path):
        answer = await exchange(path, b"GET /v1/status?x=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b'\r\n\r\n{"state":"running"}')


@pytest.mark.parametrize(
    ("request_", "start", "end"),
    [
        (b"HEAD /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n", b"HTTP/1.1 200 ", b"\r\n\r\n"),
        (b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n", b"HTTP/1.1 404 ", b"}"),
        (b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n", b"", b""),
        (b"POST /v1/status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 405 ", b"}"),
        (b"\x00\x01garbage\r\n\r\n", b"", b""),
        (b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 200_000 + b"\r\n\r\n", b"", b""),
    ],
)
async def test_other_requests_are_refused(tmp_path: Path, request_: bytes, start: bytes, end: bytes) -> None:
    """Each gets its code or, if it is no HTTP, nothing; the next client is served all the same."""
    path = tmp_path / "api.sock"
    async with serving(path):
        try:
            answer = await exchange(path, request_)
        except trio.BrokenResourceError:  # it hung up while we were still sending
            answer = b""
        assert answer.startswith(start)
        assert answer.endswith(end)
        assert (await exchange(path, b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n")).startswith(
            b"HTTP/1.1 200 "
        )


async def test_a_silent_client_is_sent_away(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """Who sends nothing for ten seconds loses the connection."""
    path = tmp_path / "api.sock"
    async with serving(path):
        began = trio.current_time()
        assert await exchange(path, b"GET /v1") == b""
        assert trio.current_time() - began == pytest.approx(10.0)


async def test_silent_clients_cannot_shut_others_out_for_long(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """With all places taken the next client waits until they are sent away."""
    path = tmp_path / "api.sock"
    async with serving(path), trio.open_nursery() as nursery:
        for _ in range(MAX_CONNECTIONS):
            nursery.start_soon(hold, path)
        await trio.testing.wait_all_tasks_blocked()
        answer = await exchange(path, b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 ")
        nursery.cancel_scope.cancel()


async def test_the_socket_is_for_its_group_and_goes_with_the_server(tmp_path: Path) -> None:
    """Mode 0660; nothing is left behind."""
    path = tmp_path / "deep" / "api.sock"
    async with serving(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert not path.exists()


async def test_a_stale_socket_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    """A second appliance is told that the first one runs."""
    path = tmp_path / "api.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(os.fspath(path))
    async with serving(path):
        with pytest.raises(ApplianceError, match="another process serves"):
            await ApiServer(Api(listen=(f"unix:{path}",)), DOCUMENTS).run()
        assert (await exchange(path, b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n")).startswith(
            b"HTTP/1.1 200 "
        )


async def test_a_successor_keeps_its_socket_when_the_predecessor_goes(tmp_path: Path) -> None:
    """Only the socket that a server made is removed."""
    path = tmp_path / "api.sock"
    async with serving(path):
        path.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(os.fspath(path))
    assert path.exists()


async def test_a_place_that_cannot_be_used_is_fatal_only_if_it_was_asked_for(tmp_path: Path) -> None:
    """By default the appliance runs without its endpoint."""
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "api.sock"
    with pytest.raises(ApplianceError, match="cannot listen on"):
        await ApiServer(Api(listen=(f"unix:{path}",)), DOCUMENTS).run()
    async with serving(path, is_optional=True):
        pass


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (b"\x00\x01garbage\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 30_000, b"431"),
    ],
)
async def test_what_is_no_request_is_told_so(tmp_path: Path, request_: bytes, code: bytes) -> None:
    """The mistake is the sender's, and he learns of it."""
    path = tmp_path / "api.sock"
    async with serving(path):
        answer = await exchange(path, request_)
    assert answer.startswith(b"HTTP/1.1 " + code + b" ")


async def test_other_methods_are_told_which_there_are(tmp_path: Path) -> None:
    """RFC 9110 §15.5.6: a 405 names the methods that are allowed."""
    path = tmp_path / "api.sock"
    async with serving(path):
        answer = await exchange(path, b"DELETE /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b"\r\nallow: GET, HEAD\r\n" in answer


async def test_connections_beyond_the_bound_are_not_accepted(tmp_path: Path) -> None:
    """They wait in the kernel: a client cannot use up our descriptors."""
    path = tmp_path / "api.sock"
    async with serving(path) as server, trio.open_nursery() as nursery:
        for _ in range(MAX_CONNECTIONS + 10):
            nursery.start_soon(hold, path)
        await trio.testing.wait_all_tasks_blocked()
        assert server.statistics().connections == MAX_CONNECTIONS
        nursery.cancel_scope.cancel()
    assert server.statistics().connections == 0


async def test_figures_tell_where_it_listens(tmp_path: Path) -> None:
    """Nowhere, when it is off."""
    path = tmp_path / "api.sock"
    async with serving(path) as server:
        await exchange(path, b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (server.statistics().sockets, server.statistics().requests) == ((str(path),), 1)
    assert server.statistics().sockets == ()


async def test_what_serves_is_imported_when_all_else_runs(tmp_path: Path) -> None:
    """Not before, unless somebody asks: he is answered at once, ready or not."""
    for is_asked in (False, True):
        path, ready = tmp_path / f"{is_asked}.sock", trio.Event()
        server = ApiServer(Api(listen=(f"unix:{path}",)), DOCUMENTS, ready=ready)
        async with trio.open_nursery() as nursery:
            await nursery.start(server.run)
            await trio.testing.wait_all_tasks_blocked()
            assert server._works is None
            if is_asked:
                answer = await exchange(path, b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert answer.startswith(b"HTTP/1.1 200 ")
            else:
                ready.set()
            with trio.fail_after(30):
                await server._is_loaded.wait()
            server.stop()


async def test_path_that_is_too_long_is_told(tmp_path: Path) -> None:
    """The kernel's limit is 107 bytes."""
    with pytest.raises(ApplianceError, match=r"cannot listen on .*: AF_UNIX path too long"):
        await ApiServer(Api(listen=(f"unix:{tmp_path / ('x' * 108)}",)), DOCUMENTS).run()


async def test_file_that_is_no_socket_is_not_replaced(tmp_path: Path) -> None:
    """Somebody's file stays as it is."""
    path = tmp_path / "api.sock"
    path.write_text("mine")
    with pytest.raises(ApplianceError, match="cannot listen on"):
        await ApiServer(Api(listen=(f"unix:{path}",)), DOCUMENTS).run()
    assert path.read_text() == "mine"


async def test_clients_wait_while_there_is_no_descriptor(
    tmp_path: Path, told: list[EventDict], monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    """It is said once, and the client is served when there is one again."""
    accept, failures = trio.SocketListener.accept, 10

    async def fail_first(listener: trio.SocketListener) -> trio.SocketStream:
        nonlocal failures
        stream = await accept(listener)
        if failures:
            failures -= 1
            await stream.aclose()
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return stream

    monkeypatch.setattr(trio.SocketListener, "accept", fail_first)
    path = tmp_path / "api.sock"
    async with serving(path):
        for _ in range(10):
            assert await exchange(path, b"") == b""
        assert b"running" in await exchange(path, b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert [(entry["event"], entry["error"]) for entry in told] == [
        ("cannot accept connections, trying again", "Too many open files")
    ]
