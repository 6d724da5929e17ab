"""Arguments as people type them, and what they stand for."""

from __future__ import annotations

import json

import pytest

from appliance.cli.literals import TYPES, parse_literal
from appliance.cli.subscribe import render_value
from appliance.zeek.json_values import encode_json, value_from_object
from appliance.zeek.values import (
    Address,
    Count,
    EnumValue,
    Port,
    Subnet,
    Timespan,
    Timestamp,
    Value,
    is_same,
)

S = 10**9


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", Count(5)),
        ("0", Count(0)),
        ("18446744073709551615", Count((1 << 64) - 1)),
        ("+5", 5),
        ("-5", -5),
        ("1.5", 1.5),
        ("-1.5e3", -1500.0),
        ("1e3", 1000.0),
        ("T", True),
        ("F", False),
        ("80/tcp", Port(80, 1)),
        ("53/udp", Port(53, 2)),
        ("8/icmp", Port(8, 3)),
        ("0/unknown", Port(0, 0)),
        ("10.0.0.1", Address.parse("10.0.0.1")),
        ("2001:db8::1", Address.parse("2001:db8::1")),
        ("::", Address.parse("::")),
        ("10.0.0.0/8", Subnet.parse("10.0.0.0/8")),
        ("2001:db8::/32", Subnet.parse("2001:db8::/32")),
        ("5s", Timespan(5 * S)),
        ("10min", Timespan(600 * S)),
        ("1.5 hrs", Timespan(5400 * S)),
        ("-3 msec", Timespan(-3_000_000)),
        ("2 days", Timespan(172_800 * S)),
        ("", b""),
        ("hello", b"hello"),
        ("t", b"t"),
        ("true", b"true"),
        ("5x", b"5x"),
        ("1.2.3.4.5", b"1.2.3.4.5"),
        ("300.0.0.1", b"300.0.0.1"),
        ("10.0.0.0/33", b"10.0.0.0/33"),
        ("80/sctp", b"80/sctp"),
        (".5", b".5"),
        ("http://x", b"http://x"),
        ("é\udcff", b"\xc3\xa9\xff"),
        ("٥", "٥".encode()),
        ("count:5", Count(5)),
        ("int:5", 5),
        ("int:-5", -5),
        ("double:5", 5.0),
        ("double:-1.5", -1.5),
        ("bool:true", True),
        ("bool:F", False),
        ("string:5", b"5"),
        ("string:", b""),
        ("string:count:5", b"count:5"),
        ("addr:::1", Address.parse("::1")),
        ("subnet:10.1.0.0/16", Subnet.parse("10.1.0.0/16")),
        ("port:80/tcp", Port(80, 1)),
        ("enum:Notice::LOG", EnumValue("Notice::LOG")),
        ("time:1.5", Timestamp(1_500_000_000)),
        ("time:1700000000.123456789", Timestamp(1_700_000_000_123_456_789)),
        ("time:1970-01-01T00:00:02Z", Timestamp(2 * S)),
        ("interval:0s", Timespan(0)),
        ("json:" + json.dumps({"@data-type": "count", "data": 5}), Count(5)),
    ],
)
def test_what_it_looks_like_is_what_it_is(text: str, value: Value) -> None:
    """Or what stands before the colon."""
    sent = json.dumps(parse_literal(text))
    assert is_same(value_from_object(json.loads(sent)), value)


@pytest.mark.parametrize(
    "text",
    [
        "18446744073709551616",
        "-9223372036854775809",
        "65536/tcp",
        "999999/tcp",
        "1e999",
        "count:-1",
        "count:x",
        "count:",
        "int:+-5",
        "int:1.5",
        "double:x",
        "double:inf",
        "bool:yes",
        "addr:x",
        "subnet:10.0.0.0",
        "port:80",
        "enum:",
        "time:now",
        "time:1e400",
        "time:99999999999999999999",
        "interval:5",
        "interval:5 years",
        "interval:9999999999999 days",
        "json:{",
        "٥/tcp".replace("٥", "99999"),
    ],
)
def test_what_does_not_fit_its_type_is_refused(text: str) -> None:
    """Rather than sent as a string that no handler would take."""
    with pytest.raises(ValueError, match=r".+"):
        parse_literal(text)


def test_every_type_is_told_in_the_help() -> None:
    """The list there is the list here."""
    from appliance.cli.parser import LITERALS

    assert all(f"{kind}:" in LITERALS for kind in TYPES)


@pytest.mark.parametrize(
    "text", ["5", "+5", "-5", "1.5", "T", "80/tcp", "10.0.0.1", "2001:db8::1", "10.0.0.0/8", "5s", "-1500ms", "600s"]
)
def test_what_is_shown_can_be_typed(text: str) -> None:
    """Values are shown as they are written."""
    value = value_from_object(parse_literal(text))
    assert render_value(json.loads(encode_json(value))) == text
