"""AIT's calls over the captures of a running appliance, which remembers what they change."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from appliance.ait.manager import StreamCaptureManager
from appliance.app import Appliance
from appliance.config import load
from appliance.parts import prepare
from tests.capture.harness import wait_until
from tests.ports import free_port

from .test_manager import contents, reads, send

pytestmark = pytest.mark.usefixtures("told")


@asynccontextmanager
async def running(folder: Path, port: int) -> AsyncIterator[StreamCaptureManager]:
    path = folder / "site.toml"
    path.write_text(
        f'[appliance]\nstate_dir = "{folder}/state"\n[api]\nlisten = []\n[[capture]]\nname = "tele"\n'
        f'conn_type = "udp"\naddress = ["127.0.0.1", {port}]\n[[capture.handler]]\nname = "raw"\n'
    )
    appliance = Appliance(prepare(load(path, environ={})), path, {})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(appliance.run)
        await appliance.ready.wait()
        manager = StreamCaptureManager({"root_log_directory": str(folder / "root")}, [], captures=appliance.captures)
        yield manager
        appliance.stop()


async def test_loggers_join_the_appliance_and_survive_it(tmp_path: Path) -> None:
    """At an address of the file they share its socket; a stopped handler of the file stays stopped."""
    ports = [free_port(), free_port()]
    async with running(tmp_path, ports[0]) as manager:
        await manager.add_logger("more", ["127.0.0.1", ports[0]], "udp", file_name_pattern="{name}.pcap")
        await manager.add_logger("other", ["127.0.0.1", ports[1]], "udp", file_name_pattern="{name}.pcap")
        for port in ports:
            send(port, b"1")
        await wait_until(lambda: reads(manager) == {"raw": 1, "more": 1, "other": 1})
        with pytest.raises(ValueError, match="has a handler 'more' already"):
            await manager.add_logger("more", ["127.0.0.1", ports[0]], "udp")
        with pytest.raises(ValueError, match="conn_type"):
            await manager.add_logger("x", ["127.0.0.1", ports[0]], "tcp")
        (segment,) = await manager.rotate_capture_handler_log("more")
        assert segment.packets == 1
        assert await manager.stop_capture_handler("raw") == 1
    async with running(tmp_path, ports[0]) as manager:
        assert set(reads(manager)) == {"more", "other"}
        assert await manager.stop_stream_capturer(["127.0.0.1", ports[1]]) == 1
        assert set(reads(manager)) == {"more"}
    assert contents(tmp_path / "root") == {"more.pcap": [b"1"], "other.pcap": [b"1"]}
