"""Servers that break the protocol, say nothing, say too much, or do not read."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
import trio
import trio.lowlevel
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.zeek.values import Count
from tests.wire.websocket import server_frame

from .harness import DEADLINE_S, Conn, House, data, event, run_house, serve, wait_until

UPGRADE = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"", "the server hung up before it answered"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "the server answers 404 instead of 101"),
        (b"\x15\x03\x01\x00\x02\x02\x46" * 3, "the server does not answer in HTTP"),
        (UPGRADE + b"Sec-WebSocket-Accept: AAAA\r\n\r\n", "the server's answer is to another request"),
        (UPGRADE + b"x: " + b"y" * 100_000, "the server does not answer in HTTP"),
    ],
    ids=["nothing", "404", "garbage", "accept", "endless"],
)
async def test_no_websocket_there(answer: bytes, told: str) -> None:
    """It is said what is there instead, and tried again."""
    async with serve() as server:
        house = House(server.url, retry_interval="10ms")
        async with run_house(house, server):
            conn = await server.accept()
            await conn.head()
            with suppress(trio.BrokenResourceError):  # it may have heard enough before the end
                await conn.raw(answer)
                await conn.stream.send_eof()  # type: ignore[attr-defined]
            await wait_until(lambda: house.error.startswith(told))
            conn = await server.meet()
            await house.wait_ready()
            assert house.error == ""


async def test_nobody_there() -> None:
    """The kernel's words."""
    async with serve() as server:
        url = server.url
    house = House(url)
    async with run_house(house):
        await wait_until(lambda: house.error == "cannot connect: Connection refused")
        await wait_until(lambda: house.figures.dialers[0].attempts > 2)
        assert house.publish("t/x", event()) == (0, "no_peer")


async def test_a_server_that_never_answers() -> None:
    """It is given up after `connect_timeout`."""
    async with serve() as server:
        house = House(server.url, connect_timeout="50ms")
        async with run_house(house):
            await server.accept()
            await wait_until(lambda: house.error == "no answer within 50ms")


async def test_a_server_that_never_acknowledges() -> None:
    """It is told goodbye after `ack_timeout`, and asked again."""
    async with serve() as server:
        house = House(server.url, ack_timeout="50ms")
        async with run_house(house):
            conn = await server.accept()
            await conn.upgrade()
            await conn.text()
            assert await conn.wait_closed() == 1000
            await wait_until(lambda: "not acknowledged within 50ms" in house.error)
            await server.accept()


@pytest.mark.parametrize("frame", [server_frame(struct.pack(">H", 1008) + b"invalid_uri", 8), b"\xff\xff"])
async def test_a_goodbye_instead_of_an_acknowledgement(frame: bytes) -> None:
    """Or nonsense."""
    async with serve() as server:
        house = House(server.url)
        async with run_house(house, server):
            conn = await server.accept()
            await conn.upgrade()
            await conn.text()
            await conn.raw(frame)
            told = "1008 invalid_uri" if b"invalid_uri" in frame else "nobody agreed on"
            await wait_until(lambda: told in house.error)
            await server.meet()


BROKEN = [
    (b"\x81\xff" + bytes(8), 1002, "bad_message"),  # masked
    (b"\xc1\x00", 1002, "bad_message"),  # an extension
    (b"\x82\x00", 1003, "bad_message"),  # binary
    (b"\x83\x00", 1002, "bad_message"),  # an unknown type
    (b"\x80\x00", 1002, "bad_message"),  # nothing to continue
    (b"\x01\x01a\x81\x01b", 1002, "bad_message"),  # a message within a message
    (b"\x09\x00", 1002, "bad_message"),  # a ping in pieces
    (b"\x89\x7e\x00\x7e", 1002, "bad_message"),  # a ping that is too long
    (b"\x81\x7e\x00\x01a", 1002, "bad_message"),  # a length that is longer than needed
    (b"\x81\x7f" + struct.pack(">Q", 1 << 62), 1009, "too_large"),
    (b"\x81\x7f" + struct.pack(">Q", 65537), 1009, "too_large"),
    ((b"\x01\x7f" + struct.pack(">Q", 65536) + b"x" * 65536 + b"\x00\x01x"), 1009, "too_large"),
    (b"\x88\x02\x03\xed", 1002, "bad_message"),  # a goodbye with a code that is none
]


@pytest.mark.parametrize(("octets", "code", "reason"), BROKEN, ids=range(len(BROKEN)))
async def test_a_server_that_breaks_the_protocol(octets: bytes, code: int, reason: str) -> None:
    """What came before it is delivered; it is told why we go, booked, and dialled again."""
    async with serve() as server:
        house = House(server.url, max_message=65536)
        async with run_house(house, server):
            conn = await server.meet()
            await conn.raw(server_frame(data("before")) + octets)
            with trio.fail_after(DEADLINE_S):
                assert await conn.wait_closed() == code
            conn = await server.meet()
            await conn.send(data("after"))
            assert [name for _, name, _ in await house.wait_events(2)] == ["before", "after"]
            assert house.books("messages").dropped == {reason: 1}
            assert house.books("messages").received == 3


async def test_messages_that_make_no_sense_cost_nobody_else_anything() -> None:
    """Each is booked by its reason; the connection stays."""
    async with serve() as server:
        house = House(server.url)
        async with run_house(house, server):
            conn = await server.meet()
            for text in (b"{}", b"[", b"\xff", b'{"type":"ack","endpoint":"x","version":"y"}', b"[" * 10_000):
                await conn.send(text)
            await conn.send(data("other", topic="unasked/x"))
            await conn.send(data("good"))
            assert [name for _, name, _ in await house.wait_events(1)] == ["good"]
            assert house.books("messages").dropped == {"bad_message": 4, "second_ack": 1, "unsubscribed": 1}
            assert len(server.conns) == 1


async def test_events_before_the_acknowledgement() -> None:
    """Zeek sends none: they are not taken, and booked."""
    async with serve() as server:
        house = House(server.url)
        async with run_house(house, server):
            conn = await server.accept()
            await conn.upgrade()
            await conn.text()
            await conn.send(data("early"))
            await conn.send(b'{"type":"ack","endpoint":"x","version":"y"}')
            await house.wait_ready()
            assert house.books("messages").dropped == {"early": 1}


async def test_a_message_in_pieces_with_a_ping_between() -> None:
    """Each ping is answered with its data, and the message arrives whole."""
    async with serve() as server:
        house = House(server.url)
        async with run_house(house, server):
            conn = await server.meet()
            text = data("pieces", b"x" * 1000)
            await conn.raw(server_frame(text[:10], 1, is_final=False))
            await conn.send(b"are you there?", 9)
            assert await conn.frame() == (10, b"are you there?")
            await conn.raw(server_frame(text[10:20], 0, is_final=False) + server_frame(b"", 0, is_final=False))
            await conn.raw(server_frame(text[20:], 0))
            assert await house.wait_events(1) == [("t/x", "pieces", (b"x" * 1000,))]


async def test_a_message_that_is_torn() -> None:
    """It is booked, and we are back."""
    async with serve() as server:
        house = House(server.url)
        async with run_house(house, server):
            conn = await server.meet()
            await conn.raw(server_frame(data())[:-5])
            await conn.close()
            await wait_until(lambda: house.books("messages").dropped == {"torn_message": 1})
            await server.meet()


async def test_the_servers_goodbye_is_answered() -> None:
    """With its code; then we are back."""
    async with serve() as server:
        house = House(server.url)
        async with run_house(house, server):
            conn = await server.meet()
            await conn.send(struct.pack(">H", 1001) + b"terminating", 8)
            assert await conn.frame() == (8, struct.pack(">H", 1001))
            await conn.close()
            await server.meet()


async def test_silence(autojump_clock: trio.testing.MockClock) -> None:
    """Two pings, and after three intervals the connection is made anew; answers are a sign of life.

    A ping goes out after each interval without any, so answered ones are two intervals apart: the last at 50 s.
    """
    async with serve() as server:
        house = House(server.url, ping_interval="10s")
        async with run_house(house, server):
            conn = await server.meet()
            await house.wait_ready()
            began = trio.current_time()
            for _ in range(3):
                assert await conn.frame() == (9, b"")
                await conn.send(b"", 10)
            assert await conn.frame() == (9, b"")
            assert await conn.frame() == (9, b"")
            again = await server.accept()
            assert 85 < trio.current_time() - began < 95
            await again.greet()


async def test_a_server_that_does_not_read() -> None:
    """What waits is bounded; the oldest go first, each booked; the newest arrive once it reads again, in order."""
    async with serve() as server:
        house = House(server.url, queue=10)
        async with run_house(house, server):
            conn = await server.meet()
            await house.wait_ready()
            sent = 0
            while not house.books("out").dropped:
                assert house.publish("t/x", event("e", Count(sent), b"x" * 50_000)) == (1, "")
                sent += 1
                await trio.lowlevel.checkpoint()
            for _ in range(20):
                house.publish("t/x", event("e", Count(sent), b""))
                sent += 1
            books = house.books("out")
            assert books.received == sent
            assert books.queued >= 10
            numbers: list[int] = []
            with trio.fail_after(DEADLINE_S):
                while not numbers or numbers[-1] != sent - 1:
                    numbers.append((await conn.event())[2][0]["data"])
            assert numbers == sorted(numbers)
            assert numbers[-10:] == list(range(sent - 10, sent))
            await wait_until(lambda: not house.books("out").queued)
            books = house.books("out")
            assert books.delivered == len(numbers)
            assert books.dropped == {"overflow": sent - len(numbers)}


async def test_a_server_that_does_not_read_may_be_cut() -> None:
    """With `overflow = "disconnect"`; what waited is booked, and the next connection takes the rest."""
    async with serve() as server:
        house = House(server.url, queue=10, overflow="disconnect")
        async with run_house(house, server):
            await server.meet()
            await house.wait_ready()
            while not house.books("out").dropped:
                house.publish("t/x", event("e", b"x" * 50_000))
                await trio.lowlevel.checkpoint()
            assert house.books("out").dropped["overflow"] == 1
            conn = await server.meet()
            await house.wait_ready()
            assert house.books("out").dropped["disconnected"] >= 10
            assert house.publish("t/x", event("last")) == (1, "")
            assert (await conn.event())[1] == "last"


async def test_one_that_asks_and_asks_and_does_not_take_the_answers() -> None:
    """It is cut: the answers to its pings are bounded as well."""
    async with serve() as server:
        house = House(server.url)
        async with run_house(house, server):
            conn = await server.meet()
            await house.wait_ready()
            with pytest.raises(trio.BrokenResourceError):
                await _send_for_ever(conn, server_frame(b"x" * 125, 9) * 1000)
            await server.meet()


async def test_a_consumer_that_takes_nothing_keeps_the_server_waiting() -> None:
    """Nothing more is read meanwhile; after `max_wait` what does not fit is lost by its reason."""
    async with serve() as server:
        house = House(server.url, policy="block", max_records=1, max_wait="50ms")
        async with run_house(house, server):
            conn = await server.meet()
            for number in range(3):
                await conn.send(data(f"e{number}"))
            await wait_until(lambda: house.books("").delivered == 3)
            await wait_until(lambda: house.ledger.account("sink.all").dropped == {"stalled": 2})
            assert [name for _, name, _ in await house.events()] == ["e0"]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300), st.integers(1, 400))
def test_anything_behind_a_good_event(garbage: bytes, cut: int) -> None:
    """Whatever a server sends, in whatever pieces: the event before it arrives, and the books balance."""

    async def main() -> None:
        async with serve() as server:
            house = House(server.url, retry_interval="1h", retry_max="1h", max_message=65536)
            async with run_house(house):
                conn = await server.meet()
                octets = server_frame(data("before")) + garbage
                with suppress(trio.BrokenResourceError):  # it may have heard enough before the end
                    for at in range(0, len(octets), cut):
                        await conn.raw(octets[at : at + cut])
                    await _finish(conn)
                await wait_until(lambda: not house.figures.peers)
                assert (await house.wait_events(1))[0][1] == "before"
                books = house.books("messages")
                assert books.received == books.delivered + sum(books.dropped.values())

    trio.run(main)


async def _send_for_ever(conn: Conn, octets: bytes) -> None:
    with trio.fail_after(DEADLINE_S):
        while True:
            await conn.raw(octets)


async def _finish(conn: Conn) -> None:
    await conn.stream.send_eof()  # type: ignore[attr-defined]
    while await conn.stream.receive_some(65536):
        pass
