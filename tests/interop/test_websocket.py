"""Zeek's own WebSocket server (8.0 and later): what the recordings cannot tell, and that nothing has changed since."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from appliance.zeek.messages import Event, encode_message
from tests.websocket.harness import House, run_house, wait_until

from .test_messages import ALL_TYPES
from .zeek_process import ZeekProcess, open_zeek, require_zeek

pytestmark = pytest.mark.slow

TOPIC, BACK = "interop/x", "interop/back"
NOT_TEXT = 6
"""Which of the arguments is a string that is not UTF-8: it can come, and cannot be sent."""


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@asynccontextmanager
async def serving(folder: Path, port: int) -> AsyncIterator[ZeekProcess]:
    env = {"INTEROP_WEBSOCKET": str(port), "INTEROP_SUBSCRIBE": "interop/"}
    async with open_zeek(folder, "websocket.zeek", env=env) as zeek:
        yield zeek


@pytest.fixture
def port() -> int:
    require_zeek()
    return _free_port()


async def test_every_type_there_and_back(tmp_path: Path, port: int) -> None:
    """Zeek understands what we write, and sends the same back; and we understand what it writes of its own."""
    args = (*ALL_TYPES[:NOT_TEXT], b"h\xc3\xa9llo \x01 end", *ALL_TYPES[NOT_TEXT + 1 :])
    async with serving(tmp_path / "z", port) as zeek:
        house = House(f"ws://127.0.0.1:{port}", topics=(BACK,))
        async with run_house(house):
            await zeek.wait("websocket_added")
            await house.wait_ready()
            house.publish(TOPIC, encode_message(Event.make("Interop::all_types", *args)))
            await zeek.wait("all_types")
            [(topic, name, got)] = await house.wait_events(1)
            assert (topic, name) == (BACK, "Interop::all_types_back")
            assert got[NOT_TEXT] == args[NOT_TEXT]
            await zeek.command("publish_all_types", BACK)
            (_, _, own) = (await house.wait_events(2))[1]
            assert own[NOT_TEXT] == ALL_TYPES[NOT_TEXT]
            assert house.figures.mended >= 1
            assert house.figures.refused == 0
        await zeek.wait("websocket_lost")


async def test_our_own_events_do_not_come_back(tmp_path: Path, port: int) -> None:
    """Also on a topic that we have subscribed to."""
    async with serving(tmp_path / "z", port) as zeek:
        house = House(f"ws://127.0.0.1:{port}", topics=("interop/",))
        async with run_house(house):
            await house.wait_ready()
            house.publish(TOPIC, encode_message(Event.make("Interop::note", b"ours")))
            await zeek.command("publish", BACK, "theirs")
            assert [args for _, _, args in await house.wait_events(1)] == [(b"theirs",)]


async def test_an_event_with_wrong_arguments_is_answered_with_an_error(tmp_path: Path, port: int) -> None:
    """Which is counted; the connection stays."""
    async with serving(tmp_path / "z", port) as zeek:
        house = House(f"ws://127.0.0.1:{port}", topics=(BACK,))
        async with run_house(house):
            await house.wait_ready()
            house.publish(TOPIC, encode_message(Event.make("Interop::note", 1.5)))
            house.publish(TOPIC, encode_message(Event.make("Interop::note", b"right")))
            await zeek.command("publish", BACK, "theirs")
            await house.wait_events(1)
            assert len(house.figures.peers) == 1


async def test_zeek_comes_back(tmp_path: Path, port: int) -> None:
    """The same topics, from a Zeek that was started anew."""
    house = House(f"ws://127.0.0.1:{port}", topics=(BACK,))
    async with run_house(house):
        for run in range(2):
            async with serving(tmp_path / f"z{run}", port) as zeek:
                await zeek.wait("websocket_added")
                await house.wait_ready()
                await zeek.command("publish", BACK, f"{run}")
                await house.wait_events(run + 1)
            await wait_until(lambda: not house.figures.peers)


async def test_a_client_that_does_not_read_for_a_while(tmp_path: Path, port: int) -> None:
    """What Zeek sends meanwhile is there afterwards, or the connection is cut: nothing else is lost in silence."""
    async with serving(tmp_path / "z", port) as zeek:
        house = House(f"ws://127.0.0.1:{port}", topics=(BACK,), policy="block", max_records=1, max_wait="2s")
        async with run_house(house):
            await house.wait_ready()
            await zeek.command("publish", BACK, *(str(number) for number in range(200)))
            with trio.fail_after(60):
                while house.books("").received < 200 and house.figures.peers:
                    await house.take()
                    await trio.sleep(0.01)
            assert house.books("").received == 200 or not house.figures.peers
