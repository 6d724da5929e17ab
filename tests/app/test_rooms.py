"""The appliance with its real rooms: a writer on an ipc socket, files, the status socket."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import trio
import zmq

from appliance.app import Appliance
from appliance.errors import ApplianceError

pytestmark = pytest.mark.usefixtures("told")

TEXT = """
[[zmq]]
name = "bro"
bind = ["ipc://bro.sock", "tcp://127.0.0.1:0"]
[[sink]]
name = "archive"
on = ["log:*"]
path = "logs/{path}.log"
flush_every = "10ms"
"""


async def fetch(path: str) -> dict[str, Any]:
    """GET /v1/status."""
    async with await trio.open_unix_socket(path) as stream:
        await stream.send_all(b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        data = b"".join([chunk async for chunk in stream])
    found: dict[str, Any] = json.loads(data.partition(b"\r\n\r\n")[2])
    return found


def numbers_under(folder: Path) -> list[int]:
    """What the writer counted, from all files of its log."""
    return [json.loads(line)["n"] for file in folder.glob("conn*") for line in file.read_text().splitlines()]


def is_there(path: Path) -> bool:
    return path.exists()


async def delivered(appliance: Appliance, key: str, count: int) -> None:
    with trio.move_on_after(30):
        while appliance.ledger.account(key).delivered < count:  # noqa: ASYNC110 - the figures are all that can be seen
            await trio.sleep(0.002)
        return
    raise AssertionError([account.statistics() for account in appliance.ledger])


async def test_records_from_a_writer_to_a_file(files: Any) -> None:
    """Through a reload that replaces the sink and keeps the socket, to the last record."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    writer = context.socket(zmq.PUB)
    writer.setsockopt(zmq.LINGER, 0)
    writer.setsockopt(zmq.SNDHWM, 0)  # a publisher whose thread gets no processor would drop what is beyond it
    try:
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                appliance = Appliance(files.read(TEXT), files.path, {})
                nursery.start_soon(appliance.run)
                await appliance.ready.wait()
                base = files.path.parent / "state"
                writer.connect(f"ipc://{base}/bro.sock")
                assert appliance._assembly is not None
                door = appliance._assembly.units["zmq.bro"].service
                while appliance.ledger.account("zmq.bro").received == 0:
                    writer.send_multipart([b"warm", b'{"n":0}'])
                    await trio.sleep(0.002)
                for number in range(500):
                    writer.send_multipart([b"conn", b'{"n":%d}' % number])
                files.write(TEXT.replace('"10ms"', '"20ms"'))
                appliance.reload()
                outcome = await appliance.wait_reloaded()
                assert outcome.ok, outcome.errors
                assert appliance._assembly.units["zmq.bro"].service is door
                for number in range(500, 1000):
                    writer.send_multipart([b"conn", b'{"n":%d}' % number])
                await delivered(appliance, "sink.archive", 1001)
                status = await fetch(os.fspath(base / "api.sock"))
                assert status["generation"] == 2
                assert status["lost"] == 0
                appliance.stop()
    finally:
        writer.close()
        context.term()
    assert all(account.statistics().imbalance == 0 for account in appliance.ledger)
    assert sorted(numbers_under(base / "logs")) == list(range(1000))
    assert not is_there(base / "api.sock")


async def test_a_socket_that_is_served_already(files: Any) -> None:
    """A second appliance with the same file does not start, and the first one goes on."""
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            first = Appliance(files.read(TEXT), files.path, {})
            nursery.start_soon(first.run)
            await first.ready.wait()
            with pytest.RaisesGroup(
                pytest.RaisesExc(ApplianceError, match="another process serves"), flatten_subgroups=True
            ):
                await Appliance(files.read(TEXT), files.path, {}).run()
            assert (await fetch("state/api.sock"))["state"] == "running"
            first.stop()
