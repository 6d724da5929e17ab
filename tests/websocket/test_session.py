"""What is said between a client and a server over real sockets: the recorded session, events both ways, the end."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import trio

from appliance import __version__
from appliance.zeek.address import Address, Port
from appliance.zeek.convert import to_plain
from appliance.zeek.events import typed_records
from appliance.zeek.values import Count, EnumValue, Set, Timespan, Timestamp, Value
from tests.wire.websocket import server_frame
from tests.zeek.golden import websocket_texts

from .harness import House, data, event, run_house, serve, wait_until


def recorded() -> list[list[tuple[str, bytes]]]:
    """What was said in each of the recorded sessions."""
    sessions: list[list[tuple[str, bytes]]] = []
    for direction, text in websocket_texts():
        if direction == "open":
            sessions.append([])
        elif direction != "quiet":
            sessions[-1].append((direction, text))
    return sessions


def right_ones(said: list[tuple[str, bytes]]) -> list[Any]:
    """The messages of the recorded client that a right client could have sent."""
    found = []
    for direction, text in said:
        if direction == "c2s" and text.startswith(b"{"):
            tree = json.loads(text)
            found += [tree] if len(tree["data"]) == 3 else []
    return found


async def test_the_recorded_session() -> None:
    """Zeek's side byte for byte, ours as the recorded client's: errors end nothing, and every event is delivered, also
    those in text frames that are not UTF-8, whose bytes hooks see escaped.
    """
    said = recorded()[0]
    theirs = [text for direction, text in said if direction == "s2c"]
    async with serve() as server:
        house = House(server.url, topics=("interop/ws",))
        async with run_house(house, server):
            conn = await server.accept()
            await conn.upgrade()
            assert await conn.text() == said[0][1] == b'["interop/ws"]'
            await conn.send(theirs[0])
            await house.wait_ready()
            for number, text in enumerate((b"hello", 'h\u00e9llo \u0001 \\ " /'.encode(), b"after error"), 1):
                assert house.publish("interop/ping", event("Interop::ping", Count(number), text)) == (1, "")
            assert [json.loads(await conn.text()) for _ in range(3)] == right_ones(said)
            for text in theirs[1:]:
                await conn.send(text)
            events = await house.wait_events(len(theirs) - 3)
            assert house.figures.refused == 2
            assert house.figures.mended == 4
            assert conn.number == 0
            assert len(server.conns) == 1
    assert [name for _, name, _ in events] == ["Interop::pong", "Interop::all_types"] * 3
    odd = b"h\xc3\xa9llo \xff\x00 end"
    assert [odd in args for _, _, args in events] == [False, True] * 3
    (record,) = [r for batch in house.batches if batch.name == "Interop::all_types" for r in typed_records(batch)][:1]
    assert record is not None
    assert "h\u00e9llo \\xff\x00 end" in [to_plain(arg) for arg in record["args"]]
    assert {batch.peer for batch in house.batches} == {"76fb84b9-6010-525f-a3b1-822f53a4d2ea-websocket-0"}
    assert {batch.source for batch in house.batches} == {"websocket.zeek"}


async def test_topics_that_the_server_takes_for_wrong() -> None:
    """As recorded: it says so, never acknowledges, and leaves the connection open. We hang up and try again."""
    (refusal,) = [text for direction, text in recorded()[1] if direction == "s2c"]
    async with serve() as server:
        house = House(server.url)
        async with run_house(house, server):
            conn = await server.accept()
            await conn.upgrade()
            await conn.text()
            await conn.send(refusal)
            assert await conn.wait_closed() == 1000
            again = await server.meet()
            assert house.error in (
                "",
                "the server refuses our topics: deserialization_failed: subscriptions not an array",
            )
            await house.wait_ready()
            assert again.topics == ["t/"]
            assert house.figures.dialers[0].attempts == 2


async def test_publishing_only() -> None:
    """As recorded: no topics, and an acknowledgement all the same."""
    (ack,) = [text for direction, text in recorded()[2] if direction == "s2c"]
    async with serve() as server:
        house = House(server.url, topics=())
        async with run_house(house, server):
            conn = await server.accept()
            await conn.upgrade()
            assert await conn.text() == b"[]"
            await conn.send(ack)
            await house.wait_ready()
            assert house.figures.peers[0].peer.endswith("-websocket-2")
            assert house.publish("interop/ping", event("Interop::ping", Count(1), b"x")) == (1, "")
            assert (await conn.event())[:2] == ("interop/ping", "Interop::ping")


async def test_who_we_say_we_are() -> None:
    """Product and version, or what the table says."""
    async with serve() as server:
        house = House(server.url)
        async with run_house(house, server):
            conn = await server.meet()
            assert conn.headers[b"x-application-name"] == f"broappliance/{__version__}".encode()
            assert conn.headers[b"host"] == server.url.removeprefix("ws://").encode()
        house = House(server.url, application="site/1")
        async with run_house(house, server):
            conn = await server.meet()
            assert conn.headers[b"x-application-name"] == b"site/1"


VALUES: list[tuple[Value, Any]] = [
    (True, True),
    (-5, -5),
    (Count(5), 5),
    (1.0, 1.0),
    (b'\x01\x7f\\"/\xc3\xa9', '\x01\x7f\\"/\u00e9'),
    (Address.parse("2001:db8::1"), "2001:db8::1"),
    (Port(53, 2), "53/udp"),
    (Timestamp(1_700_000_000_249_000_000), "2023-11-14T22:13:20.249"),
    (Timespan(-1_500_000_000), "-1500ms"),
    (EnumValue("My::RED"), "My::RED"),
    (None, {}),
    (Set([Count(1)]), [{"@data-type": "count", "data": 1}]),
]


@pytest.mark.parametrize(("value", "written"), VALUES, ids=lambda value: type(value).__name__)
async def test_every_type_goes_out_and_comes_back(value: Value, written: Any) -> None:
    """As Zeek writes it, and with a point in every real."""
    async with serve() as server:
        house = House(server.url)
        async with run_house(house, server):
            conn = await server.meet()
            await house.wait_ready()
            assert house.publish("t/x", event("My::event", value)) == (1, "")
            text = await conn.text()
            (arg,) = json.loads(text)["data"][2]["data"][1]["data"]
            assert arg["data"] == written
            assert not isinstance(value, float) or b'"data":1.0' in text
            await conn.send(text)
            assert await house.wait_events(1) == [("t/x", "My::event", (value,))]


async def test_times_of_a_server_that_speaks_local_time() -> None:
    """Zeek up to 7.2 writes and reads times of its zone."""
    async with serve() as server:
        house = House(server.url, time_zone="Europe/Berlin")
        async with run_house(house, server):
            conn = await server.meet()
            await house.wait_ready()
            moment = Timestamp(1_700_000_000_249_000_000)
            house.publish("t/x", event("My::event", moment))
            text = await conn.text()
            assert b"2023-11-14T23:13:20.249" in text
            await conn.send(text)
            assert await house.wait_events(1) == [("t/x", "My::event", (moment,))]


@pytest.mark.parametrize(
    ("topic", "message", "reason"),
    [
        ("t/x", event("My::event", b"\xff"), "no_json"),
        ("t/x", event("My::event", math.inf), "no_json"),
        ("t/x", event("My::event", b"x" * 70_000), "too_large"),
        ("t/x", event("My::event", b"\x01" * 30_000), "too_large"),
        ("t/x", b"\x05", "events_only"),
        ("t/\udcff", event(), "bad_topic"),
        ("<$>/local/x", event(), "bad_topic"),
        ("", event(), "bad_topic"),
        ("other/x", event(), "not_allowed"),
    ],
)
async def test_what_cannot_go_out(topic: str, message: bytes, reason: str) -> None:
    """It is told, and the connection is not asked to carry it: the server would hang up, or refuse it."""
    async with serve() as server:
        house = House(server.url, max_message=65536, publish=("t/",))
        async with run_house(house, server):
            await server.meet()
            await house.wait_ready()
            assert house.publish(topic, message) == (0, reason)
            assert house.books("out").received == 0


async def test_some_of_several_cannot_go_out() -> None:
    """The others do; those that do not are booked."""
    async with serve() as server:
        house = House(server.url)
        async with run_house(house, server):
            conn = await server.meet()
            await house.wait_ready()
            assert house.publish("t/x", event("a"), event("b", b"\xff"), event("c")) == (1, "")
            assert [(await conn.event())[1] for _ in range(2)] == ["a", "c"]
            await wait_until(lambda: house.books("out").delivered == 2)
            assert house.books("out").dropped == {"no_json": 1}


async def test_nothing_is_published_before_the_acknowledgement() -> None:
    """Nobody is there to publish to; what is announced is told as soon as somebody is, before anything else."""
    async with serve() as server:
        house = House(server.url)
        async with run_house(house, server):
            conn = await server.accept()
            await conn.upgrade()
            assert house.publish("t/x", event()) == (0, "no_peer")
            assert house.outlet.announce("k", "t/a", event("first")) == (0, "no_peer")
            await conn.text()
            await conn.send(b'{"type":"ack","endpoint":"e","version":"8.0"}')
            assert (await conn.event())[1] == "first"
            house.outlet.announce("k", "t/a", event("second"))
            assert (await conn.event())[1] == "second"
            await conn.close()
            conn = await server.meet()
            assert (await conn.event())[1] == "second"


async def test_goodbye() -> None:
    """What was published is sent before it, and the server is waited for."""
    async with serve() as server:
        house = House(server.url)
        async with trio.open_nursery() as nursery, run_house(house):
            conn = await server.meet()
            await house.wait_ready()
            for _ in range(100):
                house.publish("t/x", event("My::event", b"x" * 1000))
            nursery.start_soon(_count_and_close, conn)
        assert house.books("out").delivered == 100


async def _count_and_close(conn: Any) -> None:
    for _ in range(100):
        await conn.event()
    assert await conn.wait_closed() == 1000


async def test_a_server_that_does_not_answer_our_goodbye(autojump_clock: object) -> None:
    """It is waited for three seconds."""
    async with serve() as server:
        house = House(server.url)
        began = 0.0
        async with run_house(house):
            await server.meet()
            await house.wait_ready()
            began = trio.current_time()
        assert 2.9 < trio.current_time() - began < 5


async def test_events_that_came_with_the_acknowledgement() -> None:
    """In the same read; and many at once become few items, in their order."""
    async with serve() as server:
        house = House(server.url)
        async with run_house(house, server):
            conn = await server.accept()
            await conn.upgrade()
            await conn.text()
            ack = server_frame(b'{"type":"ack","endpoint":"e","version":"8.0"}')
            await conn.raw(ack + b"".join(server_frame(data("a", Count(n))) for n in range(50)))
            events = await house.wait_events(50)
            assert [args for _, _, args in events] == [(Count(n),) for n in range(50)]
            assert len(house.batches) < 50
