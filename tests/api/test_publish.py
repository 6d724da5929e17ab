"""POST /v1/events: what is published, and what is refused and why."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given

from appliance.api.publish import BadInputError, parse_publication
from appliance.errors import LocalProtocolError
from appliance.zeek.binary import decode
from appliance.zeek.json_values import encode_json
from appliance.zeek.messages import Event, decode_message
from appliance.zeek.values import Address, Count, EnumValue, Port, Subnet, Table, Timespan, Value, Vector, is_same
from tests.api.harness import Bench
from tests.zeek.strategies import values


def parse(**members: Any) -> tuple[str, Any]:
    """Topic, and text or event."""
    topic, message, _ = parse_publication(json.dumps(members).encode())
    value = decode(message)
    return topic, value if isinstance(value, bytes) else decode_message(message)


def typed(kind: str, data: object) -> dict[str, object]:
    return {"@data-type": kind, "data": data}


def test_print_is_a_bare_string() -> None:
    """Empty ones, too."""
    assert parse(topic="bro/print/x", print="hé") == ("bro/print/x", "hé".encode())
    assert parse(topic="x", print="") == ("x", b"")


def test_event_without_arguments() -> None:
    """They may be left out."""
    assert parse(topic="t", event="A::b") == ("t", Event("A::b"))
    assert parse(topic="t", event="A::b", args=[]) == ("t", Event("A::b"))


def test_arguments_in_plain_json() -> None:
    """Numbers are integers or reals, never counts: Zeek tells them apart, and JSON does not."""
    args = [1, -1, 1.0, True, None, "a", [1, "b"], {"k": 1.5}]
    expected = Vector([1, -1, 1.0, True, None, b"a", Vector([1, b"b"]), Table([(b"k", 1.5)])])
    assert is_same(parse(topic="t", event="e", args=args)[1].args, expected)


def test_arguments_with_their_types() -> None:
    """As on Zeek's WebSocket; also within plain arrays."""
    args = [
        typed("count", 5),
        typed("port", "80/tcp"),
        typed("address", "10.0.0.1"),
        typed("subnet", "10.0.0.0/8"),
        typed("timespan", "5s"),
        typed("enum-value", "Notice::LOG"),
        [typed("count", 1), 1],
    ]
    expected = Vector(
        [
            Count(5),
            Port(80, 1),
            Address.parse("10.0.0.1"),
            Subnet.parse("10.0.0.0/8"),
            Timespan(5 * 10**9),
            EnumValue("Notice::LOG"),
            Vector([Count(1), 1]),
        ]
    )
    assert is_same(parse(topic="t", event="e", args=args)[1].args, expected)


@given(values)
def test_any_value_arrives_as_it_is(value: Value) -> None:
    """Of every type, however nested, bytes that are no UTF-8 included."""
    try:
        text = encode_json(value)
    except LocalProtocolError:
        assume(False)
    message = parse_publication(b'{"topic":"t","event":"e","args":[' + text + b"]}").message
    event = decode_message(message)
    assert isinstance(event, Event)
    assert is_same(event.args[0], value)


DEEP: Any = []
for _ in range(101):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("body", "where", "what"),
    [
        (b"", "", "not JSON"),
        (b"\xff", "", "not JSON"),
        (b"[" * 100_000, "", "too deep"),
        ([], "", "an object"),
        ({"topic": "t"}, "", "either event or print"),
        ({"topic": "t", "event": "e", "print": "p"}, "", "either event or print"),
        ({"event": "e"}, "topic", "missing"),
        ({"topic": "", "event": "e"}, "topic", "must not be empty"),
        ({"topic": 5, "event": "e"}, "topic", "a text"),
        ({"topic": "\ud800", "event": "e"}, "topic", "half a character"),
        ({"topic": "t", "event": ""}, "event", "must not be empty"),
        ({"topic": "t", "event": "\ud800"}, "event", "half a character"),
        ({"topic": "t", "print": 5}, "print", "a text"),
        ({"topic": "t", "print": "p", "args": []}, "args", "has none"),
        ({"topic": "t", "event": "e", "arg": []}, "arg", "unknown"),
        ({"topic": "t", "event": "e", "args": {}}, "args", "an array"),
        ({"topic": "t", "event": "e", "via": "broker"}, "via", "an array of texts"),
        ({"topic": "t", "event": "e", "via": [5]}, "via", "an array of texts"),
        ({"topic": "t", "event": "e", "args": [1, typed("count", -1)]}, "args[1]", "out of range"),
        ({"topic": "t", "event": "e", "args": [typed("color", "red")]}, "args[0]", "unknown type"),
        ({"topic": "t", "event": "e", "args": [[typed("addr", "x")]]}, "args[0]", "unknown type"),
        ({"topic": "t", "event": "e", "args": [1 << 63]}, "args[0]", "64 bits"),
        ({"topic": "t", "event": "e", "args": ["\ud800"]}, "args[0]", "surrogates"),
        ({"topic": "t", "event": "e", "args": [DEEP]}, "args[0]", "too deep"),
        ({"topic": "t", "event": "e", "args": [DEEP[0][0][0]]}, "args", "too deep"),
    ],
)
def test_each_mistake_is_told_with_its_place(body: Any, where: str, what: str) -> None:
    """Nothing of it is published."""
    with pytest.raises(BadInputError, match=what) as caught:
        parse_publication(body if isinstance(body, bytes) else json.dumps(body).encode())
    assert caught.value.where == where


def test_numbers_that_json_does_not_have_are_taken() -> None:
    """As Zeek's own JSON has them."""
    message = parse_publication(b'{"topic":"t","event":"e","args":[{"@data-type":"real","data":inf}]}').message
    event = decode_message(message)
    assert isinstance(event, Event)
    assert event.args[0] == math.inf


async def test_what_is_published_is_said(tmp_path: Path) -> None:
    """202 and the number of peers; the message itself is with the endpoint then."""
    bench = Bench(tmp_path)
    bench.publisher.peers = 3
    async with bench.serving():
        response = await bench.post({"topic": "zeek/event/x", "event": "My::event", "args": [typed("count", 5)]})
        await bench.post({"topic": "bro/print/x", "print": "hello"})
    assert (response.status, response.json) == (202, {"peers": 3})
    assert response.headers["content-type"] == "application/json"
    [(topic, event), (other, text)] = bench.publisher.published
    assert (topic, decode_message(event)) == ("zeek/event/x", Event.make("My::event", Count(5)))
    assert (other, decode(text)) == ("bro/print/x", b"hello")


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        ("no_peer", 409),
        ("no_subscriber", 409),
        ("not_allowed", 403),
        ("bad_topic", 400),
        ("too_large", 413),
        ("something_new", 409),
    ],
)
async def test_a_refusal_has_its_reason_and_status(tmp_path: Path, reason: str, status: int) -> None:
    """For programs by a word, for people by a sentence."""
    bench = Bench(tmp_path)
    bench.publisher.refusal = reason
    async with bench.serving():
        response = await bench.post({"topic": "t", "print": "x"})
    assert response.status == response.json["status"] == status
    assert response.headers["content-type"] == "application/problem+json"
    assert (response.json["reason"], bool(response.json["detail"])) == (reason, True)


async def test_without_an_endpoint_nothing_can_be_published(tmp_path: Path) -> None:
    """Or with one that a reload took away."""
    bench = Bench(tmp_path)
    bench.outlet.close("broker")
    async with bench.serving():
        response = await bench.post({"topic": "t", "print": "x"})
    assert (response.status, response.json["reason"]) == (409, "no_broker")


async def test_bad_input_is_told_with_its_place(tmp_path: Path) -> None:
    """Status 400."""
    bench = Bench(tmp_path)
    async with bench.serving():
        response = await bench.post({"topic": "t", "event": "e", "args": [typed("port", "x")]})
    assert (response.status, response.json["where"]) == (400, "args[0]")
    assert "port" in response.json["detail"]
    assert bench.publisher.published == []


def test_who_publishes_may_choose_the_doors() -> None:
    """As globs over their names."""
    publication = parse_publication(b'{"topic":"t","print":"x","via":["broker","websocket.*"]}')
    assert publication.via == ("broker", "websocket.*")
