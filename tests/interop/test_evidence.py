"""A script asks for packets, and hears where they are."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from .product import open_product, until
from .sides import open_zeek_side

pytestmark = pytest.mark.slow

CONF = """
[broker]
connect = ["127.0.0.1:{port}"]
tls = "off"
[[recorder]]
name = "edge"
interface = "lo"
memory = "16MiB"
write = "triggered"
[[evidence]]
name = "requests"
on = ["event:BroAppliance::evidence_request"]
recorder = "edge"
"""
SPANS = {"BroAppliance::evidence_before": "10sec", "BroAppliance::evidence_after": "1sec"}


async def test_a_script_asks_and_is_answered(tmp_path: Path) -> None:
    """With a file that has the packets, and the script's own name for the request."""
    async with (
        open_zeek_side(tmp_path / "z", tls=False, script="evidence.zeek", redefs=SPANS) as z,
        open_product(tmp_path / "a", CONF.format(port=z.port)) as program,
    ):
        await z.journal.wait("peer_added")
        await until(lambda: program.figures("recorder.edge"))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind(("127.0.0.1", 0))
            sender.sendto(b"packet", ("127.0.0.1", 9))
            await z.zeek.command("request", str(sender.getsockname()[1]))
        [asked] = await z.zeek.wait("asked")
        [answer] = await z.zeek.wait("answer")
    id_, recorder, path, packets, size, *_ = answer.split()
    assert (id_, recorder, packets) == (asked, "edge", "1")
    assert Path(path).stat().st_size == int(size)
