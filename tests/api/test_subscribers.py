"""GET /v1/events: what arrives, as server-sent events, on real Unix sockets."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from appliance.api import subscribers
from appliance.api.server import MAX_CONNECTIONS
from appliance.api.subscribers import HEARTBEAT_S, MAX_SUBSCRIBERS, SEND_TIMEOUT_S, Subscribers, parse_topics
from appliance.model import EventBatch, LogBatch
from appliance.zeek.messages import Event, encode_message
from appliance.zeek.values import Count, Set, Timestamp
from tests.api.harness import Bench, events, numbered, printed, subscribed
from tests.fakes import FakePublisher

Clock = trio.testing.MockClock


async def test_events_and_prints_arrive_as_objects(tmp_path: Path) -> None:
    """One for each, with the arguments as Zeek types them and plain."""
    bench = Bench(tmp_path)
    async with bench.serving(), subscribed(bench, "my/", "bro/print/") as client:
        await bench.dispatch(events(Count(5), b"a\n\xff", Set([1])), printed(b"h\xc3\xa9\xff\n"))
        [(kind, event), (other, text)] = await client.read(2)
    assert (kind, other) == ("event", "print")
    assert event == {
        "kind": "event",
        "ts": 1.5,
        "name": "My::event",
        "topic": "my/topic",
        "peer": "a-peer",
        "args": [
            {"@data-type": "count", "data": 5},
            {"@data-type": "string", "data": "a\n\\xff"},
            {"@data-type": "set", "data": [{"@data-type": "integer", "data": 1}]},
        ],
        "plain": [5, "a\n\\xff", [1]],
    }
    assert text == {"kind": "print", "ts": 2.0, "topic": "bro/print/x", "peer": "a-peer", "text": "hé\\xff\n"}


async def test_the_response_is_a_stream_of_events(tmp_path: Path) -> None:
    """Its head says so, and that nothing of it is to be stored."""
    bench = Bench(tmp_path)
    async with bench.serving(), subscribed(bench, "my/") as client:
        head = client.raw.partition(b"\r\n\r\n")[0].lower()
    assert b"\r\ncontent-type: text/event-stream" in head
    assert b"\r\ncache-control: no-store" in head


async def test_an_argument_that_json_does_not_have_leaves_the_plain_ones(tmp_path: Path) -> None:
    """The text stays valid JSON."""
    bench = Bench(tmp_path)
    async with bench.serving(), subscribed(bench, "my/") as client:
        await bench.dispatch(events(math.inf, 1))
        [(_, event)] = await client.read(1)
    assert (event["args"], event["plain"]) == (None, [None, 1])


async def test_the_time_of_the_sender_is_told_if_there_is_one(tmp_path: Path) -> None:
    """Otherwise when it arrived."""
    bench = Bench(tmp_path)
    async with bench.serving(), subscribed(bench, "my/") as client:
        message = encode_message(Event.make("e", timestamp=Timestamp(7 * 10**9)))
        data = len(message).to_bytes(4) + message
        await bench.dispatch(
            EventBatch(name="e", topic="my/x", source="broker", data=data, count=1, received_ns=1), numbered(1)
        )
        assert [event["ts"] for _, event in await client.read(2)] == [7.0, 1.5]


async def test_only_topics_that_begin_so_are_told(tmp_path: Path) -> None:
    """Byte by byte, as Broker's subscriptions; the rest is booked as unwanted."""
    bench = Bench(tmp_path)
    async with bench.serving(), subscribed(bench, "my/t", "b%C3") as client:
        await bench.dispatch(
            numbered(1, topic="other"),
            numbered(2, topic="my/topic"),
            printed(b"3", topic="my"),
            printed(b"4", topic="bé"),
        )
        await bench.dispatch(LogBatch(path="my/t", source="broker", data=b"{}\n", count=1))
        frames = await client.read(2)
    assert [frame.get("plain", frame.get("text")) for _, frame in frames] == [[2], "4"]
    figures = bench.figures()
    assert (figures.received, figures.delivered, figures.dropped, figures.lost) == (4, 2, {"unwanted": 2}, 0)


async def test_peers_are_asked_as_long_as_somebody_listens(tmp_path: Path) -> None:
    """And no longer: what they send costs them and us."""
    bench = Bench(tmp_path)
    async with bench.serving():
        async with subscribed(bench, "a/", "b/", "a/"), subscribed(bench, "a/"):
            assert sorted(bench.publisher.prefixes) == ["a/", "a/", "b/"]
        await trio.testing.wait_all_tasks_blocked()
        assert bench.publisher.prefixes == []
        await bench.dispatch(numbered(1))
    assert bench.ledger.account("broker").dropped == {"unwanted": 1}


async def test_another_endpoint_is_asked_soon(tmp_path: Path, autojump_clock: Clock) -> None:
    """A reload replaced the one that was asked."""
    bench = Bench(tmp_path)
    async with bench.serving(), subscribed(bench, "a/"):
        successor = FakePublisher()
        bench.outlet.open("broker", successor)
        await trio.sleep(HEARTBEAT_S + 1)
        assert (bench.publisher.prefixes, successor.prefixes) == ([], ["a/"])


async def test_a_quiet_network_is_told_from_a_broken_connection(tmp_path: Path, autojump_clock: Clock) -> None:
    """A comment every 15 seconds."""
    bench = Bench(tmp_path)
    async with bench.serving(), subscribed(bench, "a/") as client:
        with trio.move_on_after(4 * HEARTBEAT_S + 1):
            await client.read(1)
        assert client.beats == 5


async def test_a_slow_reader_is_told_how_much_it_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go; what is told and what is dropped is all there was."""
    monkeypatch.setattr(subscribers, "QUEUE_RECORDS", 10)
    bench = Bench(tmp_path)
    async with bench.serving(), subscribed(bench, "my/") as client:
        for number in range(100):
            await bench.dispatch(numbered(number))
        await client.read(11)
        await trio.testing.wait_all_tasks_blocked()
        await bench.dispatch(numbered(100))
        (kind, data), *frames = await client.read(12)
    assert (kind, data) == ("dropped", {"dropped": 90})
    assert [frame["plain"] for _, frame in frames] == [[number] for number in range(90, 101)]
    figures = bench.figures()
    assert (figures.received, figures.delivered, figures.dropped) == (101, 11, {"queue_full": 90})


class HeldExchange:
    """Takes what is sent at once, but lets the sender know only when it is told to."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.go_on = trio.Event()

    async def begin_stream(self, content_type: str) -> None:
        await trio.lowlevel.checkpoint()

    async def send_part(self, data: bytes) -> None:
        self.sent.append(data)
        if len(self.sent) == 2:
            await self.go_on.wait()

    async def wait_gone(self) -> None:
        await trio.sleep_forever()


async def test_what_was_dropped_is_told_though_nothing_comes_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: Clock
) -> None:
    """At the next sign of life, and once."""
    monkeypatch.setattr(subscribers, "QUEUE_RECORDS", 10)
    bench = Bench(tmp_path)
    exchange: Any = HeldExchange()
    served = Subscribers(outlet=bench.outlet, dispatcher=bench.dispatcher, ledger=bench.ledger)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(served.serve, exchange, ("my/",))
        await trio.testing.wait_all_tasks_blocked()
        await bench.dispatch(events(Count(1), count=10))
        await trio.testing.wait_all_tasks_blocked()
        await bench.dispatch(events(Count(2), count=3))
        exchange.go_on.set()
        await trio.sleep(2 * HEARTBEAT_S + 1)
        nursery.cancel_scope.cancel()
    told = [data for data in exchange.sent[2:] if data != b":\n\n"]
    assert told == [b'event: dropped\ndata: {"dropped":3}\n\n']
    assert bench.figures().dropped == {"queue_full": 3}


async def test_a_reader_that_does_not_read_is_cut(tmp_path: Path, autojump_clock: Clock) -> None:
    """After as long as any other client may take; what waited for it is no loss."""
    bench = Bench(tmp_path)
    async with bench.serving(), subscribed(bench, "my/"):
        big = events(b"x" * 100_000)
        for _ in range(30):
            await bench.dispatch(big)
        await trio.testing.wait_all_tasks_blocked()
        assert bench.server.statistics().subscribers == 1
        await trio.sleep(SEND_TIMEOUT_S + 1)
        assert (bench.server.statistics().subscribers, bench.server.statistics().connections) == (0, 0)
    figures = bench.figures()
    assert (figures.queued, figures.lost) == (0, 0)
    assert figures.dropped["unsubscribed"] + figures.delivered == 30


async def test_a_reader_may_take_its_time_as_long_as_it_reads(tmp_path: Path, autojump_clock: Clock) -> None:
    """The limit is for each write, not for all of them."""
    bench = Bench(tmp_path)
    async with bench.serving(), subscribed(bench, "my/") as client:
        for number in range(20):
            await bench.dispatch(numbered(number))
            await client.read(number + 1)
            await trio.sleep(5)
        assert trio.current_time() > SEND_TIMEOUT_S


async def test_a_reader_that_goes_leaves_nothing_behind(tmp_path: Path) -> None:
    """Its connection, its place and its subscription are free at once, also while something is sent to it."""
    bench = Bench(tmp_path)
    async with bench.serving():
        async with subscribed(bench, "my/"):
            for _ in range(30):
                await bench.dispatch(events(b"x" * 100_000))
        await trio.testing.wait_all_tasks_blocked()
        statistics = bench.server.statistics()
        assert (statistics.connections, statistics.subscribers, bench.publisher.prefixes) == (0, 0, [])
    assert bench.figures().queued == 0


async def test_there_are_never_too_many_subscribers(tmp_path: Path) -> None:
    """The next one is refused, others are served, and its place is free when one goes."""
    bench = Bench(tmp_path)
    assert MAX_SUBSCRIBERS < MAX_CONNECTIONS
    async with bench.serving():
        async with trio.open_nursery() as nursery:
            held = []
            for _ in range(MAX_SUBSCRIBERS):
                manager = subscribed(bench, "a/")
                held.append(manager)
                await manager.__aenter__()
            response = await bench.exchange(b"GET /v1/events?topic=a HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert (response.status, response.json["reason"]) == (503, "too_many")
            assert (await bench.exchange(b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n")).status == 200
            for manager in held:
                await manager.__aexit__(None, None, None)
            nursery.cancel_scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        async with subscribed(bench, "a/"):
            assert bench.server.statistics().subscribers == 1


async def test_the_account_does_not_grow_with_the_subscribers(tmp_path: Path) -> None:
    """One for all of them, opened for the first."""
    bench = Bench(tmp_path)
    async with bench.serving():
        assert [account.name for account in bench.ledger] == []
        for _ in range(3):
            async with subscribed(bench, "my/") as client:
                await bench.dispatch(numbered(1))
                await client.read(1)
    assert [account.name for account in bench.ledger] == ["api.subscribers", "broker"]
    assert bench.figures().delivered == 3


async def test_the_end_is_said(tmp_path: Path) -> None:
    """When the appliance stops, what waits is sent, and the response has its end."""
    bench = Bench(tmp_path)
    async with bench.serving(), subscribed(bench, "my/") as client:
        await bench.dispatch(*[numbered(number) for number in range(500)])
        bench.server.stop()
        assert len(await client.read_all()) == 500
        assert client.is_ended
    assert bench.figures().delivered == 500


async def test_the_end_does_not_wait_for_those_who_do_not_read(tmp_path: Path, autojump_clock: Clock) -> None:
    """They have a second."""
    bench = Bench(tmp_path)
    async with bench.serving(), subscribed(bench, "my/"):
        for _ in range(30):
            await bench.dispatch(events(b"x" * 100_000))
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        bench.server.stop()
    assert trio.current_time() - began < 2
    assert bench.figures().queued == 0


@pytest.mark.parametrize("query", [b"", b"?", b"?x=1", b"?topic=a&x=1"])
async def test_a_subscription_needs_topics(tmp_path: Path, query: bytes) -> None:
    """Everything has to be asked for."""
    bench = Bench(tmp_path)
    async with bench.serving():
        response = await bench.exchange(b"GET /v1/events%s HTTP/1.1\r\nHost: localhost\r\n\r\n" % query)
    assert (response.status, response.json["where"]) == (400, "topic")


def test_prefixes_in_the_query() -> None:
    """Percent signs and pluses as in any form; the same one twice is one."""
    assert parse_topics("topic=a%2Fb&topic=c+d&topic=&topic=a/b") == ("a/b", "c d", "")
    assert parse_topics("topic=%ff") == ("\udcff",)


async def test_nobody_can_be_asked_without_an_endpoint(tmp_path: Path) -> None:
    """There would never be an event."""
    bench = Bench(tmp_path)
    bench.outlet.close("broker")
    async with bench.serving():
        response = await bench.exchange(b"GET /v1/events?topic=a HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert (response.status, response.json["reason"]) == (409, "no_broker")


async def test_other_methods_are_told_which_there_are(tmp_path: Path) -> None:
    """RFC 9110 §15.5.6."""
    bench = Bench(tmp_path)
    async with bench.serving():
        response = await bench.exchange(b"DELETE /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert (response.status, response.headers["allow"]) == (405, "get, post")
