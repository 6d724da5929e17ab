"""Times in other forms: what Zeek's JSON writer makes of the same double, and nothing else changes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.sinks.times import TimeRewriter, renderer_for
from appliance.zeek.json_lines import JsonLineRenderer, JsonStyle, TimeFormat
from appliance.zeek.json_time import make_time_renderer
from appliance.zeek.records import Record
from appliance.zeek.schema import Field, LogSchema, ZeekType
from appliance.zeek.tsv import TsvReader
from tests.zeek.tsv_golden import LOGS, golden

STYLES = ("iso8601", "millis")
COLUMNS = (("ts", "time"), ("a.b", "time"), ("s", "set[time]"), ("v", "vector[time]"), ("t", "string"), ("n", "double"))
SCHEMA = LogSchema(
    stream="",
    writer="",
    filter="",
    path="x",
    fields=(
        Field("ts", None, ZeekType.TIME),
        Field("a.b", None, ZeekType.TIME),
        Field("s", None, ZeekType.TABLE, ZeekType.TIME),
        Field("v", None, ZeekType.VECTOR, ZeekType.TIME),
        Field("t", None, ZeekType.STRING),
        Field("n", None, ZeekType.DOUBLE),
    ),
)
times = st.one_of(
    st.floats(0, 4e9),
    st.integers(0, 4 * 10**15).map(lambda micros: micros / 1e6),
    st.floats(allow_nan=False, allow_infinity=False),
)
likes = st.sampled_from([b'"ts":1.5', b'{"ts":1.5}', b'","ts":1.5', b"{", b":{", b'"s":[1.0]', b"\\", b'\\"ts":1.5,'])
lists = st.none() | st.lists(st.none() | times, max_size=3).map(tuple)
records = st.tuples(
    st.none() | times, st.none() | times, lists, lists, st.binary(max_size=9) | likes, st.none() | times
)


def style_of(name: str) -> JsonStyle:
    return JsonStyle(time_format=TimeFormat(name))


def rewrite(row: str, *, style: str = "iso8601", columns: tuple[tuple[str, str], ...] = COLUMNS) -> str:
    return TimeRewriter(style).rewrite(row.encode() + b"\n", 1, columns).decode()[:-1]


@given(st.lists(records, min_size=1, max_size=4), st.sampled_from(STYLES))
def test_rows_become_what_zeek_writes(rows: list[Record], style: str) -> None:
    """Byte for byte, sets and vectors included, whatever the strings say."""
    data = JsonLineRenderer(SCHEMA).lines(rows)
    assert TimeRewriter(style).rewrite(data, len(rows), COLUMNS) == JsonLineRenderer(SCHEMA, style_of(style)).lines(
        rows
    )


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("log", LOGS)
def test_golden_logs(log: str, style: str) -> None:
    """What Zeek wrote with seconds becomes what its other formats are, every column by its type."""
    reader = TsvReader()
    reader.feed(golden(log, "log"))
    columns = tuple(zip(reader.header.names, reader.header.types, strict=True))
    data = golden(log, "json")
    lines = data.count(b"\n")
    result = TimeRewriter(style).rewrite(data, lines, columns)
    # One line by itself takes the same way as many.
    assert result == b"".join(TimeRewriter(style).rewrite(line + b"\n", 1, columns) for line in data.splitlines())
    assert result.count(b"\n") == lines
    assert (b'"ts":"20' in result) == (style == "iso8601")


@given(times, st.sampled_from(STYLES))
def test_fast_renderers_are_those_of_the_writer(value: float, style: str) -> None:
    """Memory changes nothing."""
    assert renderer_for(style)(value) == make_time_renderer(TimeFormat(style))(value)


@pytest.mark.parametrize("value", [0.0, -0.0, 0.9999999, 1.5, 999_999_999.9999999, 32_503_680_000.0, 2e18, -1.25])
@pytest.mark.parametrize("style", STYLES)
def test_renderers_at_the_edges(value: float, style: str) -> None:
    """Rounding up, years of five digits, before 1970."""
    for each in (value, math.nextafter(value, 0.0), math.nextafter(value, math.inf)):
        assert renderer_for(style)(each) == make_time_renderer(TimeFormat(style))(each)


ISO = '"2023-11-14T22:13:20.500000Z"'


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ('{"ts":1700000000.5}', f'{{"ts":{ISO}}}'),
        ('{ "ts" : 1700000000.5 , "x":1}', f'{{ "ts" : {ISO} , "x":1}}'),
        ('{"ts":17000000005e-1}', f'{{"ts":{ISO}}}'),
        ('{"ts":1700000000}', '{"ts":"2023-11-14T22:13:20.000000Z"}'),
        ('{"ts":null,"a.b":1700000000.5}', f'{{"ts":null,"a.b":{ISO}}}'),
        ('{"ts":"2023-11-14T22:13:20.5Z"}', '{"ts":"2023-11-14T22:13:20.5Z"}'),
        ('{"a.b":[1700000000.5]}', '{"a.b":[1700000000.5]}'),
        ('{"axb":1700000000.5}', '{"axb":1700000000.5}'),
        ('{"n":1700000000.5,"t":"1700000000.5"}', '{"n":1700000000.5,"t":"1700000000.5"}'),
        (r'{"t":"\"ts\":1700000000.5,"}', r'{"t":"\"ts\":1700000000.5,"}'),
        ('{"x":{"ts":1700000000.5},"ts":1700000000.5}', f'{{"x":{{"ts":1700000000.5}},"ts":{ISO}}}'),
        ('{"x":[{"ts":1700000000.5}]}', '{"x":[{"ts":1700000000.5}]}'),
        ('{"x":[ {"t":"]}"}, "ts"],"ts":1700000000.5}', f'{{"x":[ {{"t":"]}}"}}, "ts"],"ts":{ISO}}}'),
        ('{"s":[],"v":[1700000000.5, null,1700000000.5]}', f'{{"s":[],"v":[{ISO}, null,{ISO}]}}'),
        ('{"x":{"v":[1.5]},"v":[1700000000.5]}', f'{{"x":{{"v":[1.5]}},"v":[{ISO}]}}'),
        ('{"v":["1700000000.5"]}', '{"v":["1700000000.5"]}'),
        ("{}", "{}"),
    ],
)
def test_rows(row: str, expected: str) -> None:
    """Only numbers, only in the columns, only in the row's own object."""
    assert rewrite(row) == expected


def test_without_columns_only_what_is_always_a_time() -> None:
    """Whoever wrote the row."""
    row = '{"ts":1700000000.5,"_write_ts":1700000000.5,"until":1700000000.5}'
    assert rewrite(row, columns=()) == f'{{"ts":{ISO},"_write_ts":{ISO},"until":1700000000.5}}'
    assert rewrite(row, columns=(("until", "time"),)) == row[:-13] + ISO + "}"


def test_name_that_no_bytes_stand_for_is_passed_over() -> None:
    """Half a surrogate pair."""
    columns = (("\ud800", "time"), ("ts", "time"))
    assert rewrite('{"ts":1700000000.5}', style="millis", columns=columns) == '{"ts":1700000000500}'
