"""The transcoder against the reference in `appliance.zeek`, which knows nothing of it, on records of any shape."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import RemoteProtocolError
from appliance.native import EscapePolicy, ExtraMembers, LogColumn, TimeFormat, Transcoder, TypeNumbers, WriteSchema
from appliance.zeek import json_lines, json_time
from appliance.zeek.address import Address, Port, Subnet
from appliance.zeek.batches import decode_batch, encode_batch
from appliance.zeek.json_double import render_double
from appliance.zeek.json_lines import EscapeStyle, JsonLineRenderer, JsonStyle
from appliance.zeek.numbering import Numbering
from appliance.zeek.records import Record, RecordCodec
from appliance.zeek.schema import ATOMIC_TYPES, Field, LogSchema, ZeekType, as_text

from .test_transcode_text import bits_of_text, random_doubles, texts
from .wire import DOUBLE, message, named, vector

STYLES = {
    (time, escape, full): (
        Transcoder(
            time=TimeFormat[time.name],
            escape=EscapePolicy[escape.name],
            extras=ExtraMembers(7 * full),
            with_unset=full,
        ),
        JsonStyle(
            time_format=time,
            escapes=escape,
            unset_fields_included=full,
            add_fields=frozenset(json_lines.ADDED_FIELDS if full else ()),
        ),
    )
    for time in json_time.TimeFormat
    for escape in EscapeStyle
    for full in (False, True)
}

int64 = st.integers(-(2**63), 2**63 - 1)
uint64 = st.integers(0, 2**64 - 1) | st.sampled_from([0, 9, 10, 99, 100, 999, 1000, 9999, 10_000, 99_999, 10**18])
times = st.floats(0, 4e9) | st.integers(0, 4 * 10**15).map(lambda micros: micros / 1e6)
reals = st.floats(allow_nan=True, allow_infinity=True) | times | st.floats(-1e17, 1e17)
octets = (
    st.lists(bits_of_text, max_size=6).map(b"".join) | st.binary(max_size=30) | st.text(max_size=30).map(str.encode)
)
words = st.lists(st.sampled_from([0, 0, 0, 0xFFFF, 0x1, 0x1A2B]), min_size=8, max_size=8)
packed = st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16) | words.map(
    lambda groups: struct.pack(">8H", *groups)
)  # fmt: skip
addresses = packed.map(Address)
ATOMS: dict[ZeekType, st.SearchStrategy[Any]] = {
    ZeekType.BOOL: st.booleans(),
    ZeekType.INT: int64,
    ZeekType.COUNT: uint64,
    ZeekType.DOUBLE: reals,
    ZeekType.TIME: reals,
    ZeekType.INTERVAL: reals,
    ZeekType.STRING: octets,
    ZeekType.ENUM: octets,
    ZeekType.FUNC: octets,
    ZeekType.FILE: octets,
    ZeekType.PORT: st.builds(Port, st.integers(0, 65535), st.integers(0, 3)),
    ZeekType.ADDR: addresses,
    ZeekType.SUBNET: addresses.flatmap(
        lambda address: st.builds(Subnet, st.just(address), st.integers(0, 8 * len(address.packed)))
    ),
}
atomic = st.sampled_from(sorted(ATOMIC_TYPES))
names = st.sampled_from(["ts", "uid", "id.orig_h", "n" * 40, "_path", "_node", "_write_ts"]) | octets.map(as_text)
fields = st.lists(
    st.builds(Field, names, st.none() | st.just("other"), atomic)
    | st.builds(Field, names, st.none(), st.sampled_from([ZeekType.TABLE, ZeekType.VECTOR]), atomic),
    min_size=1,
    max_size=6,
)


def data_of(field: Field) -> st.SearchStrategy[Any]:
    if field.type in ATOMS:
        return st.none() | ATOMS[field.type]
    return st.none() | st.lists(st.none() | ATOMS[field.subtype], max_size=4).map(tuple)


@st.composite
def logs(draw: st.DrawFn) -> tuple[LogSchema, list[Record]]:
    columns = draw(fields)
    records = draw(st.lists(st.tuples(*map(data_of, columns)), max_size=4))
    return LogSchema("X::LOG", "Log::WRITER_ASCII", "default", as_text(draw(octets)), tuple(columns)), records


@given(logs(), st.sampled_from(sorted(STYLES, key=str)), octets, reals)
@settings(max_examples=300, deadline=None)
def test_batches_give_the_lines_of_the_reference(
    log: tuple[LogSchema, list[Record]], style: tuple[Any, Any, bool], node: bytes, write_ts: float
) -> None:
    """Any records of any schema, written by the reference's encoder, give the reference's text in every style."""
    schema, records = log
    transcoder, reference = STYLES[style]
    renderer = JsonLineRenderer(schema, reference)
    expected = renderer.lines(records, node=as_text(node), write_ts=write_ts)
    result = transcoder.batch(encode_batch(schema, records), node=node, write_ts=write_ts)
    assert result.data == expected
    assert result.count == len(records)
    assert (result.stream, result.writer, result.filter, result.path) == (
        schema.stream,
        schema.writer,
        schema.filter,
        schema.path,
    )
    assert [(column.name, column.type, column.subtype, column.optional) for column in result.schema.columns] == [
        (field.name, field.type, field.subtype, field.optional) for field in schema.fields
    ]


@given(logs(), st.sampled_from(Numbering))
@settings(max_examples=100, deadline=None)
def test_log_writes_give_the_lines_of_the_reference(log: tuple[LogSchema, list[Record]], numbering: Numbering) -> None:
    """The same through Broker, in each numbering of the types."""
    schema, records = log
    codec = RecordCodec(schema.fields, numbering)
    writes = [
        message(3, vector(named(11, "X::LOG"), named(11, "W"), named(5, "p"), named(5, codec.encode(record))))
        for record in records
    ]
    transcoder, reference = STYLES[json_time.TimeFormat.EPOCH, EscapeStyle.HEX, False]
    groups = transcoder.broker_groups(message(5, vector(*writes)))
    columns = [LogColumn(field.name) for field in schema.fields]
    announced = WriteSchema(columns, path=schema.path, numbers=TypeNumbers[numbering.name])
    lines = b"".join(transcoder.group_lines(groups, i, announced).data for i in range(len(groups.groups)))
    assert lines == JsonLineRenderer(schema, reference).lines(records)


@given(st.data(), logs())
@settings(max_examples=400, deadline=None)
def test_what_the_reference_reads_is_read_alike(data: st.DataObject, log: tuple[LogSchema, list[Record]]) -> None:
    """Of changed bytes, what the reference accepts gives its text here. It refuses more: a value whose type is not its
    column's, or a port above 65535, which Zeek prints as they are."""
    payload = bytearray(encode_batch(*log))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(payload) - 1))
        payload[at] = data.draw(st.sampled_from([0, 1, 4, 6, 255]) | st.integers(0, 255))
    transcoder, reference = STYLES[json_time.TimeFormat.EPOCH, EscapeStyle.HEX, False]
    try:
        schema, records = decode_batch(bytes(payload))
    except RemoteProtocolError:
        return
    expected = JsonLineRenderer(schema, reference).lines(records)
    assert transcoder.batch(bytes(payload)).data == expected


def test_doubles_are_those_of_the_reference() -> None:
    """Both have the same digits, also where they are not the shortest."""
    numbers = random_doubles(20_000, seed=11)
    assert texts(DOUBLE, numbers) == [render_double(number) for number in numbers]


@pytest.mark.slow
def test_many_more_doubles_are_those_of_the_reference() -> None:
    """A quarter of a million of them."""
    numbers = random_doubles(250_000, seed=12)
    assert texts(DOUBLE, numbers) == [render_double(number) for number in numbers]
