"""A whole appliance in this process, with a little of everything behind its page."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from appliance.api.tokens import make_token
from appliance.app import Appliance
from appliance.config import load
from appliance.parts import prepare

__all__ = ["Site", "can_record", "open_site"]

PACKETS = 20
LETTERS = 3
TEXT = """
[appliance]
name = "node-1"
state_dir = "{0}/state"
python_path = ["{0}"]
[api]
listen = ["unix:{0}/api.sock", "127.0.0.1:0"]
token_file = "{0}/tokens"
[[capture]]
name = "telemetry"
conn_type = "udp"
address = ["127.0.0.1", {1}]
[[capture.handler]]
name = "raw"
log_dir = "{0}/captures"
[[tail]]
name = "current"
paths = ["{0}/*.log"]
[[hook]]
name = "tickets"
on = ["log:http"]
run = "{2}:on_http"
isolation = "thread"
attempts = 1
"""
RECORDER = """
[[recorder]]
name = "edge"
interface = "lo"
directory = "{0}/edge"
ring = "8MiB"
promiscuous = false
filter = "udp port {1}"
"""
HOOK = """
import pathlib
def on_http(record):
    if pathlib.Path({!r}).exists():
        raise ValueError("<b>no answer</b>")
"""


def can_record() -> bool:
    """Whether packets can be captured here."""
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()
    except OSError:
        return False
    return True


class Site:
    """See the module."""

    def __init__(self, folder: Path, *, record: bool) -> None:
        self.folder = folder
        self.trouble = folder / "trouble"
        self.trouble.touch()
        self.tokens: dict[str, str] = {}
        lines = []
        for role in ("read", "operate"):
            self.tokens[role], line = make_token(role, role)
            lines.append(line)
        (folder / "tokens").write_text("\n".join(lines))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            self.port = sock.getsockname()[1]
        module = f"ui_hooks_{os.getpid()}_{self.port}"
        (folder / f"{module}.py").write_text(HOOK.format(str(self.trouble)))
        self._file = folder / "site.toml"
        text = TEXT + RECORDER if record else TEXT
        self._file.write_text(text.format(folder, self.port, module))

    @property
    def socket(self) -> Path:
        return self.folder / "api.sock"

    def log(self, path: str, **fields: Any) -> None:
        """A record at the end of a log."""
        with (self.folder / f"{path}.log").open("a") as file:
            file.write(json.dumps({"_path": path, "ts": 1_700_000_000.5, **fields}) + "\n")

    def send(self, count: int) -> None:
        """Datagrams that are captured, and recorded."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for number in range(count):
                sock.sendto(b"%06d" % number, ("127.0.0.1", self.port))

    async def run(self, *, task_status: trio.TaskStatus[Appliance]) -> None:
        prepared = prepare(load(self._file, environ={}))
        appliance = Appliance(prepared, self._file, {})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(appliance.run)
            await appliance.ready.wait()
            task_status.started(appliance)

    async def tcp(self, appliance: Appliance) -> str:
        """Where it is reached with a token."""
        assert appliance._assembly is not None
        service: Any = appliance._assembly.units["api"].service
        await service._is_loaded.wait()
        return str(service.statistics().sockets[1])


@asynccontextmanager
async def open_site(folder: Path, *, record: bool = False) -> AsyncIterator[tuple[Site, Appliance]]:
    """It runs, and has captured some packets and failed at some records."""
    site = Site(folder, record=record)
    for number in range(LETTERS):
        site.log("http", host=f"{number}.example")
    path = [*sys.path]
    try:
        async with trio.open_nursery() as nursery:
            appliance = await nursery.start(site.run)
            site.send(PACKETS)
            yield site, appliance
            appliance.stop()
    finally:
        sys.path[:] = path
