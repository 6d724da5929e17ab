"""What peers send, as items: events, prints, log records; and what becomes of everything else."""

from __future__ import annotations

import struct
from collections import Counter
from pathlib import Path

import pytest
import trio
from structlog.typing import EventDict

from appliance.model import EventBatch, LogBatch, Print
from appliance.wire.handshake_messages import Hello, encode_handshake
from appliance.wire.node_messages import MessageKind
from appliance.zeek import binary
from appliance.zeek.address import Port
from appliance.zeek.log_create import Column, LogCreate, WriterInfo
from appliance.zeek.messages import Batch, Event, IdentifierUpdate, LogWrite, Message, decode_message, encode_message
from appliance.zeek.values import Count, Timestamp, Value, Vector

from .harness import House, event, run_houses, wait_until
from .raw import make_id, meet

TIME, COUNT, STRING, SET = 5, 3, 7, 14
COLUMNS = (("ts", TIME), ("n", COUNT), ("s", STRING))


def log_create(*columns: tuple[str, int], path: str = "my", stream: str = "My::LOG") -> LogCreate:
    made = tuple(Column(name, None, tag, STRING if tag == SET else 0, True) for name, tag in columns or COLUMNS)
    return LogCreate(stream, "Log::WRITER_ASCII", WriterInfo(path=path), made)


def log_write(number: int, *, path: str = "my", stream: str = "My::LOG", count: int = 3) -> LogWrite:
    values = (
        struct.pack(">iibd", TIME, 0, 1, 1.5),
        struct.pack(">iibQ", COUNT, 0, 1, number),
        struct.pack(">iibi", STRING, 0, 1, 1) + b"x",
    )
    return LogWrite(stream, "Log::WRITER_ASCII", path, struct.pack(">i", count) + b"".join(values))


def line(number: int) -> bytes:
    return b'{"ts":1.5,"n":%d,"s":"x"}\n' % number


async def send(house: House, *messages: Message, topic: str = "zeek/logs/My::LOG", expect: int | None = None) -> None:
    """Send messages as a peer and wait until they are taken."""
    before = house.incoming.received
    async with meet(house) as raw:
        await raw.publish(topic, *(encode_message(each) for each in messages))
        await wait_until(lambda: house.incoming.received == before + len(messages) and not house.incoming.queued)


# ── events ──


async def test_events_keep_what_they_came_with(tmp_path: Path) -> None:
    """Name, topic, peer, time of arrival, and every byte of the message."""
    house = House(tmp_path)
    async with run_houses(house), meet(house) as raw:
        message = encode_message(Event.make("A::b", Count(7), b"\xff", timestamp=Timestamp(5)))
        await raw.publish("t/\udcff", message, message)
        await wait_until(lambda: house.incoming.delivered == 2)
        name = raw.name
    batches = [item for item in await house.take() if isinstance(item, EventBatch) and item.peer]
    assert sum(batch.count for batch in batches) == 2
    for batch in batches:
        assert (batch.name, batch.topic, batch.source, batch.peer) == ("A::b", "t/\udcff", "broker", name)
        assert set(batch.payloads()) == {message}
        assert batch.received_ns > 1_600_000_000_000_000_000


async def test_a_batch_is_taken_apart(tmp_path: Path) -> None:
    """Events that follow each other stay together; a batch is one message, whatever is in it."""
    house = House(tmp_path)
    inner = Batch((Event.make("B::b"), IdentifierUpdate("x", Count(1))))
    batch = Batch((Event.make("A::a", Count(1)), Event.make("A::a", Count(2)), inner, Event.make("A::a", Count(3))))
    async with run_houses(house):
        await send(house, batch, topic="t")
    assert (house.incoming.received, house.incoming.delivered) == (1, 1)
    items = [item for item in await house.take() if isinstance(item, EventBatch) and item.peer]
    assert [(item.name, item.count) for item in items] == [("A::a", 2), ("B::b", 1), ("A::a", 1)]


async def test_a_batch_with_one_bad_message_is_bad_as_a_whole(tmp_path: Path) -> None:
    """As it is for Zeek."""
    house = House(tmp_path)
    good = encode_message(Event.make("A::a"))
    bad = binary.encode(Vector((Count(1), Count(5), Vector((binary.decode(good), Vector((Count(1),)))))))
    async with run_houses(house), meet(house) as raw:
        await raw.publish("t", bad)
        await wait_until(lambda: house.incoming.dropped == {"bad_message": 1})
    assert await house.events() == []


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (IdentifierUpdate("Foo::opt", True), "identifier_update"),
        (Vector((Count(2), Count(1), Vector())), "unknown_message"),
        (Vector((Count(1), Count(77), Vector())), "unknown_message"),
    ],
)
async def test_messages_for_others_are_counted(tmp_path: Path, message: Message | Vector, reason: str) -> None:
    """Variables of Zeek are not ours, and what later versions will say cannot be known."""
    payload = binary.encode(message) if isinstance(message, Vector) else encode_message(message)
    house = House(tmp_path)
    async with run_houses(house), meet(house) as raw:
        await raw.publish("t", payload)
        await wait_until(lambda: house.incoming.dropped == {reason: 1})
        assert house.incoming.lost == 0


# ── prints ──


@pytest.mark.parametrize("value", [b"hello \xff", Vector((b"hello \xff",))])
async def test_a_string_is_a_print(tmp_path: Path, value: Value) -> None:
    """Alone or as the only one of a vector, on whatever topic."""
    house = House(tmp_path)
    async with run_houses(house), meet(house) as raw:
        await raw.publish("bro/print/x", binary.encode(value))
        await wait_until(lambda: house.incoming.delivered == 1)
        name = raw.name
    [item] = [item for item in await house.take() if isinstance(item, Print)]
    assert (item.topic, item.text, item.peer, item.source) == ("bro/print/x", b"hello \xff", name, "broker")
    assert item.received_ns > 1_600_000_000_000_000_000


# ── what was not asked for ──


async def test_only_what_is_subscribed_to_is_taken(tmp_path: Path) -> None:
    """Also if the peer was not told of it, and also if it comes for us alone."""
    house = House(tmp_path, subscribe=("t/", "u/"), advertise=("u/",))
    async with run_houses(house), meet(house) as raw:
        assert house.figures.advertised == ("u/",)
        await raw.publish("t/x", event("E::e", Count(1)))
        await raw.publish("v/x", event("E::e", Count(2)), binary.encode(b"text"))
        await raw.publish("u/x", event("E::e", Count(3)), receiver=raw.other)
        await raw.publish("v/x", event("E::e", Count(4)), binary.encode(b"text"), receiver=raw.other)
        await wait_until(lambda: house.incoming.received == 6)
        assert (house.incoming.delivered, house.incoming.dropped) == (2, {"unsubscribed": 4})
        assert (house.incoming.lost, house.incoming.filtered) == (0, 4)
    assert await house.events() == [(Count(1),), (Count(3),)]


async def test_announcements_for_us_alone_are_always_taken(tmp_path: Path) -> None:
    """Zeek sends them to whoever connects; the writes come where we subscribed."""
    house = House(tmp_path, subscribe=("node/",))
    async with run_houses(house), meet(house) as raw:
        await raw.publish("zeek/logs/My::LOG", encode_message(log_create()), receiver=raw.other)
        await raw.publish("zeek/logs/Other::LOG", encode_message(log_create(path="other", stream="Other::LOG")))
        await raw.publish("node/x", encode_message(log_write(1)))
        await raw.publish("node/x", encode_message(log_write(1, path="other", stream="Other::LOG")))
        await wait_until(lambda: house.incoming.received == 4 and not house.incoming.queued)
        assert house.incoming.dropped == {"unsubscribed": 1, "no_schema": 1}
    assert [batch.data for batch in await house.logs()] == [line(1)]


# ── logs ──


async def test_log_writes_become_lines(tmp_path: Path) -> None:
    """Single ones and batches, with stream and columns."""
    house = House(tmp_path)
    writes = Batch(tuple(log_write(number) for number in range(2, 5)))
    async with run_houses(house):
        await send(house, log_create(), log_write(1), writes)
    batches = await house.logs()
    assert b"".join(batch.data for batch in batches) == b"".join(map(line, range(1, 5)))
    for batch in batches:
        assert (batch.path, batch.stream, batch.node, batch.source) == ("my", "My::LOG", "", "broker")
        assert batch.columns == (("ts", "time"), ("n", "count"), ("s", "string"))
    books = house.books()
    assert (books.received, books.delivered) == (4 + 2, 4 + 2)  # with our own two events


async def test_log_writes_that_come_together_stay_together(tmp_path: Path) -> None:
    """However many messages they are; those of each log in their order, events between them where they were."""
    house = House(tmp_path)
    writes = [log_write(number, path="abc"[number % 3]) for number in range(60)]
    creates = [log_create(path=path) for path in "abc"]
    async with run_houses(house):
        await send(house, *creates, *writes, Event.make("E::e"), *(log_write(number) for number in (60, 61)))
        assert house.incoming.dropped == {"no_schema": 2}  # the last two; nothing else suffers from it
        assert house.incoming.delivered == 3 + 60 + 1
    items = [item for item in await house.take() if isinstance(item, LogBatch)]
    assert len(items) < 20  # how many reads it takes is up to the kernel
    for rest, path in enumerate("abc"):
        data = b"".join(item.data for item in items if item.path == path)
        assert data == b"".join(line(number) for number in range(60) if number % 3 == rest)
    assert sum(item.count for item in items) == 60


GOOD, UNKNOWN, BROKEN, MIXED = range(4)
KINDS: dict[int, tuple[Message, int, dict[str, int]]] = {
    GOOD: (Batch((log_write(1), log_write(1))), 2, {}),
    UNKNOWN: (log_write(1, path="unknown"), 0, {"no_schema": 1}),
    BROKEN: (log_write(1, count=4), 0, {"bad_record": 1}),
    MIXED: (Batch((log_write(1), log_write(1, count=4))), 1, {"bad_record": 1}),
}
"""A message, the records that are taken of it, and those that are not."""


@pytest.mark.parametrize("kinds", [(GOOD, MIXED, GOOD), (UNKNOWN, GOOD), (GOOD, BROKEN, UNKNOWN, GOOD), (BROKEN,) * 3])
async def test_together_each_message_is_booked_as_if_it_were_alone(tmp_path: Path, kinds: tuple[int, ...]) -> None:
    """A message counts as delivered if there was anything in it that could be taken, else for its reason."""
    house = House(tmp_path)
    async with run_houses(house):
        await send(house, log_create(), *(KINDS[kind][0] for kind in kinds))
        alone = [KINDS[kind] for kind in kinds]
        assert house.incoming.dropped == Counter(next(iter(bad)) for _, count, bad in alone if not count)
        assert house.books().dropped == sum((Counter(bad) for _, _, bad in alone), Counter())
    assert sum(batch.count for batch in await house.logs()) == sum(count for _, count, _ in alone)


async def test_everything_may_come_in_one_batch(tmp_path: Path) -> None:
    """The announcement counts for the writes beside it, and events are handed on, too."""
    house = House(tmp_path)
    async with run_houses(house):
        await send(house, Batch((Event.make("E::e"), log_write(1), log_create(), log_write(2))))
    assert [batch.data for batch in await house.logs()] == [line(1) + line(2)]
    assert len(await house.events("E::e")) == 1
    assert house.incoming.dropped == {}


async def test_a_log_that_was_not_announced_is_refused(tmp_path: Path, told: list[EventDict]) -> None:
    """Counted by records, told once."""
    house = House(tmp_path)
    async with run_houses(house):
        await send(house, log_write(1), Batch((log_write(2), log_write(3))))
        assert house.incoming.dropped == {"no_schema": 2}
        books = house.books()
        assert (books.dropped, books.refused, books.lost) == ({"no_schema": 3}, 3, 0)
    entries = [entry for entry in told if entry.get("reason") == "no_schema"]
    assert [(entry["records"], entry["path"]) for entry in entries] == [(1, "my")]


async def test_what_is_known_of_a_log_ends_with_the_connection(tmp_path: Path) -> None:
    """And is not known of other peers."""
    house = House(tmp_path)
    async with run_houses(house):
        await send(house, log_create(), log_write(1))
        await send(house, log_write(2))
        assert house.incoming.dropped == {"no_schema": 1}
    assert [batch.data for batch in await house.logs()] == [line(1)]


@pytest.mark.parametrize(
    ("create", "write", "reason"),
    [
        (log_create(path="../x"), log_write(1, path="../x"), "bad_path"),
        (log_create(("ts", TIME), ("n", COUNT)), log_write(1), "bad_record"),
        (log_create(), log_write(1, count=4), "bad_record"),
        (log_create(), LogWrite("My::LOG", "Log::WRITER_ASCII", "my", b"\0\0\0\3\0"), "bad_record"),
    ],
)
async def test_records_that_cannot_be_used_are_counted(
    tmp_path: Path, create: LogCreate, write: LogWrite, reason: str
) -> None:
    """By their reason; those beside them are handed on."""
    house = House(tmp_path)
    async with run_houses(house):
        await send(house, create, Batch((write, write)), log_create(path="good"), log_write(9, path="good"))
        assert house.books().dropped == {reason: 2}
        assert house.incoming.dropped == {reason: 1}
        assert house.books().lost == house.incoming.lost == 0
    assert [batch.data for batch in await house.logs()] == [line(9)]


async def test_an_impossible_announcement_is_refused(tmp_path: Path) -> None:
    """The older one stays in force."""
    house = House(tmp_path)
    async with run_houses(house):
        await send(house, log_create(), log_create(("ts", TIME), ("n", 999)), log_write(1))
        assert house.incoming.dropped == {"bad_message": 1}
    assert [batch.data for batch in await house.logs()] == [line(1)]


@pytest.mark.parametrize(("version", "text"), [("8.0", b'"\\\\x01"'), ("8.1", b'"\\u0001"'), ("8.2", b'"\\\\x01"')])
async def test_lines_are_written_as_zeek_of_that_version_does(tmp_path: Path, version: str, text: bytes) -> None:
    """Control characters differ."""
    write = LogWrite("My::LOG", "Log::WRITER_ASCII", "my", struct.pack(">iiibi", 1, STRING, 0, 1, 1) + b"\x01")
    house = House(tmp_path, zeek_version=version)
    async with run_houses(house):
        await send(house, log_create(("s", STRING)), write)
    assert [batch.data for batch in await house.logs()] == [b'{"s":' + text + b"}\n"]


# ── events of our own ──


async def test_peerings_are_told_as_events(tmp_path: Path) -> None:
    """By the names of Bro's framework, with the peer's ID for its name, and the address if it was dialled."""
    a = House(tmp_path / "a")
    async with run_houses(a):
        b = House(tmp_path / "b", listen=(), connect=(a.address,))
        async with run_houses(b):
            await a.wait_peers(1)
            await b.wait_peers(1)
            ids = {"a": a.figures.endpoint.encode(), "b": b.figures.endpoint.encode()}
        await a.wait_peers(0)
        port = Port(a.port, 1)
    ours = {}
    for key, house in (("a", a), ("b", b)):
        items = [item for item in await house.take() if isinstance(item, EventBatch)]
        assert {(item.topic, item.peer, item.source) for item in items} == {("<$>/local/data/statuses", "", "broker")}
        ours[key] = [(item.name, decode_message(item.payloads()[0]).args[:]) for item in items]  # type: ignore[union-attr]
    assert ours["a"] == [
        ("Broker::incoming_connection_established", (ids["b"],)),
        ("Broker::incoming_connection_broken", (ids["b"],)),
    ]
    assert ours["b"] == [
        ("Broker::outgoing_connection_established", (b"127.0.0.1", port, ids["a"])),
        ("Broker::outgoing_connection_broken", (b"127.0.0.1", port, ids["a"])),
    ]
    assert a.incoming.received == b.incoming.received == 0


async def test_a_peer_of_another_protocol_is_told(tmp_path: Path) -> None:
    """Once for each attempt."""
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    house = House(tmp_path, listen=(), connect=(f"127.0.0.1:{port}",), retry_interval="1h")
    async with listener, run_houses(house):
        async with await listener.accept() as stream:
            await stream.send_all(encode_handshake(Hello(make_id(0xFF), 2, 3)))
            await wait_until(lambda: house.figures.dialers[0].state == "waiting")
        assert "version" in house.figures.dialers[0].last_error
    [item] = [item for item in await house.take() if isinstance(item, EventBatch)]
    message = decode_message(item.payloads()[0])
    assert isinstance(message, Event)
    assert (message.name, message.args[:]) == (
        "Broker::outgoing_connection_incompatible", (b"127.0.0.1", Port(port, 1)),
    )  # fmt: skip


async def test_pings_and_filters_are_no_messages(tmp_path: Path) -> None:
    """The protocol's own talk is not in the books."""
    house = House(tmp_path)
    async with run_houses(house), meet(house) as raw:
        for size in (1, 11, 60_000):
            await raw.control(MessageKind.PING, b"x" * size)
            [pong] = await raw.messages(1)
            assert (pong.kind, pong.payload) == (MessageKind.PONG, b"x" * size)
        assert house.incoming.received == 0
        assert house.outgoing.received == 0
        [figures] = house.figures.peers
        assert (figures.messages_in, figures.messages_out) == (0, 0)
        assert figures.bytes_in > 60_000
