"""Log records as lines of JSON."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings

from appliance.errors import LocalProtocolError
from appliance.zeek.address import Address, Port, Subnet
from appliance.zeek.json_lines import ADDED_FIELDS, EscapeStyle, JsonLineRenderer, JsonStyle, TimeFormat
from appliance.zeek.records import Datum, Record
from appliance.zeek.schema import Field, LogSchema, ZeekType
from tests.zeek.strategies import logs

T = ZeekType


def schema(*fields: Field) -> LogSchema:
    return LogSchema("Test::LOG", "Log::WRITER_ASCII", "default", "test", fields)


def one(kind: ZeekType, value: Datum, style: JsonStyle | None = None, subtype: ZeekType = T.VOID) -> str:
    """The text of one value."""
    line = JsonLineRenderer(schema(Field("x", None, kind, subtype)), style).line((value,)).decode()
    assert line.startswith('{"x":')
    return line[5:-1]


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (T.BOOL, True, "true"),
        (T.BOOL, False, "false"),
        (T.INT, -5, "-5"),
        (T.COUNT, 2**64 - 1, "18446744073709551615"),
        (T.DOUBLE, 0.0, "0.0"),
        (T.DOUBLE, math.inf, "null"),
        (T.INTERVAL, 3600.0, "3600.0"),
        (T.INTERVAL, math.nan, "null"),
        (T.TIME, 1056991897.46641, "1056991897.46641"),
        (T.STRING, b"a/b\xff", r'"a/b\\xff"'),
        (T.ENUM, b"Notice::ACTION_LOG", '"Notice::ACTION_LOG"'),
        (T.FUNC, b"f", '"f"'),
        (T.FILE, b"f", '"f"'),
        (T.PORT, Port(53, 2), "53"),
        (T.ADDR, Address.parse("192.0.2.1"), '"192.0.2.1"'),
        (T.ADDR, Address.parse("2001:db8::1"), '"2001:db8::1"'),
        (T.SUBNET, Subnet.parse("10.0.0.0/8"), '"10.0.0.0/8"'),
        (T.SUBNET, Subnet.parse("2001:db8::/32"), '"2001:db8::/32"'),
    ],
)
def test_atomic_values(kind: ZeekType, value: Datum, text: str) -> None:
    """Each type as Zeek writes it."""
    assert one(kind, value) == text


@pytest.mark.parametrize("kind", [T.TABLE, T.VECTOR])
def test_containers(kind: ZeekType) -> None:
    """Sets and vectors are arrays in the order of the sender; what is unset in them is null."""
    assert one(kind, (), subtype=T.COUNT) == "[]"
    assert one(kind, (3, None, 1), subtype=T.COUNT) == "[3,null,1]"
    assert one(kind, (b"b", b"a"), subtype=T.STRING) == '["b","a"]'
    assert one(kind, (math.nan, 1.0), subtype=T.INTERVAL) == "[null,1.0]"


def test_times_have_the_format_in_containers_too() -> None:
    """The format is for every time and for nothing else."""
    style = JsonStyle(time_format=TimeFormat.MILLIS)
    assert one(T.VECTOR, (1.5,), style, T.TIME) == "[1500]"
    assert one(T.INTERVAL, 1.5, style) == "1.5"
    assert one(T.TIME, -1.5, JsonStyle(time_format=TimeFormat.MILLIS_UNSIGNED)) == str(2**64 - 1500)
    assert one(T.TIME, 1.5, JsonStyle(time_format=TimeFormat.ISO8601)) == '"1970-01-01T00:00:01.500000Z"'


def test_escapes() -> None:
    """The style is for strings; enums, functions and files never get private characters."""
    assert one(T.STRING, b"\x01", JsonStyle(escapes=EscapeStyle.CONTROLS)) == r'"\u0001"'
    assert one(T.ENUM, b"\x01", JsonStyle(escapes=EscapeStyle.CONTROLS)) == r'"\u0001"'
    assert one(T.STRING, b"\x01", JsonStyle(escapes=EscapeStyle.PRIVATE)) == r'"\udb80\udc01"'
    assert one(T.ENUM, b"\x01", JsonStyle(escapes=EscapeStyle.PRIVATE)) == r'"\\x01"'


FIELDS = (Field("ts", None, T.TIME), Field("a.b", None, T.STRING), Field("n", None, T.COUNT))


def test_unset_columns_are_left_out() -> None:
    """Unless they are asked for."""
    renderer = JsonLineRenderer(schema(*FIELDS))
    assert renderer.line((1.0, None, 2)) == b'{"ts":1.0,"n":2}'
    assert renderer.line((None, None, None)) == b"{}"
    full = JsonLineRenderer(schema(*FIELDS), JsonStyle(unset_fields_included=True))
    assert full.line((1.0, None, None)) == b'{"ts":1.0,"a.b":null,"n":null}'


def test_added_fields_come_first() -> None:
    """In one order, whatever was asked for; a column of the same name stays the only one."""
    style = JsonStyle(add_fields=frozenset(ADDED_FIELDS), time_format=TimeFormat.ISO8601)
    line = JsonLineRenderer(schema(FIELDS[2]), style).line((1,), node="w\xe9-1", write_ts=1.5)
    assert line.decode() == '{"_path":"test","_node":"w\xe9-1","_write_ts":"1970-01-01T00:00:01.500000Z","n":1}'
    only = JsonLineRenderer(schema(FIELDS[2]), JsonStyle(add_fields=frozenset(["_node"])))
    assert only.line((None,), node="n") == b'{"_node":"n"}'
    taken = JsonLineRenderer(schema(Field("_path", None, T.STRING)), JsonStyle(add_fields=frozenset(["_path"])))
    assert taken.line((b"mine",)) == b'{"_path":"mine"}'
    with pytest.raises(LocalProtocolError, match="no field '_nod' to add"):
        JsonLineRenderer(schema(FIELDS[2]), JsonStyle(add_fields=frozenset(["_nod"])))


def test_lines() -> None:
    """Several records are as many lines."""
    renderer = JsonLineRenderer(schema(*FIELDS))
    assert renderer.lines([(1.0, b"\n", None), (2.0, None, None)]) == b'{"ts":1.0,"a.b":"\\n"}\n{"ts":2.0}\n'
    assert renderer.lines([]) == b""


def test_names_of_columns() -> None:
    """A strange name is written as it is, as long as the line stays JSON."""
    assert JsonLineRenderer(schema(Field('"\x01\u00e9', None, T.INT))).line((1,)).decode() == '{"\\"\\u0001\u00e9":1}'
    assert JsonLineRenderer(schema(Field("\udcff", None, T.INT))).line((1,)) == rb'{"\\xff":1}'


def test_record_must_fit() -> None:
    """One value for each column, of a type that logs can have."""
    with pytest.raises(ValueError, match="zip"):
        JsonLineRenderer(schema(*FIELDS)).line((1.0,))
    with pytest.raises(LocalProtocolError, match="type that logs do not have"):
        JsonLineRenderer(schema(Field("x", None, T.RECORD)))


@settings(deadline=None)
@given(logs)
def test_every_record_is_one_line_of_json(log: tuple[LogSchema, list[Record]]) -> None:
    """Whatever a record holds, its line is a JSON object with a member for each set column."""
    renderer = JsonLineRenderer(log[0])
    for record in log[1]:
        line = renderer.line(record)
        assert b"\n" not in line
        members = json.loads(line, object_pairs_hook=list)
        assert len(members) == sum(value is not None for value in record)
