"""Broker's values as JSON."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import LocalProtocolError, RemoteProtocolError
from appliance.zeek.address import Address, Port, Subnet
from appliance.zeek.json_text import dump_string, load
from appliance.zeek.json_values import decode_json, encode_json, render_members, value_from_object
from appliance.zeek.messages import Event, parse_message
from appliance.zeek.values import (
    Count,
    EnumValue,
    Set,
    Table,
    Timespan,
    Timestamp,
    Value,
    Vector,
    is_same,
)
from tests.zeek.golden import websocket_texts
from tests.zeek.strategies import values

SECOND = 10**9


def text(kind: str, data: str) -> bytes:
    return f'{{"@data-type":"{kind}","data":{data}}}'.encode()


BOTH_WAYS: list[tuple[Value, str, str]] = [
    (None, "none", "{}"),
    (True, "boolean", "true"),
    (False, "boolean", "false"),
    (Count(42), "count", "42"),
    (Count(2**64 - 1), "count", "18446744073709551615"),
    (-7, "integer", "-7"),
    (1.0, "real", "1.0"),
    (-7.5, "real", "-7.5"),
    (1e300, "real", "1e+300"),
    (b"", "string", '""'),
    ("h\u00e9".encode(), "string", '"h\u00e9"'),
    (b'\\ " \b \f \n \r \t /', "string", r'"\\ \" \b \f \n \r \t /"'),
    (b"\x01\x0b\x7f", "string", '"\\u0001\\u000b\x7f"'),
    (EnumValue("Conn::LOG"), "enum-value", '"Conn::LOG"'),
    (Address.parse("192.168.9.8"), "address", '"192.168.9.8"'),
    (Address.parse("2001:db8::1"), "address", '"2001:db8::1"'),
    (Subnet.parse("10.1.0.0/16"), "subnet", '"10.1.0.0/16"'),
    (Subnet.parse("2001:db8::/32"), "subnet", '"2001:db8::/32"'),
    (Port(80, 1), "port", '"80/tcp"'),
    (Port(53, 2), "port", '"53/udp"'),
    (Port(8, 3), "port", '"8/icmp"'),
    (Port(0, 0), "port", '"0/?"'),
    (Timestamp(1_649_574_000 * SECOND), "timestamp", '"2022-04-10T07:00:00.000"'),
    (Timestamp(-1), "timestamp", '"1969-12-31T23:59:59.999999999"'),
    (Timestamp(1_500_000), "timestamp", '"1970-01-01T00:00:00.001500"'),
    (Timespan(0), "timespan", '"0s"'),
    (Timespan(-1500 * 10**6), "timespan", '"-1500ms"'),
    (Timespan(90 * SECOND), "timespan", '"90s"'),
    (Timespan(1), "timespan", '"1ns"'),
    (Timespan(7000), "timespan", '"7us"'),
    (Vector([Count(1)]), "vector", '[{"@data-type":"count","data":1}]'),
    (Vector(), "vector", "[]"),
    (Set([1]), "set", '[{"@data-type":"integer","data":1}]'),
    (
        Table([(1, True)]),
        "table",
        '[{"key":{"@data-type":"integer","data":1},"value":{"@data-type":"boolean","data":true}}]',
    ),
]


@pytest.mark.parametrize(("value", "kind", "data"), BOTH_WAYS, ids=lambda item: repr(item)[:40])
def test_values(value: Value, kind: str, data: str) -> None:
    """Both directions, with the exact type."""
    assert encode_json(value) == text(kind, data)
    decoded = decode_json(text(kind, data))
    assert type(decoded) is type(value)
    assert is_same(decoded, value)
    assert b"{" + render_members(value) + b"}" == encode_json(value)


@pytest.mark.parametrize(
    ("kind", "data", "value"),
    [
        ("none", "17", None),
        ("real", "1e3", 1000.0),
        ("real", "3.250000", 3.25),
        ("real", "inf", math.inf),
        ("real", "-inf", -math.inf),
        ("string", r'"\/\u00e9\ud83d\ude00"', "/\u00e9\U0001f600".encode()),
        ("string", '"\\v\\\\v"', b"\x0b\\v"),
        ("string", '"a\x00\x01\nb"', b"a\x00\x01\nb"),
        ("string", '"inf [[ nan"', b"inf [[ nan"),
        ("address", '"::ffff:1.2.3.4"', Address.parse("1.2.3.4")),
        ("subnet", '"10.1.2.3/8"', Subnet.parse("10.0.0.0/8")),
        ("port", '"80"', Port(80, 1)),
        ("port", '"80/sctp"', Port(80, 0)),
        ("timestamp", '"2022-04-10T07:00:00"', Timestamp(1_649_574_000 * SECOND)),
        ("timestamp", '"2022-04-10T07:00:00Z"', Timestamp(1_649_574_000 * SECOND)),
        ("timestamp", '"2022-04-10T09:30:00.5+02:30"', Timestamp(1_649_574_000 * SECOND + SECOND // 2)),
        ("timestamp", '"2022-04-10T02:00:00-05"', Timestamp(1_649_574_000 * SECOND)),
        ("timespan", '"1.5s"', Timespan(1500 * 10**6)),
        ("timespan", '"-3s"', Timespan(-3 * SECOND)),
        ("timespan", '"+2min"', Timespan(120 * SECOND)),
        ("timespan", '"1h"', Timespan(3600 * SECOND)),
        ("timespan", '"1.5ns"', Timespan(1)),
    ],
)
def test_other_spellings_are_read(kind: str, data: str, value: Value) -> None:
    """What clients may write and what servers print against JSON's rules."""
    assert is_same(decode_json(text(kind, data)), value)


def test_strings_that_are_not_utf8() -> None:
    """Bytes survive, raw in the text as Zeek sends them."""
    data = bytes(range(256))
    encoded = encode_json(Vector([data, EnumValue("\udcff")]))
    assert b"\xff" in encoded
    assert decode_json(encoded) == Vector([data, EnumValue("\udcff")])
    assert dump_string(b"\xc3\xa9").decode() == '"\u00e9"'


@settings(deadline=None)
@given(values)
def test_values_survive(value: Value) -> None:
    """What is written is read again with nothing lost; only JSON has no infinity."""
    try:
        encoded = encode_json(value)
    except LocalProtocolError:
        assert "inf" in repr(value)
        return
    assert is_same(decode_json(encoded), value)
    json.loads(encoded.decode("utf-8", "replace"))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b'{"@data-type":"count"}',
        b'{"data":1}',
        b'{"@data-type":1,"data":1}',
        b'{"@data-type":["count"],"data":1}',
        b'{"@data-type":"counts","data":1}',
        b'{"@data-type":"count","data":1} x',
        b'{"@data-type":"string","data":"x}',
        b'{"@data-type":"string","data":"x\\"}',
        text("boolean", "1"),
        text("count", "-1"),
        text("count", "18446744073709551616"),
        text("count", "1.0"),
        text("count", "true"),
        text("count", '"1"'),
        text("count", "9" * 5000),
        text("integer", "9223372036854775808"),
        text("integer", "1.5"),
        text("real", "1"),
        text("real", '"1.0"'),
        text("string", "1"),
        text("string", r'"\ud800"'),
        text("string", r'"\x41"'),
        text("enum-value", "[]"),
        text("address", '"1.2.3"'),
        text("address", "1"),
        text("subnet", '"1.2.3.4"'),
        text("subnet", '"1.2.3.4/33"'),
        text("port", '"65536/tcp"'),
        text("port", '"x/tcp"'),
        text("port", '"\u0661/tcp"'),
        text("port", "80"),
        text("timestamp", '"2022-13-10T07:00:00"'),
        text("timestamp", '"2022-02-30T07:00:00"'),
        text("timestamp", '"2022-04-10T24:00:00"'),
        text("timestamp", '"2022-04-10T07:00:00.0000000001"'),
        text("timestamp", '"2022-04-10"'),
        text("timestamp", '"0000-01-01T00:00:00"'),
        text("timestamp", '"9999-01-01T00:00:00"'),
        text("timestamp", "1"),
        text("timespan", '"1d"'),
        text("timespan", '"1"'),
        text("timespan", '"9223372036854775808ns"'),
        text("timespan", '"99999999999999999h"'),
        text("vector", "{}"),
        text("vector", "[1]"),
        text("set", '[{"@data-type":"count","data":1},{"@data-type":"count","data":1}]'),
        text("table", "[[1,2]]"),
        text("table", '[{"key":{"@data-type":"count","data":1}}]'),
        text("table", '[{"value":{"@data-type":"count","data":1}}]'),
    ],
    ids=lambda data: repr(data[:60]),
)
def test_bad_values_are_refused(data: bytes) -> None:
    """Each mistake has the same error."""
    with pytest.raises(RemoteProtocolError, match="JSON"):
        decode_json(data)


@pytest.mark.parametrize(
    "value",
    [math.inf, -math.inf, math.nan, Count(-1), 2**63, Port(1, 9), Port(-1, 1), Timestamp(2**63), Timespan(-(2**64))],
)
def test_impossible_values_are_ours_to_avoid(value: Value) -> None:
    """What JSON or Broker cannot hold is not written."""
    with pytest.raises(LocalProtocolError, match="JSON cannot hold"):
        encode_json(value)


@pytest.mark.parametrize("value", ["text", [1], EnumValue("\ud800"), Vector(["x"]), Address(b"1")])  # type: ignore[list-item]
def test_what_is_no_value_is_ours_to_avoid(value: Value) -> None:
    """Nor are other Python values."""
    with pytest.raises(LocalProtocolError, match="JSON cannot hold"):
        encode_json(value)


def test_depth_is_limited() -> None:
    """A hundred tables within each other are fine, more or endless brackets are not."""
    nested: Value = 1
    for _ in range(100):
        nested = Table([(1, nested)])
    assert is_same(decode_json(encode_json(nested)), nested)
    with pytest.raises(LocalProtocolError, match="deep"):
        encode_json(Vector([nested]))
    flat = b"1"
    for _ in range(101):
        flat = text("vector", f"[{flat.decode()}]")
    for bomb in (flat, b"[" * 1_000_000, b'{"data":' * 1_000_000, b"[" * 321 + b"]" * 321):
        with pytest.raises(RemoteProtocolError, match=r"JSON"):
            decode_json(bomb)


def test_unfinished_strings_take_no_time() -> None:
    """Quotation marks without end do not make the parser search again and again."""
    for bomb in (b'"' + b'\\"' * 1_000_000, b'"' + b"\\" * 1_000_001, b'"\\v' * 300_000):
        with pytest.raises(RemoteProtocolError, match="not JSON"):
            load(bomb)


@settings(deadline=None)
@given(st.binary(max_size=60) | st.text(alphabet='{}[]":,\\vinfa01.e-', max_size=40).map(str.encode))
def test_garbage_raises_one_error(data: bytes) -> None:
    """Any bytes are a value or a `RemoteProtocolError`."""
    for attempt in (data, text("string", "") + data, b'{"@data-type":"vector","data":' + data):
        with pytest.raises(RemoteProtocolError):
            decode_json(attempt + b"}")


def test_messages_of_zeeks_websocket_server() -> None:
    """Zeek's own messages are read, raw bytes and all, and read the same from our text."""
    events: list[Event] = []
    for direction, raw in websocket_texts():
        if direction == "s2c" and b'"data-message"' in raw:
            value = value_from_object(load(raw))
            assert decode_json(encode_json(value)) == value
            event = parse_message(value)
            assert isinstance(event, Event)
            events.append(event)
    assert [event.name for event in events] == ["Interop::pong", "Interop::all_types"] * 3
    assert events[1].args[6] == b"h\xc3\xa9llo \xff\x00 end"
    assert events[2].args[1] == b'h\xc3\xa9llo \x01 \\ " /'
