"""Who may send to the cluster's logger."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import structlog.testing
import zmq

from appliance.errors import ConfigError

from .harness import raw_peer, wait_until
from .logger_bench import Door, Node, payload, row, run_door


class Keys:
    """A cluster's key pairs, the server's secret one and the client's public one in files, and a stranger's."""

    def __init__(self, folder: Path) -> None:
        self.server, server_secret = zmq.curve_keypair()
        self._client = zmq.curve_keypair()
        self._stranger = zmq.curve_keypair()
        self.secret_file, self.client_file = folder / "server_secretkey", folder / "client_publickey"
        self.secret_file.write_bytes(server_secret + b"\n")
        self.client_file.write_bytes(self._client[0])

    @property
    def client(self) -> tuple[bytes, bytes, bytes]:
        return (self.server, *self._client)

    @property
    def stranger(self) -> tuple[bytes, bytes, bytes]:
        return (self.server, *self._stranger)

    @property
    def misled(self) -> tuple[bytes, bytes, bytes]:
        """It takes us for somebody else."""
        return (self._stranger[0], *self._client)


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


async def test_only_the_clusters_client_key_may_send(tmp_path: Path, nodes: list[Node], keys: Keys) -> None:
    """Another key, no key, and a wrong idea of our key are refused; meanwhile the right one sends."""
    files: dict[str, Any] = {
        "curve_secret_key_file": str(keys.secret_file),
        "curve_client_public_key_file": str(keys.client_file),
    }
    async with run_door(Door(tmp_path, **files)) as door:
        wrong: Sequence[tuple[bytes, bytes, bytes] | None] = (keys.stranger, None, keys.misled)
        for curve in wrong:
            nodes.append(Node(door.endpoint, curve=curve))
            nodes[-1].send(payload(666))
        await wait_until(lambda: door.figures.senders.failed >= len(wrong))
        nodes.append(Node(door.endpoint, curve=keys.client))
        nodes[-1].send(payload(1), payload(2))
        await door.wait_batches(2)
        failed = door.figures.senders.failed
        await wait_until(lambda: door.figures.senders.failed > failed)  # they try again, in vain
        assert await door.rows() == [row(1), row(2)]
        assert door.figures.senders.connected == 1


async def test_without_a_client_key_who_knows_ours_may_send(tmp_path: Path, nodes: list[Node], keys: Keys) -> None:
    async with run_door(Door(tmp_path, curve_secret_key_file=str(keys.secret_file))) as door:
        nodes.append(Node(door.endpoint))
        nodes[0].send(payload(666))
        await wait_until(lambda: door.figures.senders.failed >= 1)
        nodes += [Node(door.endpoint, curve=keys.stranger), Node(door.endpoint, curve=keys.client)]
        for node in nodes[1:]:
            node.send(payload(1))
        await door.wait_batches(2)
        assert await door.rows() == [row(1), row(1)]


async def test_an_encrypted_logger_runs_again(tmp_path: Path, nodes: list[Node], keys: Keys) -> None:
    """The keys are read at each start."""
    files: dict[str, Any] = {
        "curve_secret_key_file": str(keys.secret_file),
        "curve_client_public_key_file": str(keys.client_file),
    }
    door = Door(tmp_path, **files)
    keys.client_file.write_text("no key")
    with pytest.raises(ConfigError, match="client_publickey"):
        await door.receiver.run()
    keys.client_file.write_bytes(keys.client[1])
    async with run_door(door):
        nodes.append(Node(door.endpoint, curve=keys.client))
        nodes[0].send(payload(1))
        await door.wait_batches(1)


@pytest.mark.parametrize("name", ["curve_secret_key_file", "curve_client_public_key_file"])
@pytest.mark.parametrize("content", [None, b"", b"short", b"x" * 41, b"#" * 40, b"\xff" * 40])
async def test_a_bad_key_file_is_named(tmp_path: Path, keys: Keys, name: str, content: bytes | None) -> None:
    """And what is in it is not told; nothing stays open."""
    files: dict[str, Any] = {
        "curve_secret_key_file": str(keys.secret_file),
        "curve_client_public_key_file": str(keys.client_file),
    }
    bad = tmp_path / "bad key"
    if content is not None:
        bad.write_bytes(content)
    door = Door(tmp_path, **(files | {name: str(bad)}))
    open_before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(ConfigError, match=r"no CURVE key in .*/bad key: (expected|No such file)"):
        await door.receiver.run()
    assert len(list(Path("/proc/self/fd").iterdir())) == open_before
    assert not door.account._holders


async def test_public_addresses_are_warned_about(tmp_path: Path, keys: Keys) -> None:
    """Unless they are encrypted."""
    with structlog.testing.capture_logs() as logs:
        async with run_door(Door(tmp_path, log_bind="tcp://*:0")):
            pass
        async with run_door(Door(tmp_path, log_bind="tcp://*:0", curve_secret_key_file=str(keys.secret_file))):
            pass
    assert [entry["bind"] for entry in logs] == ["tcp://*:0"]


async def test_a_silent_connection_costs_nothing(tmp_path: Path, nodes: list[Node]) -> None:
    """One that connects and says nothing, or nonsense."""
    async with run_door(Door(tmp_path)) as door:
        with raw_peer(door.endpoint), raw_peer(door.endpoint) as loud:
            loud.sendall(b"GET / HTTP/1.1\r\n\r\n" * 10)
            nodes.append(Node(door.endpoint))
            nodes[0].send(payload(1))
            assert (await door.wait_batches(1))[0].delivered == 1
