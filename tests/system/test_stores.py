"""Data stores of whole programs: killed in the middle of writing, and over a network that is none."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from appliance.broker.stores.clone import CloneService
from appliance.cli.client import ask
from appliance.wire.stores.clone import CloneOptions
from appliance.zeek.binary import decode
from appliance.zeek.values import Count
from tests.broker.harness import House, run_houses
from tests.broker.stores.harness import house, put, run_stores
from tests.ports import free_port

from .harness import BASE, Program, open_program

pytestmark = pytest.mark.slow

PEERS = """\
[broker]
tls = "off"
ping_interval = "250ms"
retry_interval = "100ms"
handshake_timeout = "1s"
{}
[[store]]
name = "s"
{}
"""
WRITERS = 200
SEED = 4


def kept(file: Path) -> dict[Any, Any]:
    """What is in a file of a program that does not run."""
    with sqlite3.connect(file) as db:
        assert db.execute("pragma integrity_check").fetchone() == ("ok",)
        found = {decode(key): decode(value) for key, value in db.execute("select key, value from store")}
    db.close()
    return found


async def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    """Thousands of puts a second from a peer: what was acknowledged is on the disk, and in the end nothing is lost."""
    port = free_port()
    text = BASE + PEERS.format(f'listen = ["127.0.0.1:{port}"]', "persistent = true")
    two: House = house(tmp_path / "two", connect=(f"127.0.0.1:{port}",), listen=(), retry_interval="50ms")
    clone = CloneService("s", hub=two.stores, options=CloneOptions(resync=5))
    begun: set[int] = set()
    acked: set[int] = set()
    is_over = False

    async def write(first: int) -> None:
        number = first
        while not is_over:
            begun.add(number)
            await put(clone, Count(number), Count(number * 3))
            acked.add(number)
            number += WRITERS

    async def has_acked(count: int) -> None:
        while len(acked) < count:  # noqa: ASYNC110 - a plain set
            await trio.sleep(0.001)

    with open_program(tmp_path, text) as program:
        with trio.fail_after(60):
            async with run_houses(two), run_stores(clone), trio.open_nursery() as nursery:
                for first in range(WRITERS):
                    nursery.start_soon(write, first)
                began = trio.current_time()
                await has_acked(5000)
                took_s = trio.current_time() - began
                assert program.process is not None
                program.process.kill()
                program.process.wait()
                before = set(acked)
                file = program.state / "stores" / "s.sqlite"
                found = await trio.to_thread.run_sync(kept, file)
                assert before <= {key.value for key in found}
                assert all(value == Count(key.value * 3) for key, value in found.items())
                assert 5000 / took_s > 200
                program.start()
                await trio.to_thread.run_sync(program.wait_ready)
                await has_acked(len(before) + 1000)
                is_over = True
            assert acked == begun
    assert {key.value for key in kept(file)} == acked


class Proxy:
    """Between a dialer and a listener: delays, swallows and cuts, until it is `healed`."""

    def __init__(self, port: int, chance: random.Random) -> None:
        self._to, self._chance = port, chance
        self.is_healed = False
        self.cuts = self.swallowed = 0
        self.port = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listeners[0].socket.getsockname()[1]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, self._serve, listeners)
            yield
            nursery.cancel_scope.cancel()

    async def _serve(self, near: trio.SocketStream) -> None:
        try:
            far = await trio.open_tcp_stream("127.0.0.1", self._to)
        except OSError:
            await near.aclose()
            return
        async with near, far, trio.open_nursery() as nursery:
            nursery.start_soon(self._carry, near, far, nursery.cancel_scope)
            nursery.start_soon(self._carry, far, near, nursery.cancel_scope)

    async def _carry(self, source: trio.SocketStream, target: trio.SocketStream, scope: trio.CancelScope) -> None:
        is_hole = False
        try:
            async for data in source:
                dice = 1.0 if self.is_healed and not is_hole else self._chance.random()
                if dice < 0.01:
                    self.cuts += 1
                    break
                is_hole = is_hole or dice < 0.015  # until the peers have had enough of the silence
                if is_hole:
                    self.swallowed += 1
                    continue
                if dice < 0.1:
                    await trio.sleep(self._chance.random() / 20)
                await target.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        scope.cancel()


def entries(program: Program) -> dict[str, Any]:
    status, document = ask(program.state / "api.sock", "GET", "/v1/stores/s?limit=10000")
    assert status == 200, document
    return {str(each["key"]["plain"]): each["value"]["plain"] for each in document["entries"]}


async def test_two_programs_agree_once_the_network_heals(tmp_path: Path) -> None:
    """Both write all the time; connections are slow, go dead and break."""
    port = free_port()
    proxy = Proxy(port, random.Random(SEED))
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()
    expected: dict[str, Any] = {}

    async def write(program: Program, prefix: str) -> None:
        call = partial(ask, program.state / "api.sock", "POST", "/v1/stores/s")
        for number in range(150):
            key = f"{prefix}{number % 40}"
            body = {"operation": "put", "key": key, "value": number, "timeout": 5}
            status, document = await trio.to_thread.run_sync(partial(call, body))
            # What was not acknowledged in time may come to pass later, but before what the same writer writes next.
            assert status == 200 or document["reason"] in ("timeout", "unknown"), document
            expected[key] = number

    async with proxy.running():
        master = PEERS.format(f'listen = ["127.0.0.1:{port}"]', "")
        more = 'role = "clone"\nresync_interval = "500ms"'
        clone = PEERS.format(f'connect = ["127.0.0.1:{proxy.port}"]', more)
        with open_program(folders[0], BASE + master) as a, open_program(folders[1], BASE + clone) as b:
            with trio.fail_after(120):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(write, a, "a")
                    nursery.start_soon(write, b, "b")
                proxy.is_healed = True
                while True:
                    found = [await trio.to_thread.run_sync(entries, program) for program in (a, b)]
                    if found == [expected, expected]:
                        break
                    await trio.sleep(0.1)
    assert proxy.cuts + proxy.swallowed > 0
