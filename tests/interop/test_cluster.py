"""Our node in a cluster: seen by Zeek, and seeing it. The counterpart is a Zeek, or another program of ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.system.harness import Program

from .product import open_product, until
from .test_messages import free_ports, write_layout
from .zeek_process import open_zeek, require_zeek

REDEFS = {"Broker::disable_ssl": "T"}
SINK = """\
[[sink]]
name = "files"
on = ["node:*", "log:*"]
path = "logs/{path}/%Y.log"
flush_every = "50ms"
"""


def conf(layout: Path, name: str, *, version: str = "8.0") -> str:
    """One of its nodes."""
    return (
        f'[cluster]\nbackend = "broker"\nnode = "{name}"\nzeek_version = "{version}"\n'
        f"layout = {json.dumps(str(layout))}\n"
        f'[broker]\ntls = "off"\nretry_interval = "100ms"\n{SINK}'
    )


def nodes_up(program: Program) -> list[str]:
    figures: dict[str, Any] = program.figures("broker")["cluster"]
    return sorted(node["name"] for node in figures["nodes"] if node["is_up"])


async def wait_up(program: Program, *names: str) -> None:
    def look() -> bool:
        return nodes_up(program) == sorted(names)

    await until(look)


async def test_two_programs_are_a_cluster(tmp_path: Path) -> None:
    """From one layout script: the manager dials the logger, both are up for each other, and the end of one is told."""
    manager, logger = free_ports(2)
    write_layout(tmp_path, {"manager": manager, "logger-1": logger})
    layout = tmp_path / "cluster-layout.zeek"
    async with open_product(tmp_path / "logger", conf(layout, "logger-1")) as there:
        async with open_product(tmp_path / "manager", conf(layout, "manager")) as here:
            await wait_up(here, "logger-1")
            await wait_up(there, "manager")
        await wait_up(there)

        def look() -> bool:
            told = [json.loads(row) for name in ("up", "down") for row in there.rows(name)]
            assert [(row["node"], row["status"]) for row in told] == [("manager", "up"), ("manager", "down")]
            messages = [json.loads(row)["message"] for row in there.rows("cluster")]
            assert [each.split(" (")[0] for each in messages[-2:]] == ["got hello from manager", "node down: manager"]
            return True

        await until(look)


@pytest.mark.slow
async def test_zeek_sees_our_logger_come_and_go(tmp_path: Path) -> None:
    """Its manager dials us; ``kill -9`` of ours is the end of the node."""
    require_zeek()
    manager, logger = free_ports(2)
    write_layout(tmp_path, {"manager": manager, "logger-1": logger})
    env = {"CLUSTER_NODE": "manager"}
    async with open_zeek(tmp_path, "cluster-node.zeek", redefs=REDEFS, env=env) as zeek:
        async with open_product(tmp_path / "ours", conf(tmp_path / "cluster-layout.zeek", "logger-1")) as ours:
            [told] = await zeek.wait("node_up")
            assert told.startswith("logger-1 ")
            await wait_up(ours, "manager")
        assert await zeek.wait("node_down") == [told]


@pytest.mark.slow
async def test_we_see_a_worker_of_zeek_come_and_go(tmp_path: Path) -> None:
    """It dials us, our manager, as its own; its records reach us where we are the logger."""
    require_zeek()
    manager, worker = free_ports(2)
    write_layout(tmp_path, {"manager": manager, "worker-1": worker})
    layout = tmp_path / "cluster-layout.zeek"
    async with open_product(tmp_path / "ours", conf(layout, "manager")) as ours:
        env = {"CLUSTER_NODE": "worker-1"}
        async with open_zeek(tmp_path, "cluster-node.zeek", redefs=REDEFS, env=env) as zeek:
            [told] = await zeek.wait("node_up")
            assert told.startswith("manager ")
            await wait_up(ours, "worker-1")
            assert ours.figures("broker")["cluster"]["worker_count"] == 1
        await wait_up(ours)
