"""Packets that somebody on the cluster asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.evidence.requests import ANSWER, ANSWER_TOPIC, REQUEST, REQUEST_TOPIC, parse_request
from appliance.zeek.convert import to_value
from appliance.zeek.messages import Event, decode_message
from appliance.zeek.values import Address, Count, EnumValue, Port, Timespan, Timestamp, Value, Vector
from tests.native.packets import udp_frame

from .harness import A, B, C, Clock, FakeStore, S, Site, T, running, seconds, tcp

TCP = 1
ON = f"event:{REQUEST}"


def what(
    select: str = "conn",
    *,
    ts: int | None = T,
    orig: str = A,
    port: int = 1234,
    resp: str | None = B,
    uid: str | None = None,
) -> Vector:
    """As a record of Zeek travels: a vector with none for what is not set."""
    return Vector([
        select.encode(), None if ts is None else Timestamp(ts), Address.parse(orig), Port(port, TCP),
        None if resp is None else Address.parse(resp), None if resp is None else Port(80, TCP),
        None if uid is None else uid.encode(), None,
    ])  # fmt: skip


def args(selection: Value, *, id_: str = "r1", recorder: str = "", topic: str = "", span: int = 60) -> list[Value]:
    return [
        id_.encode(),
        b"because",
        selection,
        Timespan(span * S),
        Timespan(30 * S),
        recorder.encode(),
        topic.encode(),
    ]


def answers(site: Site) -> list[tuple[str, list[Any]]]:
    found = []
    for topic, message in site.publisher.published:
        event = decode_message(message)
        assert isinstance(event, Event)
        assert event.name == ANSWER
        found.append((topic, list(event.args)))
    return found


@pytest.fixture
def store(tmp_path: Path) -> FakeStore:
    return FakeStore(tmp_path / "recorder")


@pytest.fixture
def site(tmp_path: Path, store: FakeStore) -> Site:
    return Site(tmp_path, Clock(), store, on=(ON,))


async def test_request_is_answered_with_the_file(site: Site, store: FakeStore) -> None:
    """When its time has passed, to the topic that it names; asked for on the cluster as long as the service runs."""
    store.record(T - S, tcp(2))
    store.record(T - S + 1, udp_frame(A, B, (1, 2)))
    async with running(site) as run:
        await run.until(lambda: site.publisher.prefixes == [REQUEST_TOPIC])
        site.event(REQUEST, *args(what(), topic="zeek/event/mine"))
        await run.wait_idle()
        assert answers(site) == []
        await run.go_to(T + 31 * S)
        segment = await site.segment()
        await run.until(lambda: bool(site.publisher.published))
    assert site.publisher.prefixes == []
    ((topic, answer),) = answers(site)
    assert topic == "zeek/event/mine"
    id_, recorder, path, packets, bytes_, is_complete, missing = answer
    assert (id_, recorder, path.decode()) == (b"r1", b"edge", segment.path)
    assert (packets, bytes_) == (Count(1), Count(segment.disk_size))
    assert not is_complete
    assert [text.split()[0] for text in missing] == [b"before_oldest"]
    assert site.packets() == [(T - S, tcp(2))]
    assert site.note()["items"][0]["record"]["args"][0] == "r1"


async def test_all_who_ask_for_the_same_are_answered(site: Site, store: FakeStore) -> None:
    """With one file."""
    store.record(T - 70 * S, tcp(2))
    store.record(T - S, tcp(2))
    async with running(site) as run:
        for number in range(3):
            site.event(REQUEST, *args(what(), id_=f"r{number}"))
        await run.wait_idle()
        await run.go_to(T + 31 * S)
        await run.until(lambda: len(site.publisher.published) == 3)
    assert {(topic, values[0], values[5]) for topic, values in answers(site)} == {
        (ANSWER_TOPIC, f"r{number}".encode(), True) for number in range(3)
    }
    assert len(site.files(".pcap")) == 1


async def test_refusal_is_an_answer_too(site: Site) -> None:
    """Whoever asks hears of it; what is meant for others, or is no request, is not answered."""
    site.config = type(site.config)(
        name="notices", on=(ON,), recorder="edge", directory=site.config.directory, max_rate=1
    )
    async with running(site) as run:
        site.event(REQUEST, *args(what(), id_="first"))
        site.event(REQUEST, *args(what(port=99), id_="second"))
        site.event(REQUEST, *args(what(), id_="other", recorder="another"))
        site.event(REQUEST, b"no", b"request")
        site.event(REQUEST, *args(Vector([b"conn", None]), id_="nobody"))
        await run.wait_settled()
    assert {(values[0], values[2], tuple(values[6])) for _, values in answers(site)} == {
        (b"second", b"", (b"rate_limit",)), (b"nobody", b"", (b"no_selection",)), (b"no", b"", (b"bad_request",)),
    }  # fmt: skip
    dropped = {"rate_limit": 1, "other_recorder": 1, "bad_request": 1, "no_selection": 1}
    assert (site.account.delivered, site.account.dropped) == (1, dropped)


async def test_nobody_asks_for_more_than_the_longest_span(site: Site, store: FakeStore) -> None:
    """Whatever the request says."""
    site.config = msgspec.structs.replace(site.config, max_span=seconds(100))
    async with running(site) as run:
        site.event(REQUEST, *args(what("all"), span=10**6))
        await run.wait_idle()
        (job,) = run.service._desk.jobs.values()
        assert (job.from_ns, job.to_ns) == (T - 100 * S, T + 30 * S + 1)


async def test_any_event_may_be_an_alarm(site: Site, store: FakeStore) -> None:
    """By the first connection in its arguments, at the sender's time."""
    store.record(T - S, udp_frame(A, C, (5, 6)))
    conn = Vector([Address.parse(A), Port(5, 2), Address.parse(C), Port(6, 2)])
    async with running(site) as run:
        site.event("My::alarm", Vector([conn, b"x"]), ts_ns=T)
        await run.wait_idle()
        await run.go_to(T + 31 * S)
        assert (await site.segment()).packets == 1
    (item,) = site.note()["items"]
    assert (item["kind"], item["ts"]) == ("event:My::alarm", "2026-11-21T10:15:00.000000000Z")


@pytest.mark.parametrize(
    ("selection", "select", "ends"),
    [
        (what(), "conn", (A, 1234, B, 80, 6, None, None)),
        (what(resp=None), "conn", (None, None, None, None, None, A, None)),
        (what("Host"), "host", (A, 1234, B, 80, 6, None, None)),
        (Vector([EnumValue("BroAppliance::PAIR"), None, Address.parse(A), None, Address.parse(B)]), "pair",
         (None, None, None, None, None, A, B)),
        (Vector([b"all"]), "all", (None,) * 7),
    ],
)  # fmt: skip
def test_requests_are_read(selection: Vector, select: str, ends: tuple[object, ...]) -> None:
    """What is not set is not given; arguments at the end may be left out."""
    request = parse_request([b"id", b"why", selection])
    assert request is not None
    assert (request.select, request.ends[:7]) == (select, ends)
    assert (request.before_ns, request.after_ns, request.recorder) == (None, None, "")


@pytest.mark.parametrize(
    "arguments",
    [[], [b"id"], [b"id", b"why", None], [b"id", b"why", Vector([])], [b"id", b"why", Vector([b"everything"])],
     [Count(1), b"why", what()]],
)  # fmt: skip
def test_what_is_no_request(arguments: list[Value]) -> None:
    """It is refused, not guessed."""
    assert parse_request(arguments) is None


values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.binary(max_size=5)
    | st.sampled_from([b"conn", Address.parse(A), Address.parse("::1"), Port(1, 3), Timestamp(-1), Timespan(-1)]),
    lambda inner: st.lists(inner, max_size=9).map(to_value),
    max_leaves=30,
)  # fmt: skip


@given(st.lists(values, max_size=8))
def test_any_arguments_are_read_or_refused(arguments: list[Any]) -> None:
    """Hostile ones raise nothing."""
    parse_request(arguments)


async def test_hostile_texts_go_no_further_than_notes(site: Site, store: FakeStore) -> None:
    """Bytes that are no text, and far too long ones."""
    async with running(site) as run:
        bad = b"\xff\x00/../" * 1000
        site.event(REQUEST, bad, bad, what("all"), None, None, b"", b"\xfe\x00")
        await run.wait_idle()
        await run.go_to(T + 31 * S)
        await run.until(lambda: run.service.statistics().finished == 1)
    assert site.note()["alarms"] == 1
