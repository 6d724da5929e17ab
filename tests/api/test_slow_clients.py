"""A thousand clients that are slow on purpose: others are served, and what captures and delivers does not notice."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from appliance.api.server import MAX_CONNECTIONS
from appliance.api.tokens import make_token
from appliance.app import Appliance
from appliance.config import load
from appliance.model import LogBatch
from appliance.parts import prepare
from tests.capture.harness import wait_until
from tests.ports import free_port

from .harness import closing, parse_response

CLIENTS, AT_ONCE = 1000, 32
ROUNDS, DATAGRAMS, RECORDS = 6, 100, 100
SLOW = (
    b"",
    b"GET /v1/sta",
    b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n",
    b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{",
)
"""Silence, the beginning of a line, a head without its end, and a body that does not come."""
pytestmark = pytest.mark.usefixtures("told")


@pytest.fixture(autouse=True)
def _descriptors() -> Iterator[None]:
    """Enough for all of them: they are in this process, too."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] != resource.RLIM_INFINITY and before[1] < 4096:
        pytest.skip("too few descriptors for so many clients")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], 4096), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def be_slow(port: int, text: bytes, connecting: trio.CapacityLimiter, connected: list[int]) -> None:
    """Send what there is of a request, and wait to be sent away."""
    async with connecting:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
    connected[0] += 1
    async with stream:
        try:
            await stream.send_all(text)
            while await stream.receive_some():
                pass
        except trio.BrokenResourceError:
            pass
        await trio.sleep_forever()


async def ask(stream: trio.SocketStream, token: str = "") -> int:
    """The status that a request for the status is answered with."""
    more = f"Authorization: Bearer {token}\r\n" if token else ""
    async with stream:
        await stream.send_all(closing(f"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n{more}\r\n".encode()))
        return parse_response(b"".join([data async for data in stream])).status


async def test_a_thousand_slow_clients_disturb_nobody(tmp_path: Path) -> None:
    """Every datagram is in the file, every record delivered, and whoever asks is answered, near and far."""
    token, line = make_token("a", "read")
    (tmp_path / "tokens").write_text(line)
    udp = free_port()
    path = tmp_path / "site.toml"
    path.write_text(
        f'[appliance]\nstate_dir = "{tmp_path}"\n'
        f'[api]\nlisten = ["unix:{tmp_path}/api.sock", "127.0.0.1:0"]\ntoken_file = "{tmp_path}/tokens"\n'
        f'[[capture]]\nname = "tele"\nconn_type = "udp"\naddress = ["127.0.0.1", {udp}]\n'
        'handler = [{ name = "raw" }]\n'
        '[[sink]]\nname = "archive"\nkind = "jsonl"\non = ["log:*"]\npath = "logs/{path}.log"\n'
    )
    appliance = Appliance(prepare(load(path, environ={})), path, {})
    item = LogBatch(path="conn", source="zmq.bench", data=b'{"n":1}\n' * RECORDS, count=RECORDS)
    connected = [0]

    async def work(sock: socket.socket) -> None:
        """Some of everything, and wait until it is done."""
        door, sink = appliance.ledger.account("zmq.bench"), appliance.ledger.account("sink.archive")
        for number in range(1, ROUNDS + 1):
            for _ in range(DATAGRAMS):
                sock.sendto(b"x" * 100, ("127.0.0.1", udp))
            door.received += RECORDS
            await appliance.dispatcher.dispatch(item, door, patience_s=60)
            while (sink.delivered, packets()) != (number * RECORDS, number * DATAGRAMS):
                await trio.lowlevel.checkpoint()

    def packets() -> int:
        return sum(each.packets for figures in appliance.captures.statistics().values() for each in figures.handlers)

    async def ask_both(port: int) -> None:
        for _ in range(ROUNDS):
            assert await ask(await trio.open_unix_socket(f"{tmp_path}/api.sock")) == 200
            assert await ask(await trio.open_tcp_stream("127.0.0.1", port), token) == 200

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(appliance.run)
            await appliance.ready.wait()
            assert appliance._assembly is not None
            server: Any = appliance._assembly.units["api"].service
            await server._is_loaded.wait()
            port = int(server.statistics().sockets[1].rpartition(":")[2])
            connecting = trio.CapacityLimiter(AT_ONCE)
            async with trio.open_nursery() as slow:
                for number in range(CLIENTS):
                    slow.start_soon(be_slow, port, SLOW[number % len(SLOW)], connecting, connected)
                with trio.fail_after(60):
                    async with trio.open_nursery() as good:
                        good.start_soon(work, sock)
                        good.start_soon(ask_both, port)
                        await wait_until(lambda: connected[0] == CLIENTS)
                figures = server.statistics()
                assert figures.connections <= 2 * MAX_CONNECTIONS
                assert figures.cut > CLIENTS // 4
                slow.cancel_scope.cancel()
            (capture,) = appliance.captures.statistics().values()
            assert (capture.kernel_drops, packets()) == (0, ROUNDS * DATAGRAMS)
            assert appliance.ledger.lost == 0
            appliance.stop()
    assert (tmp_path / "logs" / "conn.log").read_bytes().count(b"\n") == ROUNDS * RECORDS
