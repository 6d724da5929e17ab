"""Peers that break off, lie, flood or babble: each costs itself only, and what it cost is counted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
import trio
import trio.lowlevel
from structlog.typing import EventDict

from appliance.wire.framing import make_frame
from appliance.wire.handshake_messages import Hello, OriginatorSyn, Probe, VersionSelect, encode_handshake
from appliance.wire.node_messages import MessageKind, data_frame
from appliance.zeek.values import Count

from .harness import House, event, run_houses, start, wait_until
from .raw import Raw, connect, make_id, meet, shake

GARBAGE = bytes(range(7, 256)) * 40


async def is_well(house: House, witness: Raw) -> None:
    """The witness, a peer all the time, is served as before."""
    before = house.incoming.delivered
    await witness.publish("t/well", event("W::well"))
    await wait_until(lambda: house.incoming.delivered == before + 1)
    assert house.publish("t/well", event("W::answer")).peers >= 1
    [answer] = await witness.messages(1)
    assert answer.topic == "t/well"


# ── in the handshake ──


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", "without a word"),
        (GARBAGE, "broke the protocol"),
        (b"\x7f\xff\xff\xff\x06", "broke the protocol"),
        (b"\xff\xff\xff\xff", "broke the protocol"),
        (b"\0\0\0\0", "empty message"),
        (encode_handshake(Probe())[:6], "in the middle of a message"),
        (encode_handshake(Probe()), "in the state"),
        (make_frame(b"\x06ZEEX" + make_id() + b"\1\1"), "magic"),
        (encode_handshake(Hello(make_id(), 2, 3)), "version"),
        (make_frame(b"\x06ZEEK"), "parse"),
        (make_frame(b"\x01" + bytes(50)), "message type"),
        (encode_handshake(OriginatorSyn(())), "unexpected OriginatorSyn"),
        (encode_handshake(VersionSelect(make_id(0))), "unexpected VersionSelect"),
        (encode_handshake(Hello(make_id(0xFF))) + b"\0\0\0\2\x0b\x05", "broke the protocol"),
        (encode_handshake(Hello(make_id(0))) + encode_handshake(Hello(make_id(0))), "unexpected Hello"),
    ],
)
async def test_a_handshake_that_goes_wrong(tmp_path: Path, told: list[EventDict], data: bytes, error: str) -> None:
    """It is closed and told, in words; a peer is not disturbed, and nothing is in the books."""
    house = House(tmp_path)
    async with run_houses(house), meet(house) as witness:
        async with await connect(house) as stream:
            await stream.send_all(data) if data else None
            await stream.send_eof()
            with suppress(trio.BrokenResourceError):  # it may close without reading everything
                while await stream.receive_some():
                    pass
        await wait_until(lambda: house.figures.refused == 1)
        [entry] = [entry for entry in told if "did not become" in entry["event"]]
        assert error in entry["error"]
        assert house.incoming.received == 0
        await is_well(house, witness)


async def test_silence_ends_with_the_timeout(tmp_path: Path) -> None:
    """Whatever was said before it."""
    house = House(tmp_path, handshake_timeout="80ms")
    async with run_houses(house):
        for data in (b"", b"\0\0", encode_handshake(Hello(make_id(0))), encode_handshake(Hello(make_id(0xFF)))):
            async with await connect(house) as stream:
                await stream.send_all(data)
                with trio.fail_after(5):
                    while await stream.receive_some():
                        pass
        await wait_until(lambda: house.figures.refused == 4)
        assert house.figures.half_open == 0


async def test_a_listener_that_never_answers_is_given_up_and_dialled_again(tmp_path: Path) -> None:
    """The timeout is that of the whole attempt."""
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    address = f"127.0.0.1:{listener.socket.getsockname()[1]}"
    house = House(tmp_path, listen=(), connect=(address,), handshake_timeout="50ms")
    async with listener, run_houses(house):
        await wait_until(lambda: house.figures.dialers[0].attempts > 1)
        assert house.figures.dialers[0].last_error == "no answer within 50ms"


async def test_a_newcomer_pushes_out_the_oldest_who_is_not_done(tmp_path: Path) -> None:
    """So nobody can keep others out by waiting in the door."""
    house = House(tmp_path, max_half_open=3, handshake_timeout="1h")
    async with run_houses(house):
        idle = [await connect(house) for _ in range(3)]
        await wait_until(lambda: house.figures.half_open == 3)
        async with meet(house) as raw:
            assert list(house.peers) == [raw.name]
            assert await idle[0].receive_some(100) == encode_handshake(Probe())
            assert await idle[0].receive_some(100) == b""
            assert house.figures.refused == 1
        for stream in idle:
            await trio.aclose_forcefully(stream)


class Slow(trio.abc.Stream):
    """Each byte is a segment of its own."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        for number in range(len(data)):
            await self._stream.send_all(data[number : number + 1])

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return bytes(await self._stream.receive_some(1))

    async def aclose(self) -> None:
        await self._stream.aclose()


async def test_one_byte_at_a_time(tmp_path: Path) -> None:
    """Handshake and messages arrive all the same."""
    house = House(tmp_path)

    async with run_houses(house):
        me = make_id()
        async with Slow(await connect(house)) as stream:
            await shake(stream, me)
            await house.wait_peers(1)
            await stream.send_all(data_frame(me, "t", event("E::e", Count(1))) * 3)
            await wait_until(lambda: house.incoming.delivered == 3)
    assert await house.events("E::e") == [(Count(1),)] * 3


async def test_everything_in_one_piece(tmp_path: Path) -> None:
    """The end of the handshake and the first messages may come together."""
    house = House(tmp_path)
    me = make_id(0xFF)
    async with run_houses(house), await connect(house) as stream:
        data = data_frame(me, "t", event("E::e"))
        await stream.send_all(encode_handshake(Hello(me)) + b"\0\0\0\2\x0b\0" + data + data[:9])
        await house.wait_peers(1)
        await wait_until(lambda: house.incoming.delivered == 1)
        await stream.send_all(data[9:])
        await wait_until(lambda: house.incoming.delivered == 2)


# ── as a peer ──

Deed = Callable[[Raw], Awaitable[None]]


async def _tear(raw: Raw) -> None:
    await raw.send(data_frame(raw.me, "t", event("E::e", b"x" * 1000))[:500])
    await raw.stream.send_eof()


async def _lie(raw: Raw) -> None:
    await raw.send(data_frame(raw.me, "t", event("E::e")), b"\x7f\xff\xff\xfa", b"x" * 1000)


async def _babble(raw: Raw) -> None:
    await raw.send(b"\xff\xff" + GARBAGE)


async def _flood(raw: Raw) -> None:
    for _ in range(5000):
        await raw.control(MessageKind.PING, b"x" * 2000)


@pytest.mark.parametrize(
    ("deed", "reason", "dropped"),
    [
        (_tear, "the peer has closed the connection", {"torn_message": 1}),
        (_lie, "it broke the protocol: a frame of more than", {"too_large": 1}),
        (_babble, "it broke the protocol: a frame of more than", {"too_large": 1}),
        (_flood, "does not take the answers", {}),
    ],
)
async def test_a_peer_that_cannot_go_on_is_cut(
    tmp_path: Path, told: list[EventDict], deed: Deed, reason: str, dropped: dict[str, int]
) -> None:
    """What came before is delivered, the reason is told, another peer is served on."""
    house = House(tmp_path)
    async with run_houses(house), meet(house) as witness:
        async with meet(house) as raw:
            with suppress(trio.BrokenResourceError):  # we may be cut in the middle of it
                await deed(raw)
            await house.wait_peers(1)
            assert list(house.peers) == [witness.name]
        assert house.incoming.dropped == dropped
        await is_well(house, witness)
    gone = next(entry for entry in told if entry["event"] == "peer is gone" and entry["peer"] == raw.name)
    assert reason in gone["reason"]


async def _nil_sender(raw: Raw) -> None:
    await raw.raw_data(b"t", event("E::e"), sender=bytes(16))


async def _our_sender(raw: Raw) -> None:
    await raw.raw_data(b"t", event("E::e"), sender=raw.other)


async def _foreign_receiver(raw: Raw) -> None:
    await raw.raw_data(b"t", event("E::e"), receiver=make_id())


async def _local(raw: Raw) -> None:
    await raw.raw_data(b"<$>/local/data/statuses", event("Broker::incoming_connection_established", b"x"))


async def _bad_value(raw: Raw) -> None:
    await raw.raw_data(b"t", b"\x0e\xff\xff\xff\xff\x0f")


async def _no_message(raw: Raw) -> None:
    await raw.raw_data(b"t", b"\x02" + bytes(8))


async def _short(raw: Raw) -> None:
    await raw.send(make_frame(bytes(36)))


async def _long_topic(raw: Raw) -> None:
    await raw.send(make_frame(raw.me + bytes(16) + b"\x01\0\x10\xff\xfft"))


async def _unknown(raw: Raw) -> None:
    await raw.raw_data(b"t", b"x", kind=99)


async def _late(raw: Raw) -> None:
    await raw.raw_data(b"t", b"x", kind=6)


async def _store(raw: Raw) -> None:
    await raw.raw_data(b"s/<$>/data/master", b"x" * 30, kind=2)


async def _bad_filter(raw: Raw) -> None:
    await raw.control(MessageKind.ROUTING_UPDATE, b"\x01\x05")


async def _strange_filter(raw: Raw) -> None:
    await raw.control(MessageKind.ROUTING_UPDATE, b"\0", sender=make_id())


@pytest.mark.parametrize(
    ("deed", "reason", "kind"),
    [
        (_nil_sender, "bad_sender", "refused"),
        (_our_sender, "bad_sender", "refused"),
        (_foreign_receiver, "foreign_receiver", "refused"),
        (_local, "local_topic", "refused"),
        (_bad_value, "bad_message", "refused"),
        (_no_message, "bad_message", "refused"),
        (_short, "unknown_type", "refused"),
        (_long_topic, "bad_message", "refused"),
        (_unknown, "unknown_type", "refused"),
        (_late, "late_handshake", "refused"),
        (_store, "store_command", "filtered"),
        (_bad_filter, "bad_filter", "refused"),
        (_strange_filter, "bad_sender", "refused"),
    ],
)
async def test_a_message_that_is_no_use_is_counted(tmp_path: Path, deed: Deed, reason: str, kind: str) -> None:
    """By its reason; the connection stays, with its filter, and nothing is handed on."""
    house = House(tmp_path)
    async with run_houses(house), meet(house) as raw:
        await deed(raw)
        await is_well(house, raw)
        books = house.incoming
        assert (books.received, books.delivered, books.dropped) == (2, 1, {reason: 1})
        assert getattr(books, kind) == 1
        assert books.lost == 0
    assert await house.events("E::e") == []


async def test_what_does_not_decode_is_kept_for_inspection(tmp_path: Path, told: list[EventDict]) -> None:
    """The message itself, at intervals; all are counted."""
    house = House(tmp_path)
    async with run_houses(house), meet(house) as raw:
        for number in range(5):
            await raw.raw_data(b"t", b"bad %d" % number)
        await wait_until(lambda: house.incoming.dropped == {"bad_message": 5} and house.figures.quarantined == 1)
        [file] = (tmp_path / "quarantine").iterdir()
        assert file.read_bytes() == b"bad 0"
    assert [entry["file"] for entry in told if "kept" in entry["event"]] == [str(file)]


async def test_a_flood_of_events_is_taken_as_fast_as_consumers_take_it(tmp_path: Path) -> None:
    """Reading stops while the consumer's queue is full; nothing is lost and nothing piles up."""
    limits = {"max_records": 1000, "max_bytes": 1 << 20}
    house = House(tmp_path, policy="block", limits=limits, max_wait="1h", on=("event:F::*",))
    total = 40_000
    async with run_houses(house), meet(house) as raw, trio.open_nursery() as nursery:

        async def flood() -> None:
            data = b"".join(
                data_frame(raw.me, "t", event("F::f", Count(number), b"x" * 400)) for number in range(total)
            )
            await raw.stream.send_all(data)

        nursery.start_soon(flood)
        await wait_until(lambda: house.queue.statistics().records == 1000)
        await trio.testing.wait_all_tasks_blocked(0.05)
        held = house.incoming.queued
        assert house.incoming.received < total
        assert held < 2000
        seen = 0
        while seen < total:
            seen = sum(item.count for item in await house.take())
            await trio.lowlevel.checkpoint()
        books = house.books()
    assert [args[0] for args in await house.events("F::f")] == [Count(number) for number in range(total)]
    assert (books.lost, house.incoming.dropped) == (0, {})


async def test_a_consumer_that_is_stuck_does_not_keep_the_end_away(tmp_path: Path) -> None:
    """A stop that is cancelled books what nobody took."""
    house = House(tmp_path, policy="block", limits={"max_records": 10, "max_bytes": 1 << 20}, max_wait="1h",
                  on=("event:F::*",))  # fmt: skip
    async with trio.open_nursery() as nursery:
        await start(nursery, house)
        async with meet(house) as raw:
            for number in range(30):
                await raw.publish(f"t/{number}", event("F::f"))
            await wait_until(lambda: house.queue.statistics().records == 10)
            house.endpoint.stop()
            await trio.testing.wait_all_tasks_blocked(0.02)
            nursery.cancel_scope.cancel()
    books = house.incoming
    assert books.received == books.delivered + books.dropped.get("shutdown", 0)
    assert (books.queued, house.books().queued) == (0, 0)
    assert house.queue.account.dropped == {"shutdown": 1}
