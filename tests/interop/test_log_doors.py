"""Logs of a real Zeek through the doors that are not Broker's: a ZeroMQ cluster's logger, and the ZeroMQ log writer."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from .product import open_product
from .test_logs import SINK, rows, write_own
from .test_messages import free_ports, write_layout
from .test_zeromq import BACKEND, require_backend
from .zeek_process import SCRIPTS, ZeekProcess, open_zeek, require_zeek

pytestmark = pytest.mark.slow

LOGS = os.fspath(SCRIPTS / "logs.zeek")
WRITER = "NCSA::ZeroMQWriter"
COUNT = 10


async def write(zeek: ZeekProcess) -> None:
    for number in range(COUNT):
        await zeek.command("log", str(number))
    await zeek.command("flush")


async def test_we_are_the_logger_of_a_zeromq_cluster(tmp_path: Path) -> None:
    """A worker pushes its batches to the address that the layout gives, though nobody has seen us up; record by record
    they are what Zeek writes into a file itself.
    """
    require_backend()
    ports = dict(zip(("manager", "logger-1", "worker-1"), free_ports(3), strict=True))
    read, write_to = (f"tcp://127.0.0.1:{port}" for port in free_ports(2))
    write_layout(tmp_path, ports)
    places = {"listen_xpub": read, "connect_xsub": read, "listen_xsub": write_to, "connect_xpub": write_to}
    redefs = {f"Cluster::Backend::ZeroMQ::{key}_endpoint": f'"{place}"' for key, place in places.items()}
    conf = (
        '[cluster]\nbackend = "zeromq"\nnode = "logger-1"\nannounce = false\n'
        f"layout = {json.dumps(os.fspath(tmp_path / 'cluster-layout.zeek'))}\n"
        f'[cluster.zeromq]\nlog_bind = "tcp://127.0.0.1:{ports["logger-1"]}"\n{SINK}'
    )
    for name in ("manager", "worker-1"):
        write_layout(tmp_path / name, ports)
    async with (
        open_zeek(tmp_path / "alone", "logs.zeek") as alone,
        open_product(tmp_path / "ours", conf) as program,
        open_zeek(
            tmp_path / "manager",
            "zeromq-node.zeek",
            redefs=redefs,
            env={"CLUSTER_NODE": "manager"},
            arguments=[BACKEND],
        ),
        open_zeek(
            tmp_path / "worker-1",
            "zeromq-node.zeek",
            redefs=redefs,
            env={"CLUSTER_NODE": "worker-1"},
            arguments=[BACKEND, LOGS],
        ) as worker,
    ):
        expected = await write_own(alone, COUNT)
        await write(worker)
        assert await rows(program, "interop", COUNT) == expected
        assert program.figures("cluster.logger")["quarantined"] == 0


async def test_the_log_writer_of_a_real_zeek(tmp_path: Path) -> None:
    """If its plug-in could be built for this Zeek: the records that it sends are those of Zeek's own file."""
    done = subprocess.run([require_zeek(), "-N"], capture_output=True, text=True, timeout=60)
    if WRITER not in done.stdout:
        pytest.skip(f"this zeek has no {WRITER}")
    [port] = free_ports(1)
    conf = f'[[zmq]]\nname = "zeek"\nbind = ["tcp://127.0.0.1:{port}"]\n{SINK}'
    redefs = {"LogZeroMQ::endpoint": f'"tcp://127.0.0.1:{port}"', "LogZeroMQ::zmq_connect_pause": "1000"}
    async with (
        open_product(tmp_path / "ours", conf) as program,
        open_zeek(tmp_path / "z", "logs.zeek", redefs=redefs, arguments=["NCSA/ZeroMQWriter"]) as zeek,
    ):
        expected = await write_own(zeek, COUNT)
        assert await rows(program, "interop", COUNT) == expected
