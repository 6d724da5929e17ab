"""The Broker sink: items out to the peers of a publisher, and the books of what became of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from appliance.config import Sink
from appliance.model import EventBatch, Item, LogBatch, Print
from appliance.runtime.ledger import Account, AccountFigures
from appliance.runtime.outlet import Outlet
from appliance.runtime.queue import ItemQueue
from appliance.sinks import broker
from appliance.sinks.broker import LEASE, MAX_LOGS, BrokerSink
from appliance.zeek.binary import decode
from appliance.zeek.messages import Batch, Event, LogCreate, LogWrite, decode_message, encode_message
from appliance.zeek.values import Count
from tests.fakes import FakePublisher

WALL_NS = 1_700_000_000 * 10**9
COLUMNS = (("ts", "time"), ("n", "count"))


def events(*numbers: int, name: str = "My::event") -> EventBatch:
    messages = [encode_message(Event.make(name, Count(number))) for number in numbers]
    data = b"".join(len(message).to_bytes(4) + message for message in messages)
    return EventBatch(name=name, topic="came/in", source="broker", data=data, count=len(messages), received_ns=1)


def text(text: bytes) -> Print:
    return Print(topic="bro/print/x", source="broker", text=text, received_ns=1)


def logs(*numbers: int, path: str = "conn", stream: str = "Conn::LOG", columns: Any = COLUMNS) -> LogBatch:
    data = b"".join(b'{"ts":1.5,"n":%d}\n' % number for number in numbers)
    return LogBatch(path=path, stream=stream, source="cluster", data=data, count=len(numbers), columns=columns)


class Bench:
    """A broker sink with its queue, its account and a publisher behind its outlet."""

    def __init__(self, topic: str = "out/", *, peers: int = 1, unsolicited: bool = False, **more: Any) -> None:
        self.account = Account("sink.s")
        self.queue = ItemQueue(self.account, policy="drop_newest", max_records=10**6, max_bytes=1 << 30)
        self.outlet = Outlet()
        self.publisher = FakePublisher(peers=peers)
        self.outlet.open("broker", self.publisher)
        config = Sink(name="s", on=("log:*",), kind="broker", topic=topic, unsolicited=unsolicited, **more)
        self.sink = BrokerSink(config, queue=self.queue, outlet=self.outlet, clock_ns=lambda: WALL_NS)

    def put(self, *items: Item) -> None:
        for item in items:
            assert self.queue.put_nowait(item) is None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the sink; at the end it is stopped and finishes what it has."""
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: self.sink.run(task_status=task_status))
            yield
            self.sink.stop()

    async def pass_through(self, *items: Item) -> list[tuple[str, Any]]:
        """Topics and values of everything that is published for these items."""
        before = len(self.publisher.published)
        async with self.running():
            self.put(*items)
        return [(topic, _read(message)) for topic, message in self.publisher.published[before:]]

    def figures(self) -> AccountFigures:
        figures = self.account.statistics()
        assert (figures.imbalance, figures.queued) == (0, 0)
        return figures


def _read(message: bytes) -> Any:
    value = decode(message)
    return value if isinstance(value, bytes) else decode_message(message)


def writes(messages: list[tuple[str, Any]]) -> list[tuple[str, int]]:
    """Topic and number of the records of each batch."""
    return [(topic, len(batch.messages)) for topic, batch in messages if isinstance(batch, Batch)]


async def test_events_go_out_as_they_came() -> None:
    """The same bytes, on the sink's topic as it is, many with one call."""
    bench = Bench()
    item = events(1, 2, 3)
    async with bench.running():
        bench.put(item, events(4, name="Other::event"))
    assert [message for _, message in bench.publisher.published][:3] == item.payloads()
    assert bench.publisher.calls == [("out/", 4, False)]
    assert bench.figures().delivered == 4
    assert bench.sink.statistics().messages == 4


async def test_what_our_endpoint_tells_of_itself_stays_here() -> None:
    """Even if the table takes all events."""
    bench = Bench("t")
    local = msgspec.structs.replace(events(1, 2), topic="<$>/local/data/statuses")
    assert await bench.pass_through(events(1), local, events(3)) == [
        ("t", Event.make("My::event", Count(1))),
        ("t", Event.make("My::event", Count(3))),
    ]
    figures = bench.figures()
    assert (figures.delivered, figures.dropped, figures.lost) == (2, {"unwanted": 2}, 0)


async def test_prints_go_out_as_bare_text() -> None:
    """One string value, whatever its bytes; the order of events and prints is kept."""
    bench = Bench("bro/print/out")
    got = await bench.pass_through(text(b"\xff a"), events(1), text(b""))
    assert got == [
        ("bro/print/out", b"\xff a"),
        ("bro/print/out", Event.make("My::event", Count(1))),
        ("bro/print/out", b""),
    ]
    assert bench.figures().delivered == 3


@pytest.mark.parametrize(
    ("topic", "expected"),
    [
        ("", "zeek/logs/Conn::LOG"),
        ("zeek/logs/", "zeek/logs/Conn::LOG"),
        ("my/logger", "my/logger"),
        ("x/", "x/Conn::LOG"),
    ],
)
async def test_logs_are_announced_and_written(topic: str, expected: str) -> None:
    """On the topic and the stream, as Zeek's default does, or on a topic of another form as it is."""
    bench = Bench(topic)
    [(first, create), (second, batch)] = await bench.pass_through(logs(1, 2))
    assert first == second == expected
    assert isinstance(create, LogCreate)
    assert (create.stream, create.info.path, create.info.network_time_s) == ("Conn::LOG", "conn", 1.7e9)
    assert [column.name for column in create.columns] == ["ts", "n"]
    assert isinstance(batch, Batch)
    assert all(isinstance(write, LogWrite) and write.path == "conn" for write in batch.messages)
    assert len(batch.messages) == bench.figures().delivered == 2


async def test_a_log_is_announced_once_for_each_list_of_columns() -> None:
    """For each stream and path; the announcement of new columns takes the place of the old one."""
    bench = Bench()
    more = (*COLUMNS, ("x", "string"))
    got = await bench.pass_through(
        logs(1),
        logs(2),
        logs(3, path="conn_2"),
        logs(4, stream="Dns::LOG"),
        logs(5, columns=more),
        logs(6, columns=more),
    )
    created = [(m.stream, m.info.path, len(m.columns)) for _, m in got if isinstance(m, LogCreate)]
    assert created == [
        ("Conn::LOG", "conn", 2),
        ("Conn::LOG", "conn_2", 2),
        ("Dns::LOG", "conn", 2),
        ("Conn::LOG", "conn", 3),
    ]
    assert set(bench.publisher.announced) == {
        "sink/s/Conn::LOG/conn",
        "sink/s/Conn::LOG/conn_2",
        "sink/s/Dns::LOG/conn",
    }
    assert bench.sink.statistics().logs == 3
    assert bench.figures().delivered == 6


async def test_logs_without_a_stream_or_columns_are_refused() -> None:
    """A door that cannot know them delivers records that no logger would take."""
    bench = Bench()
    bad = [logs(1, stream=""), logs(2, columns=()), logs(3, columns=(("a", "record"),))]
    assert writes(await bench.pass_through(*bad, logs(4))) == [("out/Conn::LOG", 1)]
    figures = bench.figures()
    assert (figures.delivered, figures.dropped, figures.lost) == (1, {"no_columns": 3}, 0)


async def test_record_that_does_not_fit_costs_itself() -> None:
    """The others of its batch go out."""
    bench = Bench()
    item = logs(1, 2)
    bad = msgspec.structs.replace(item, data=item.data + b'{"n":"x"}\n', count=3)
    assert writes(await bench.pass_through(bad)) == [("out/Conn::LOG", 2)]
    assert bench.figures().dropped == {"bad_format": 1}


async def test_items_of_other_kinds_between_each_other_keep_their_order() -> None:
    """A log between two events goes out between them."""
    bench = Bench("t")
    got = await bench.pass_through(events(1), logs(1), events(2, 3))
    assert [type(message).__name__ for _, message in got] == ["Event", "LogCreate", "Batch", "Event", "Event"]
    assert bench.figures().delivered == 4


@pytest.mark.parametrize("refusal", ["no_subscriber", "no_peer", "not_allowed", "bad_topic"])
async def test_what_is_refused_is_booked_for_its_reason(refusal: str) -> None:
    """Only that nobody asked for it is what the configuration wanted."""
    bench = Bench()
    bench.publisher.refusal = refusal
    assert await bench.pass_through(events(1, 2), logs(3, 4, 5), text(b"x")) == []
    figures = bench.figures()
    assert (figures.received, figures.dropped) == (6, {refusal: 6})
    assert figures.lost == (0 if refusal == "no_subscriber" else 6)


async def test_without_an_endpoint_everything_is_dropped() -> None:
    """A reload may have taken it away."""
    bench = Bench()
    bench.outlet.close("broker")
    await bench.pass_through(events(1), logs(2))
    assert bench.figures().dropped == {"no_broker": 2}


async def test_a_message_that_is_too_large_costs_itself() -> None:
    """Those that would have gone out with it are published alone."""
    bench = Bench()
    bench.publisher.max_message = 1000
    got = await bench.pass_through(text(b"1"), text(b"x" * 2000), text(b"2"))
    assert [message for _, message in got] == [b"1", b"2"]
    figures = bench.figures()
    assert (figures.delivered, figures.dropped) == (2, {"too_large": 1})


async def test_an_announcement_that_is_refused_is_made_again() -> None:
    """Records are worth nothing without it, so they are not published either."""
    bench = Bench()
    bench.publisher.max_message = 100
    await bench.pass_through(logs(1))
    assert bench.figures().dropped == {"too_large": 1}
    assert bench.sink.statistics().logs == 0


async def test_an_announcement_waits_for_the_first_peer() -> None:
    """The endpoint keeps it, so it is not made again when a peer is there."""
    bench = Bench(peers=0)
    async with bench.running():
        bench.put(logs(1))
        await trio.testing.wait_all_tasks_blocked()
        bench.publisher.peers = 1
        bench.put(logs(2))
    assert [type(_read(message)).__name__ for _, message in bench.publisher.published] == ["Batch"]
    assert set(bench.publisher.announced) == {"sink/s/Conn::LOG/conn"}
    assert bench.figures().dropped == {"no_peer": 1}


async def test_another_endpoint_is_told_everything_again() -> None:
    """A reload replaced it, and with it what it knew."""
    bench = Bench()
    async with bench.running():
        bench.put(logs(1))
        await trio.testing.wait_all_tasks_blocked()
        successor = FakePublisher()
        bench.outlet.open("broker", successor)
        bench.put(logs(2))
    assert [type(_read(message)).__name__ for _, message in successor.published] == ["LogCreate", "Batch"]


async def test_unsolicited_reaches_the_endpoint() -> None:
    """As the table says."""
    bench = Bench("t", unsolicited=True)
    await bench.pass_through(events(1), logs(2))
    assert bench.publisher.calls == [("t", 1, True), ("t", 1, True)]


async def test_names_from_the_network_are_not_remembered_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log that was written least recently is forgotten, and announced again if it comes back."""
    monkeypatch.setattr(broker, "MAX_LOGS", 3)
    bench = Bench()
    got = await bench.pass_through(*[logs(1, path=path) for path in "abcadab"])
    assert [message.info.path for _, message in got if isinstance(message, LogCreate)] == list("abcdb")
    assert bench.sink.statistics().logs == 3 < MAX_LOGS


async def test_the_loop_goes_on_between_batches() -> None:
    """One turn is a few hundred records, however many wait."""
    bench = Bench()
    seen: list[int] = []

    async def watch() -> None:
        while bench.account.queued:
            seen.append(bench.account.delivered)
            await trio.lowlevel.checkpoint()

    bench.put(logs(*range(10 * LEASE)))
    async with bench.running(), trio.open_nursery() as nursery:
        nursery.start_soon(watch)
    steps = [after - before for before, after in zip(seen, seen[1:], strict=False)]
    assert max(steps) <= 2 * LEASE
    assert bench.figures().delivered == 10 * LEASE


async def test_what_was_cancelled_is_still_queued() -> None:
    """A successor finds it."""
    bench = Bench()
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: bench.sink.run(task_status=task_status))
        bench.put(events(*range(3 * LEASE)))
        nursery.cancel_scope.cancel()
    assert bench.account.delivered + bench.account.queued == 3 * LEASE
    assert bench.account.queued > 0
