"""Members that the sink adds: there once, first, and nothing else changes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.model import LogBatch
from appliance.sinks.fields import AddedMembers, write_ts
from appliance.sinks.times import renderer_for
from appliance.zeek.json_lines import JsonLineRenderer, JsonStyle, TimeFormat
from appliance.zeek.json_string import quote
from appliance.zeek.schema import LogSchema
from tests.sinks.harness import WALL_NS, batch
from tests.zeek.golden import oracle, oracle_paths

ALL = ("_path", "_node", "_write_ts")
NOW_NS = WALL_NS + 123_456_789
TS = "1700000000.123456"
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
names = st.sampled_from([*ALL, "a", "path", "_", "_path_", "{}"]) | texts
values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts | st.sampled_from(['"_path":', "{}", '{"_node":1}', "_path"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=2),
    max_leaves=4,
)


@st.composite
def rows(draw: st.DrawFn) -> str:
    """JSON objects on one line, in many spellings."""
    members = draw(st.dictionaries(names, values, max_size=3))
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,", " :")]))
    text = json.dumps(members, ensure_ascii=draw(st.booleans()), separators=separators)
    if draw(st.booleans()):
        text = text.replace("_node", r"\u005fn\u006Fde")
    space = draw(st.sampled_from(["", " ", "\t\r"]))
    return f"{space}{{{space}{text[1:]}{space}"


def added(item: LogBatch, names: tuple[str, ...] = ALL, time_format: str = "epoch") -> list[str]:
    data = AddedMembers(names, time_format).add(item, item.data, NOW_NS)
    assert data.endswith(b"\n")
    return data.decode().split("\n")[:-1]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ('{"a":1}', '{"_path":"conn","_node":"w1","_write_ts":%s,"a":1}'),
        ("{}", '{"_path":"conn","_node":"w1","_write_ts":%s}'),
        ("{ }", '{"_path":"conn","_node":"w1","_write_ts":%s }'),
        (' { "a":1}', ' {"_path":"conn","_node":"w1","_write_ts":%s, "a":1}'),
        ('{"a":1,"_path":"x"}', '{"_node":"w1","_write_ts":%s,"a":1,"_path":"x"}'),
        ('{"_path" : "x"}', '{"_node":"w1","_write_ts":%s,"_path" : "x"}'),
        (r'{"\u005fpath":1}', r'{"_node":"w1","_write_ts":%s,"\u005fpath":1}'),
        ('{"a":"_path"}', '{"_path":"conn","_node":"w1","_write_ts":%s,"a":"_path"}'),
        ('{"a":{"_path":1}}', '{"_path":"conn","_node":"w1","_write_ts":%s,"a":{"_path":1}}'),
        (r'{"a":"\"_path\":1"}', r'{"_path":"conn","_node":"w1","_write_ts":%s,"a":"\"_path\":1"}'),
        ('{"_write_ts":1,"_node":2,"_path":3}', '{"_write_ts":1,"_node":2,"_path":3}'),
        (r'{"a":"\ud800","_path":1}', r'{"_node":"w1","_write_ts":%s,"a":"\ud800","_path":1}'),
    ],
)
def test_rows(row: str, expected: str) -> None:
    """A row by itself and among others has the members once, in this order, and first."""
    wanted = expected.replace("%s", TS)
    assert added(batch(row, node="w1")) == [wanted]
    usual = '{"_path":"conn","_node":"w1","_write_ts":' + TS + ',"b":2}'
    assert added(batch('{"b":2}', row, '{"b":2}', node="w1")) == [usual, wanted, usual]


@given(st.lists(rows(), min_size=1, max_size=4), st.lists(st.sampled_from(ALL), unique=True, min_size=1), texts)
def test_every_row_has_every_member_once_and_keeps_its_own(given_rows: list[str], wanted: list[str], path: str) -> None:
    """Whatever the rows hold and however they are written."""
    result = added(batch(*given_rows, path=path), tuple(wanted))
    for row, before in zip(result, given_rows, strict=True):
        pairs = json.loads(row, object_pairs_hook=list)
        mine = {"_path": json.loads(quote(path.encode())), "_node": "", "_write_ts": float(TS)}
        old = json.loads(before, object_pairs_hook=list)
        new = [(name, mine[name]) for name in ALL if name in wanted and name not in dict(old)]
        assert pairs == new + old


@pytest.mark.parametrize("path", oracle_paths())
@pytest.mark.parametrize("style", ["epoch", "iso8601", "millis"])
def test_zeeks_rows_are_written_as_the_transcoder_writes_them(path: str, style: str) -> None:
    """The usual case: all rows of a log, by one replacement."""
    lines = oracle(path)
    item = LogBatch(path=path, source="s", node="worker-1", data=b"\n".join(lines) + b"\n", count=len(lines))
    start = f'{{"_path":"{path}","_node":"worker-1","_write_ts":'.encode() + renderer_for(style)(write_ts(NOW_NS))
    expected = b"".join(start + b"," + line[1:] + b"\n" for line in lines)
    assert AddedMembers(ALL, style).add(item, item.data, NOW_NS) == expected


@pytest.mark.parametrize("text", ["é", 'a"\\b', "\x01", "a\udc80b", "\ud800", "🐧"])
def test_names_are_quoted_as_zeek_quotes(text: str) -> None:
    """Paths and nodes come from the network."""
    row = added(batch("{}", path=text, node=text))[0]
    assert set(json.loads(row)) == set(ALL)


def test_write_ts_is_what_the_line_renderer_writes() -> None:
    """One form of a time for all that write it."""
    schema = LogSchema(stream="", writer="", filter="", path="conn", fields=())
    for style in ("epoch", "iso8601", "millis"):
        renderer = JsonLineRenderer(
            schema, JsonStyle(add_fields=frozenset({"_write_ts"}), time_format=TimeFormat(style))
        )
        assert added(batch("{}"), ("_write_ts",), style) == [renderer.line((), write_ts=write_ts(NOW_NS)).decode()]
