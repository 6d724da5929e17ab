"""A ZeroMQ cluster of real Zeeks and a node of ours: presence, events both ways, deaths, a manager that starts anew.

Needs a Zeek with the ZeroMQ backend, 8.1 or later: its scripts are loaded by their name there.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from appliance.zeek.values import Value
from tests.zeromq.cluster_bench import Bus, Member, event

from .product import until
from .test_messages import write_layout
from .zeek_process import ZeekProcess, open_zeek, require_zeek

pytestmark = pytest.mark.slow

BACKEND = "frameworks/cluster/backend/zeromq"
NAMES = ("manager", "worker-1", "worker-2")
TOPIC = "zeek.interop.notes"


def free_ports(count: int) -> list[int]:
    """Ports that are free by now."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def require_backend() -> None:
    """Skip without a Zeek that has it."""
    done = subprocess.run([require_zeek(), "--parse-only", BACKEND], capture_output=True, timeout=60)
    if done.returncode:
        pytest.skip("this zeek has no ZeroMQ backend")


def look_for(zeek: ZeekProcess, message: str) -> None:
    """The manager is the logger as well: its ``cluster.log`` has the line."""
    assert any(message in line for line in zeek.lines("cluster"))


class Cluster:
    """Two Zeeks with a place for a third node, which is ours: ``worker-2``."""

    def __init__(self, folder: Path, nursery: trio.Nursery) -> None:
        self.folder = folder
        self.bus = Bus(folder, NAMES, nursery)
        read, write, *self._ports = free_ports(5)
        self.bus.read, self.bus.write = f"tcp://127.0.0.1:{read}", f"tcp://127.0.0.1:{write}"

    def zeek(self, name: str) -> AbstractAsyncContextManager[ZeekProcess]:
        folder = self.folder / name
        write_layout(folder, dict(zip(NAMES, self._ports, strict=True)))
        places = {"listen_xpub": self.bus.read, "connect_xsub": self.bus.read}
        places |= {"listen_xsub": self.bus.write, "connect_xpub": self.bus.write}
        redefs = {f"Cluster::Backend::ZeroMQ::{key}_endpoint": f'"{place}"' for key, place in places.items()}
        env = {"CLUSTER_NODE": name}
        return open_zeek(folder, "zeromq-node.zeek", redefs=redefs, env=env, arguments=[BACKEND])

    async def join(self) -> Member:
        return await self.bus.join("worker-2", subscribe=(TOPIC,))


@asynccontextmanager
async def open_cluster(folder: Path) -> AsyncIterator[Cluster]:
    require_backend()
    async with trio.open_nursery() as nursery:
        with trio.fail_after(120):
            yield Cluster(folder, nursery)
        nursery.cancel_scope.cancel()


async def test_our_node_is_up_for_all_and_down_when_it_has_gone(tmp_path: Path) -> None:
    """Killed or stopped; and it comes back with another ID."""
    async with (
        open_cluster(tmp_path) as cluster,
        cluster.zeek("manager") as manager,
        cluster.zeek("worker-1") as worker,
    ):
        for number, ending in enumerate(("kill", "stop"), 1):
            member = await cluster.join()
            await member.wait_up("manager", "worker-1")
            for zeek in (manager, worker):
                await zeek.wait("node_up", f"worker-2 {member.node.node_id}")
            await until(partial(look_for, manager, f"got hello from worker-2 ({member.node.node_id})"))
            await (member.kill() if ending == "kill" else member.stop())
            for zeek in (manager, worker):
                await zeek.wait("node_down", "worker-2", count=number)


async def test_events_both_ways(tmp_path: Path) -> None:
    """From Zeek on a topic that we subscribe to, and from us on the topic of a node."""
    async with open_cluster(tmp_path) as cluster, cluster.zeek("manager") as manager:
        member = await cluster.join()
        await member.wait_up("manager")
        await manager.wait("node_up", "worker-2")
        await manager.command("publish", TOPIC, "hello")
        expected: list[tuple[Value, ...]] = [(b"hello",)]
        assert await member.wait_events(1, "Interop::note") == expected
        await member.wait_heard("zeek.cluster.node.manager.")
        member.publish("zeek.cluster.node.manager.", event("Interop::note", b"and back"))
        await manager.wait("note", "and back")


async def test_a_manager_that_starts_anew(tmp_path: Path) -> None:
    """It is the proxy, too: at most it never said goodbye, which our node tells, and it is up for both again."""
    async with open_cluster(tmp_path) as cluster:
        async with cluster.zeek("manager") as manager:
            member = await cluster.join()
            await member.wait_up("manager")
            former = member.node.table.id_of("manager")
        async with cluster.zeek("manager") as manager:
            await manager.wait("node_up", "worker-2")
            await member.node.wait_for(lambda: member.node.table.id_of("manager") not in (None, former))
            assert set(member.oddities) <= {"no_goodbye"}
