"""Everyday Python objects to Broker's values, and those to plain data."""

from __future__ import annotations

import enum
import json
import math
from collections import OrderedDict
from datetime import UTC, date, datetime, timedelta, timezone
from ipaddress import ip_address, ip_interface, ip_network
from types import MappingProxyType
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.zeek.binary import decode, encode
from appliance.zeek.convert import to_plain, to_text, to_value
from appliance.zeek.values import (
    Address,
    Count,
    EnumValue,
    Port,
    Set,
    Subnet,
    Table,
    Timespan,
    Timestamp,
    Value,
    Vector,
    is_same,
)
from tests.zeek.strategies import values

S = 10**9
MINUTE_EAST = timezone(timedelta(minutes=1))


class Shade(enum.IntEnum):
    DARK = 1


class Wide(int):
    pass


IN: list[tuple[object, Value]] = [
    (None, None),
    (True, True),
    (7, 7),
    (Wide(7), 7),
    (-(1 << 63), -(1 << 63)),
    (1.5, 1.5),
    ("ä\udcff", b"\xc3\xa4\xff"),
    (bytearray(b"x"), b"x"),
    (datetime(2001, 9, 9, 1, 47, 40, tzinfo=MINUTE_EAST), Timestamp(1_000_000_000 * S)),
    (datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), Timestamp(-1000)),
    (timedelta(seconds=-1), Timespan(-S)),
    (ip_address("10.0.0.1"), Address.parse("10.0.0.1")),
    (ip_address("2001:db8::1"), Address.parse("2001:db8::1")),
    (ip_address("::ffff:10.0.0.1"), Address.parse("10.0.0.1")),
    (ip_network("10.0.0.0/8"), Subnet.parse("10.0.0.0/8")),
    (ip_network("2001:db8::/32"), Subnet.parse("2001:db8::/32")),
    ([1, (2,)], Vector([1, Vector([2])])),
    ({3, 1, 2}, Set([1, 2, 3])),
    (frozenset({"a"}), Set([b"a"])),
    ({(1, "a"): None}, Table([(Vector([1, b"a"]), None)])),
    (OrderedDict(a=[]), Table([(b"a", Vector())])),
    (MappingProxyType({}), Table()),
]

BAD: list[tuple[object, type[Exception], str]] = [
    (1 << 63, ValueError, "no room in 64 bits"),
    (datetime(2001, 1, 1), ValueError, "has no time zone"),
    (datetime(9999, 1, 1, tzinfo=UTC), ValueError, "no room in 64 bits"),
    (timedelta.max, ValueError, "no room in 64 bits"),
    (date(2001, 1, 1), TypeError, "Broker has no type for a datetime.date"),
    (ip_interface("10.0.0.1/8"), TypeError, "its ip or its network"),
    (ip_address("fe80::1%eth0"), ValueError, "has a zone"),
    ("\ud800", ValueError, "surrogates"),
    ({"a", b"a"}, ValueError, "twice"),
    ({"a": 1, b"a": 2}, ValueError, "twice"),
    (Shade.DARK, TypeError, "is ambiguous"),
    (1j, TypeError, "Broker has no type for a complex"),
    ([object()], TypeError, "Broker has no type for a object"),
    (range(3), TypeError, "Broker has no type for a range"),
]


@pytest.mark.parametrize(("thing", "value"), IN, ids=lambda each: repr(each)[:40])
def test_everyday_objects_have_one_meaning(thing: object, value: Value) -> None:
    """Of the exact type, so that a true is no integer and a subclass of int is one."""
    assert is_same(to_value(thing), value)


@pytest.mark.parametrize(("thing", "error", "told"), BAD, ids=range(len(BAD)))
def test_what_has_no_meaning_is_refused(thing: object, error: type[Exception], told: str) -> None:
    """A type that Broker does not have, or a value that it does not."""
    with pytest.raises(error, match=told):
        to_value(thing)


def test_what_contains_itself_is_refused() -> None:
    """So is what is nested deeper than a message may be."""
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(ValueError, match="nested too deep"):
        to_value(endless)


@given(values)
def test_values_are_taken_as_they_are(value: Value) -> None:
    """Whatever they hold."""
    assert is_same(to_value(value), value)


everyday = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1) | st.floats(allow_subnormal=False)
    | st.text() | st.binary() | st.ip_addresses() | st.timedeltas(timedelta(-99_999), timedelta(99_999))
    | st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.integers(0, 9) | st.text(), inner, max_size=4)
    | st.sets(st.integers(0, 99)),
    max_leaves=8,
)  # fmt: skip


@settings(deadline=None)
@given(everyday)
def test_everyday_objects_can_be_sent(thing: object) -> None:
    """What is converted is encoded, and comes back as the same value."""
    value = to_value(thing)
    assert is_same(decode(encode(value)), value)


OUT: list[tuple[Value, Any]] = [
    (None, None),
    (True, True),
    (Count((1 << 64) - 1), (1 << 64) - 1),
    (-7, -7),
    (1.5, 1.5),
    (b"\xc3\xa4\xff\n", "ä\\xff\n"),
    (Address.parse("2001:db8::1"), "2001:db8::1"),
    (Subnet.parse("10.0.0.0/8"), "10.0.0.0/8"),
    (Port(80, 1), 80),
    (Timestamp(1_500_000_000), 1.5),
    (Timespan(-500_000_000), -0.5),
    (EnumValue("Notice::ACTION_LOG"), "Notice::ACTION_LOG"),
    (EnumValue("\udcff"), "\\xff"),
    (Set([Count(2), Count(1)]), [2, 1]),
    (Vector([b"a", Vector()]), ["a", []]),
    (Table([(b"a", Count(1)), (Count(2), None)]), {"a": 1, "2": None}),
    (Table([(Vector([b"a", Count(1)]), b"x"), (None, b"y"), (True, b"z")]), {'["a",1]': "x", "null": "y", "true": "z"}),
    (Table([(b"1", b"x"), (Count(1), b"y")]), {"1": "y"}),
]


@pytest.mark.parametrize(("value", "plain"), OUT, ids=lambda each: repr(each)[:40])
def test_plain_data_reads_as_in_a_log(value: Value, plain: object) -> None:
    """Of Python's own types."""
    found = to_plain(value)
    assert found == plain
    assert type(found) is type(plain)


@settings(deadline=None)
@given(values)
def test_plain_data_is_json(value: Value) -> None:
    """Whatever bytes its strings and names hold; reals of JSON are told apart by their digits."""
    plain = to_plain(value)
    text = msgspec.json.encode(plain)
    if "Infinity" not in json.dumps(plain):
        assert json.loads(text) == plain


def test_reals_may_be_infinite() -> None:
    """JSON has no such number; who writes it decides."""
    assert to_plain(math.inf) == math.inf
    assert msgspec.json.encode(to_plain(-math.inf)) == b"null"


def test_text_can_be_printed() -> None:
    """From bytes, and from names with surrogates for them."""
    assert to_text(b"\xff\xc3\xa4") == to_text("\udcffä") == "\\xffä"
