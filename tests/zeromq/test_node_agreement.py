"""Many nodes of ours on one proxy agree on who is up, whatever happens to them and to the proxy."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path

import pytest
import trio

from .cluster_bench import Bus, Member, event, open_bus
from .harness import wait_until


def make_names(count: int) -> list[str]:
    return ["manager", *(f"worker-{number}" for number in range(1, count))]


async def agree(members: dict[str, Member]) -> None:
    """Wait until everybody who runs sees everybody else who runs, and nobody more."""
    for name, member in members.items():
        await member.wait_up(*(set(members) - {name}))


async def start(bus: Bus, members: dict[str, Member], *names: str) -> None:
    async def join(name: str) -> None:
        members[name] = await bus.join(name)

    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(join, name)


@pytest.mark.parametrize("count", [2, 5, 20])
async def test_nodes_agree_after_kills_restarts_and_a_proxy_restart(tmp_path: Path, count: int) -> None:
    """Some die, some say goodbye, some die while the proxy is away and come back; nobody complains without a reason."""
    chance = random.Random(count)
    names = make_names(count)
    async with open_bus(tmp_path, *names) as bus:
        members: dict[str, Member] = {}
        await start(bus, members, *names)
        await agree(members)

        gone = chance.sample(names, max(1, count // 4))
        for name in gone:
            member = members.pop(name)
            await (member.kill() if chance.random() < 0.5 else member.stop())
        await agree(members)
        await start(bus, members, *gone)
        await agree(members)
        assert not any(member.oddities for member in members.values())

        await bus.stop_proxy()
        blind = chance.choice(names)
        await members.pop(blind).kill()
        await bus.start_proxy()
        await start(bus, members, blind)
        await agree(members)
        odd = {reason for member in members.values() for reason in member.oddities}
        assert odd <= {"no_goodbye"}


async def test_a_proxy_restart_is_silent(tmp_path: Path) -> None:
    """Everybody is told of everybody once more, and nothing comes of it: no news, no complaint, no greeting."""
    async with open_bus(tmp_path, "manager", "worker-1", "worker-2") as bus:
        members: dict[str, Member] = {}
        await start(bus, members, "manager", "worker-1", "worker-2")
        await agree(members)
        await bus.stop_proxy()
        for member in members.values():
            await member.node.wait_for(lambda member=member: not member.write.is_connected)  # type: ignore[misc]
        assert all(len(member.up) == 2 for member in members.values())
        sent = {name: member.books("cluster.out").received for name, member in members.items()}
        await bus.start_proxy()
        for member in members.values():
            await member.node.wait_for(lambda member=member: member.write.connects == 2)  # type: ignore[misc]
        first, second = members["manager"], members["worker-1"]
        topic = "zeek.cluster.node.worker-1."
        second_heard = partial(second.books, "cluster.messages")
        before = second_heard().received

        def has_arrived() -> bool:
            first.publish(topic, event("My::event"))
            return second_heard().received > before

        await wait_until(has_arrived)
        del members["manager"], sent["manager"]
        assert {name: member.books("cluster.out").received for name, member in members.items()} == sent
        assert not any(member.oddities for member in members.values())
        assert all(len(member.up) == 2 for member in members.values())
