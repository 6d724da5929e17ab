"""Our proxy: what it passes on, whom it lets in, and its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
import zmq

from appliance.config import ProxyPlan
from appliance.errors import ApplianceError, ConfigError
from appliance.zeromq.proxy import ClusterProxy

from .cluster_bench import Bare, event, open_bus

TOPIC = "zeek.event.my.x"


class Keys:
    """A cluster's keys in files, as zeekctl names them, and a stranger's."""

    def __init__(self, folder: Path) -> None:
        for owner in ("server", "client", "stranger"):
            public, secret = zmq.curve_keypair()
            (folder / f"{owner}_publickey").write_bytes(public)
            (folder / f"{owner}_secretkey").write_bytes(secret + b"\n")
        self._folder = folder

    def file(self, name: str) -> str:
        return str(self._folder / name)

    @property
    def proxy(self) -> dict[str, str]:
        return {
            "secret_key_file": self.file("server_secretkey"),
            "client_public_key_file": self.file("client_publickey"),
        }

    def client(self, owner: str = "client", server: str = "server") -> dict[str, Any]:
        return {
            "server_public_key_file": self.file(f"{server}_publickey"),
            "secret_key_file": self.file(f"{owner}_secretkey"),
        }


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


async def test_nodes_with_the_clusters_keys(tmp_path: Path, keys: Keys) -> None:
    """They are up, and what they say is encrypted; the public key of their own may be left out."""
    async with open_bus(tmp_path, "manager", "worker-1", keys=keys.proxy) as bus:
        manager = await bus.join("manager", subscribe=(TOPIC,), **keys.client())
        worker = await bus.join("worker-1", public_key_file=keys.file("client_publickey"), **keys.client())
        await manager.wait_up("worker-1")
        await worker.wait_heard(TOPIC)
        worker.publish(TOPIC, event("My::event"))
        await manager.wait_events(1)
        assert bus.proxy is not None
        assert bus.proxy.statistics().refused == 0


async def test_nobody_else_gets_in(tmp_path: Path, keys: Keys) -> None:
    """A stranger's key, no key, and somebody else's idea of the server; each is told, and not ready."""
    async with open_bus(tmp_path, "manager", "worker-1", "worker-2", keys=keys.proxy) as bus:
        manager = await bus.join("manager", **keys.client())
        stranger = await bus.join("worker-1", **keys.client("stranger"))
        misled = await bus.join("worker-2", **keys.client(server="stranger"))
        plain = Bare(bus, "plain", TOPIC)
        await stranger.node.wait_for(lambda: "key is refused" in stranger.write.last_error)
        await manager.wait_ready()
        assert not any(member.node.is_ready for member in (stranger, misled))
        assert manager.up == set()
        assert not manager.node.hears(TOPIC)
        assert bus.proxy is not None
        assert bus.proxy.statistics().refused > 0
        plain.close()


async def test_keys_that_are_no_pair(tmp_path: Path, keys: Keys) -> None:
    """Are told at the start."""
    async with open_bus(tmp_path, "manager", proxy=False) as bus:
        member = bus.member("manager", public_key_file=keys.file("stranger_publickey"), **keys.client())
        with pytest.raises(ConfigError, match="are not a pair"):
            await member.node.run()


async def test_places_that_are_taken(tmp_path: Path) -> None:
    """The second proxy does not start, and the first one goes on."""
    async with open_bus(tmp_path, "manager") as bus:
        second = ClusterProxy(ProxyPlan(read=f"ipc://{tmp_path}/other", write=bus.write))
        with pytest.raises(ApplianceError, match="another process serves this socket"):
            await second.run()
        manager = await bus.join("manager")
        await manager.wait_ready()


async def test_a_proxy_can_be_started_again(tmp_path: Path) -> None:
    """At the same places, after an orderly end and after a cancellation."""
    proxy = ClusterProxy(ProxyPlan(read=f"ipc://{tmp_path}/r", write=f"ipc://{tmp_path}/w"))
    for _ in range(2):
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda *, task_status: proxy.run(task_status=task_status))
            assert proxy.statistics().read == f"ipc://{tmp_path}/r"
            nursery.cancel_scope.cancel()
        assert proxy.statistics().read == ""
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda *, task_status: proxy.run(task_status=task_status))
        proxy.stop()
