"""Multicast groups: of any source, of one source, and only those that were asked for. On the loopback interface."""

from __future__ import annotations

import errno
import socket
import struct
from pathlib import Path
from typing import Any

import pytest
import trio.testing

from appliance.errors import ApplianceError

from .harness import Bench, wait_until


def bench_in(folder: Path, *groups: str, host: str = "", interface: str = "lo") -> Bench:
    return Bench(folder, "f.pcap", host=host, socket={"multicast": groups, "interface": interface})


def send(bench: Bench, group: str, data: bytes, *, source: str = "127.0.0.1") -> None:
    with socket.socket(socket.AF_INET6 if ":" in group else socket.AF_INET, socket.SOCK_DGRAM) as sender:
        if ":" in group:
            sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, socket.if_nametoindex("lo"))
        else:
            sender.bind((source, 0))
            request = struct.pack("=4s4si", bytes(4), bytes(4), socket.if_nametoindex("lo"))
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, request)
        try:
            sender.sendto(data, (group, bench.port))
        except OSError as exc:
            if exc.errno not in (errno.ENETUNREACH, errno.EADDRNOTAVAIL):
                raise
            pytest.skip(f"no multicast on the loopback interface here: {exc.strerror}")


async def run(bench: Bench, *packets: tuple[str, bytes, str], wanted: int) -> list[bytes]:
    async with bench.running():
        for group, data, source in packets:
            send(bench, group, data, source=source)
        await wait_until(lambda: bench.account.delivered >= wanted)
        await trio.testing.wait_all_tasks_blocked(0.05)
    return next(iter(bench.packets().values()))


async def test_group_of_any_source(tmp_path: Path) -> None:
    """What is sent to another group is not heard, although the port is the same."""
    bench = bench_in(tmp_path, "239.1.2.3")
    sent = (
        ("239.1.2.4", b"other", "127.0.0.1"),
        ("239.1.2.3", b"ours", "127.0.0.1"),
        ("239.1.2.3", b"too", "127.0.0.2"),
    )
    assert await run(bench, *sent, wanted=2) == [b"ours", b"too"]


async def test_group_of_one_source(tmp_path: Path) -> None:
    """Nobody else is heard in it."""
    bench = bench_in(tmp_path, "127.0.0.2@232.1.2.3", "239.9.9.9")
    sent = (
        ("232.1.2.3", b"false", "127.0.0.1"), ("232.1.2.3", b"true", "127.0.0.2"), ("239.9.9.9", b"any", "127.0.0.1"),
    )  # fmt: skip
    assert await run(bench, *sent, wanted=2) == [b"true", b"any"]


async def test_group_of_ipv6(tmp_path: Path) -> None:
    """The same with the other version."""
    try:
        bench = bench_in(tmp_path, "ff12::1234", host="::")
        assert await run(bench, ("ff12::1234", b"six", ""), wanted=1) == [b"six"]
    except* (ApplianceError, OSError) as group:
        pytest.skip(f"no IPv6 multicast here: {group.exceptions[0]}")


async def test_two_captures_hear_the_same_group(tmp_path: Path) -> None:
    """Several programs of a host may listen to one group."""
    one = bench_in(tmp_path / "1", "239.1.2.3")
    async with one.running():
        two = Bench(
            tmp_path / "2", "f.pcap", host="", port=one.port, socket={"multicast": ("239.1.2.3",), "interface": "lo"}
        )
        async with two.running():
            send(one, "239.1.2.3", b"both")
            await wait_until(lambda: one.account.delivered and two.account.delivered)


@pytest.mark.parametrize(
    ("groups", "interface", "told"),
    [
        (("239.1.2.3",), "nosuch0", "cannot bind :0/udp: No such device"),
        (("ff12::1",), "lo", "cannot join ff12::1"),
    ],
)
async def test_what_cannot_be_joined_is_told(tmp_path: Path, groups: Any, interface: str, told: str) -> None:
    """An error for people, before anything is recorded."""
    with pytest.raises(ApplianceError, match=told):
        await bench_in(tmp_path, *groups, interface=interface).capture.run()
