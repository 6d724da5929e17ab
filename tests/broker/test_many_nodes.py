"""Many nodes of our own, over loopback: they agree on who is up, whatever comes and goes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import trio

from appliance.zeek.layout import ClusterLayout

from .harness import DEADLINE_S, House, wait_until
from .nodes import free_ports, layout, member, news

KINDS = {
    2: {"manager": "manager", "worker-1": "worker"},
    5: {"manager": "manager", "logger-1": "logger", "proxy-1": "proxy", "worker-1": "worker", "worker-2": "worker"},
    20: {
        "manager": "manager",
        **{f"logger-{n}": "logger" for n in (1, 2)},
        **{f"proxy-{n}": "proxy" for n in (1, 2, 3)},
        **{f"worker-{n}": "worker" for n in range(1, 15)},
    },
}


class Site:
    """All nodes of a cluster, each an endpoint of its own with its address in the layout."""

    def __init__(self, folder: Path, kinds: dict[str, str], nursery: trio.Nursery) -> None:
        ports = free_ports(kinds)
        self.nodes: ClusterLayout = layout(kinds, ports)
        self._folder, self._nursery = folder, nursery
        self.running: dict[str, House] = {}
        self.ended: list[House] = []
        self._lives: dict[str, trio.CancelScope] = {}
        self._over: dict[str, trio.Event] = {}
        self.links = {frozenset((name, other.name)) for name in kinds for other in member(name, self.nodes).to_dial}

    async def begin(self, name: str) -> None:
        """Start a node, with another ID than before."""
        if name in self._over:
            await self._over[name].wait()
        who = member(name, self.nodes)
        me = self.nodes.node(name)
        assert me is not None
        house = House(
            self._folder / f"{name}-{len(self.ended)}",
            member=who,
            listen=(f"127.0.0.1:{me.port}",),
            connect=tuple(f"127.0.0.1:{other.port}" for other in who.to_dial),
            subscribe=(),
        )
        house.folder.mkdir()
        scope, over = trio.CancelScope(), trio.Event()
        self._lives[name], self._over[name] = scope, over

        async def live(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            with scope:
                await house.endpoint.run(task_status=task_status)
            over.set()

        with trio.fail_after(DEADLINE_S):
            await self._nursery.start(live)
        self.running[name] = house

    def kill(self, name: str) -> None:
        """End a node without a farewell."""
        self.ended.append(self.running.pop(name))
        self._lives.pop(name).cancel()

    def leave(self, name: str) -> None:
        """Let a node say goodbye."""
        house = self.running.pop(name)
        self.ended.append(house)
        house.endpoint.stop()

    def seen_by(self, name: str) -> dict[str, str]:
        """Who is up for a node, with the IDs."""
        figures = self.running[name].figures.cluster
        assert figures is not None
        return {node.name: node.id for node in figures.nodes if node.is_up}

    def truth_for(self, name: str) -> dict[str, str]:
        """Who should be: those it has a peering with."""
        return {
            other: house.figures.endpoint
            for other, house in self.running.items()
            if frozenset((name, other)) in self.links
        }

    async def wait_agreed(self) -> None:
        await wait_until(lambda: all(self.seen_by(name) == self.truth_for(name) for name in self.running))


@pytest.mark.parametrize("count", [2, 5, 20])
async def test_nodes_agree_on_who_is_up(tmp_path: Path, count: int) -> None:
    """After random deaths, farewells and restarts, every node knows each of its peers by its present ID."""
    rng = random.Random(count)
    async with trio.open_nursery() as nursery:
        site = Site(tmp_path, KINDS[count], nursery)
        names = list(KINDS[count])
        rng.shuffle(names)
        for name in names:
            await site.begin(name)
        await site.wait_agreed()
        for _ in range(3):
            gone = rng.sample(names, max(1, count // 4))
            for name in gone:
                rng.choice((site.kill, site.leave))(name)
            if rng.random() < 0.5:
                await site.wait_agreed()
            for name in gone:
                await site.begin(name)
            await site.wait_agreed()
        for house in site.running.values():
            assert not house.figures.cluster.refused  # type: ignore[union-attr]
            told = await news(house)
            for other in names:  # up and down by turns, beginning with up
                mine = [line.split()[0] for line in told if line.endswith(f" {other}")]
                assert mine == ["up", "down"] * (len(mine) // 2) + ["up"] * (len(mine) % 2)
        for name in names:
            site.leave(name)
