"""Captures across a reload of the file: sockets stay open, no packet is lost or doubled, mistakes change nothing."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
import trio

from appliance.app import Appliance
from appliance.config import load
from appliance.parts import prepare
from appliance.status import ReloadOutcome

from .harness import packets_in, wait_until

HEAD = '[appliance]\nname = "t"\nstate_dir = "state"\npython_path = ["."]\n[api]\nlisten = []\n'
PORT = 47131


def capture(name: str, *handlers: str, port: int = PORT, more: str = "") -> str:
    text = f'[[capture]]\nname = "{name}"\nconn_type = "udp"\naddress = ["127.0.0.1", {port}]\n{more}'
    for handler in handlers:
        key, _, rest = handler.partition(" ")
        text += (
            f'[[capture.handler]]\nname = "{key}"\nlog_dir = "out"\nfile_name_pattern = "{name}-{key}{{seq}}"\n{rest}\n'
        )
    return text


class Site(NamedTuple):
    path: Path
    appliance: Appliance

    async def change(self, text: str) -> ReloadOutcome:
        self.path.write_text(HEAD + text)
        self.appliance.reload()
        return await self.appliance.wait_reloaded()

    def delivered(self) -> int:
        accounts = (a for a in self.appliance.ledger if a.name.startswith("capture.") and a.unit == "packets")
        return sum(account.delivered for account in accounts)

    async def send(self, *packets: bytes, port: int = PORT) -> None:
        expected = self.delivered() + len(packets)
        with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as sender:
            for packet in packets:
                await sender.sendto(packet, ("127.0.0.1", port))
        await wait_until(lambda: self.delivered() >= expected)

    def address(self, name: str) -> str:
        return self.appliance.captures.statistics()[name].address

    def books(self, name: str) -> tuple[int, int]:
        """Received and delivered."""
        account = self.appliance.ledger.account(name, unit="packets")
        return account.received, account.delivered


@asynccontextmanager
async def running(folder: Path, text: str) -> AsyncIterator[Site]:
    path = folder / "site.toml"
    path.write_text(HEAD + text)
    appliance = Appliance(prepare(load(path, environ={})), path, {})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(appliance.run)
        await appliance.ready.wait()
        yield Site(path, appliance)
        appliance.stop()
    for account in appliance.ledger:
        assert account.statistics().imbalance == 0
        assert account.lost == 0


def files(folder: Path) -> dict[str, list[bytes]]:
    return {path.name: [p.data for p in packets_in(path)] for path in (folder / "state/out").iterdir()}


def in_order(folder: Path) -> dict[str, list[list[bytes]]]:
    """The same by capture: which of two handlers names its file first is a matter of chance."""
    found: dict[str, list[list[bytes]]] = {}
    for name, packets in files(folder).items():
        found.setdefault(name.partition("-")[0], []).append(packets)
    return {name: sorted(each) for name, each in found.items()}


async def test_changed_handlers_leave_the_socket_and_each_other_alone(tmp_path: Path) -> None:
    """One stays, one changes, one goes, one comes."""
    async with running(tmp_path, capture("a", "stays", "changes", "goes")) as site:
        await site.send(b"1")
        service = site.appliance.captures._running()[0]
        assert (await site.change(capture("a", "stays", "changes rotate_packets = 9", "comes"))).ok
        assert site.appliance.captures._running() == [service]
        await site.send(b"2")
    found = files(tmp_path)
    assert sorted([found.pop("a-changes1"), found.pop("a-changes1-1")]) == [[b"1"], [b"2"]]
    assert found == {"a-stays1": [b"1", b"2"], "a-goes1": [b"1"], "a-comes1": [b"2"]}


async def test_second_capture_joins_and_leaves_the_socket(tmp_path: Path) -> None:
    """Its items come from a door of its own name; the first one is not interrupted."""
    async with running(tmp_path, capture("a", "x")) as site:
        await site.send(b"1")
        assert (await site.change(capture("a", "x") + capture("b", "x"))).ok
        await site.send(b"2")
        assert (await site.change(capture("a", "x"))).ok
        await site.send(b"3")
    assert files(tmp_path) == {"a-x1": [b"1", b"2", b"3"], "b-x1": [b"2"]}


async def test_capture_that_opened_the_socket_may_go_first(tmp_path: Path) -> None:
    """The socket stays open under the name of the other one, whose file goes on."""
    async with running(tmp_path, capture("a", "x") + capture("b", "x")) as site:
        service = site.appliance.captures._running()[0]
        await site.send(b"1")
        assert (await site.change(capture("b", "x"))).ok
        assert site.address("b") == f"127.0.0.1:{PORT}"
        assert site.appliance.captures._running() == [service]
        assert [line.service.name for line in site.appliance.status().services] == ["api", "capture.b"]
        await site.send(b"2")
        assert site.books("capture.a") == site.books("capture.b") == (1, 1)
        assert (await site.change(capture("a", "x") + capture("b", "x"))).ok
        assert site.appliance.captures._running() == [service]
        await site.send(b"3")
        assert (site.books("capture.a"), site.books("capture.b")) == ((2, 2), (1, 1))
    assert in_order(tmp_path) == {"a": [[b"1"], [b"3"]], "b": [[b"1", b"2", b"3"]]}


async def test_name_of_a_socket_may_go_to_another_one(tmp_path: Path) -> None:
    """Its first capture moves to another address; each socket has its packets."""
    async with running(tmp_path, capture("a", "x") + capture("b", "x")) as site:
        service = site.appliance.captures._running()[0]
        await site.send(b"1")
        assert (await site.change(capture("a", "x", port=PORT + 1) + capture("b", "x"))).ok
        assert site.address("a") == f"127.0.0.1:{PORT + 1}"
        assert service in site.appliance.captures._running()
        await site.send(b"2")
        await site.send(b"3", port=PORT + 1)
    assert in_order(tmp_path) == {"a": [[b"1"], [b"3"]], "b": [[b"1", b"2"]]}


async def test_socket_keeps_its_name_if_something_else_fails(tmp_path: Path) -> None:
    """The reload is refused, and everything is as it was."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        async with running(tmp_path, capture("a", "x") + capture("b", "x")) as site:
            service = site.appliance.captures._running()[0]
            await site.send(b"1")
            outcome = await site.change(capture("b", "x") + capture("c", "x", port=taken.getsockname()[1]))
            assert "cannot bind" in outcome.errors[0]
            assert site.appliance.captures._running() == [service]
            assert list(site.appliance.captures.statistics()) == ["a"]
            await site.send(b"2")
            assert (site.books("capture.a"), site.books("capture.b")) == ((2, 2), (0, 0))
    assert in_order(tmp_path) == {"a": [[b"1"], [b"2"]], "b": [[b"1", b"2"]]}


async def test_changed_socket_is_opened_again(tmp_path: Path) -> None:
    """On another port, with another buffer."""
    async with running(tmp_path, capture("a", "x")) as site:
        await site.send(b"1")
        assert (await site.change(capture("a", "x", port=PORT + 1, more='receive_buffer = "64KiB"\n'))).ok
        await site.send(b"2", port=PORT + 1)
        assert site.address("a") == f"127.0.0.1:{PORT + 1}"
    assert files(tmp_path) == {"a-x1": [b"1"], "a-x1-1": [b"2"]}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (capture("a", 'x pre_write_transforms = ["no_such_module:f"]'), "there is no module 'no_such_module'"),
        (capture("a", "x") + capture("b", "y").replace("udp", "ethernet"), "the address is that of"),
        (capture("a", "x") + capture("b", "y", port=1).replace("127.0.0.1", "192.0.2.1"), "cannot bind 192.0.2.1"),
    ],
)
async def test_mistake_changes_nothing(tmp_path: Path, text: str, told: str) -> None:
    """What ran before runs on with the same file."""
    async with running(tmp_path, capture("a", "x")) as site:
        await site.send(b"1")
        outcome = await site.change(text)
        assert not outcome.ok
        assert told in " ".join(outcome.errors)
        await site.send(b"2")
    assert files(tmp_path) == {"a-x1": [b"1", b"2"]}
