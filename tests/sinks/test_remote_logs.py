"""Records as Zeek's nodes send them to a logger: announced, written, and the same JSON when they are read again."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.native import LogColumn, Transcoder, WriteSchema
from appliance.sinks.remote_logs import MAX_BATCH_BYTES, MAX_WRITES, WRITER, RemoteLog
from appliance.zeek.json_lines import JsonLineRenderer
from appliance.zeek.log_create import Column
from appliance.zeek.messages import Batch, LogCreate, LogWrite, decode_message
from appliance.zeek.numbering import Numbering
from appliance.zeek.records import Record, RecordCodec
from appliance.zeek.schema import ATOMIC_TYPES, Field, LogSchema, ZeekType
from appliance.zeek.tsv_write import header_for
from appliance.zeromq.logger import columns_of
from tests.zeek.golden import broker_data, log_messages
from tests.zeek.strategies import records_of

COLUMNS = (("ts", "time"), ("n", "count"), ("tags", "set[string]"))


def row(n: object, **more: object) -> bytes:
    return json.dumps({"ts": 1.5, "n": n, **more}).encode()


def read_again(log: RemoteLog, rows: list[bytes]) -> tuple[list[bytes], int]:
    """Lines and refused records, through the announcement and the writes alone."""
    announcement = decode_message(log.announce(0.0))
    assert isinstance(announcement, LogCreate)
    schema = announcement.make_schema(Numbering.FROM_5_0)
    codec, renderer = RecordCodec(schema.fields), JsonLineRenderer(schema)
    lines: list[bytes] = []
    refused = 0
    for writes in log.write(rows):
        refused += writes.refused
        batch = decode_message(writes.message) if writes.message else Batch(())
        assert isinstance(batch, Batch)
        assert len(batch.messages) == writes.count <= MAX_WRITES
        for write in batch.messages:
            assert isinstance(write, LogWrite)
            assert (write.stream, write.writer, write.path) == (schema.stream, WRITER, schema.path)
            lines.append(renderer.line(codec.decode(write.serial)).rstrip(b"\n"))
    return lines, refused


def test_golden_logs() -> None:
    """What a cluster sent to its logger, turned into JSON, into log writes and into JSON again, is the same text."""
    transcoder = Transcoder()
    records = 0
    for frames in log_messages():
        sent = transcoder.batch(frames[3])
        log = RemoteLog(sent.stream, sent.path, columns_of(sent.schema))
        schema = WriteSchema([LogColumn(name) for name, _ in log.columns], path=sent.path)
        again = b""
        for writes in log.write(sent.data.split(b"\n")[:-1]):
            assert not writes.refused
            groups = transcoder.broker_groups(writes.message)
            assert [(group.stream, group.writer, group.path, group.count) for group in groups.groups] == [
                (sent.stream, WRITER, sent.path, writes.count)
            ]
            again += transcoder.group_lines(groups, 0, schema).data
        assert again == sent.data
        records += sent.count
    assert records > 7000


def test_announcement_is_that_of_zeek() -> None:
    """The same columns of the same types, for every log that a real node announced; all of them may be unset."""
    seen = 0
    for data in broker_data():
        message = decode_message(data.payload)
        if not isinstance(message, LogCreate):
            continue
        schema = message.make_schema(Numbering.FROM_5_0)
        header = header_for(schema, opened="")
        ours = RemoteLog(schema.stream, schema.path, tuple(zip(header.names, header.types, strict=True)))
        announced = decode_message(ours.announce(1646150638.5))
        assert isinstance(announced, LogCreate)
        assert (announced.stream, announced.writer) == (message.stream, WRITER)
        assert (announced.info.path, announced.info.network_time_s) == (message.info.path, 1646150638.5)
        assert announced.columns == tuple(
            Column(column.name, None, column.tag, column.subtag, True) for column in message.columns
        )
        seen += 1
    assert seen > 20


_shapes = st.sampled_from(sorted(ATOMIC_TYPES)).flatmap(
    lambda kind: st.sampled_from([(kind, ZeekType.VOID), (ZeekType.TABLE, kind), (ZeekType.VECTOR, kind)])
)


@st.composite
def _logs(draw: st.DrawFn) -> tuple[LogSchema, list[Record]]:
    fields = tuple(
        Field(f"c{i}", None, *shape) for i, shape in enumerate(draw(st.lists(_shapes, min_size=1, max_size=5)))
    )
    schema = LogSchema(stream="X::LOG", writer=WRITER, filter="", path="x", fields=fields)
    return schema, draw(st.lists(records_of(schema), max_size=4))


def _is_held(datum: object) -> bool:
    """Whether JSON has room for it: no numbers that are infinite."""
    if isinstance(datum, tuple):
        return all(map(_is_held, datum))
    return not isinstance(datum, float) or math.isfinite(datum)


@given(_logs())
def test_any_record_is_the_same_line_again(log: tuple[LogSchema, list[Record]]) -> None:
    """Every type, unset fields and elements, bytes that are no text; Zeek's JSON has null for what is infinite."""
    schema, records = log
    header = header_for(schema, opened="")
    lines = JsonLineRenderer(schema).lines(filter(_is_held, records)).splitlines()
    remote = RemoteLog("X::LOG", "x", tuple(zip(header.names, header.types, strict=True)))
    assert read_again(remote, lines) == (lines, 0)


def test_batches_are_as_long_as_those_of_zeek() -> None:
    """400 records, or what is a reasonable message."""
    log = RemoteLog("X::LOG", "x", COLUMNS)
    assert [writes.count for writes in log.write(row(n) for n in range(1000))] == [400, 400, 200]
    long = [row(1, tags=["x" * 200_000])] * 12
    batches = list(log.write(long))
    assert sum(writes.count for writes in batches) == 12
    assert max(len(writes.message) for writes in batches) < MAX_BATCH_BYTES + 250_000
    assert list(log.write([])) == []


BAD = [b'{"n":"x"}', b'{"n":-1}', b'{"n":[1]}', b'{"ts":{}}', b"[]", b"no json", b'{"tags":["\\ud800"]}', b'{"n":1e30}']


@pytest.mark.parametrize("bad", BAD)
def test_record_that_does_not_fit_its_columns_costs_itself(bad: bytes) -> None:
    """A logger would drop it without a word."""
    log = RemoteLog("X::LOG", "x", COLUMNS)
    good = [b'{"ts":1.5,"n":%d}' % n for n in range(3)]
    assert read_again(log, [bad, good[0], bad, bad, good[1], good[2], bad]) == (good, 4)
    assert [tuple(writes) for writes in log.write([bad])] == [(b"", 0, 1)]


@pytest.mark.parametrize("columns", [(), (("a", "record"),), (("a", "set[set]"),), (("a\ud800", "string"),)])
def test_columns_that_no_log_has_are_refused(columns: tuple[tuple[str, str], ...]) -> None:
    """Before anything is sent."""
    with pytest.raises(ValueError, match=r".+"):
        RemoteLog("X::LOG", "x", columns)


def test_values_of_other_columns_are_left_out() -> None:
    """What is not announced cannot be written."""
    log = RemoteLog("X::LOG", "x", (("n", "count"),))
    assert read_again(log, [row(7, more="x")]) == ([b'{"n":7}'], 0)
