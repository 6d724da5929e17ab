"""Log batches: Zeek's own bytes, round trips, and what is refused."""

from __future__ import annotations

import struct
import tracemalloc

import pytest
from hypothesis import given, settings

from appliance.errors import LocalProtocolError, RemoteProtocolError
from appliance.zeek.address import Address, Port, Subnet
from appliance.zeek.batches import (
    LogMessage,
    decode_batch,
    encode_batch,
    make_log_frames,
    parse_header,
    parse_log_frames,
)
from appliance.zeek.records import Record, RecordCodec
from appliance.zeek.schema import Field, LogSchema, ZeekType
from tests.zeek.strategies import logs
from tests.zeek.vectors import BATCH, BATCH_HEADER, ZEEK_UNIT_TEST_BATCH

T = ZeekType
SCHEMA = LogSchema(
    stream="Demo::LOG",
    writer="Log::WRITER_ASCII",
    filter="default",
    path="demo",
    fields=(
        Field("ts", None, T.TIME),
        Field("uid", None, T.STRING),
        Field("id.orig_h", None, T.ADDR),
        Field("id.orig_p", None, T.PORT),
        Field("proto", None, T.ENUM),
        Field("duration", None, T.INTERVAL, T.VOID, True),
        Field("n", None, T.COUNT, T.VOID, True),
        Field("tags", None, T.TABLE, T.STRING, True),
        Field("net", None, T.SUBNET, T.VOID, True),
    ),
)
RECORD: Record = (
    1700000000.5,
    b"CAbc1",
    Address.parse("192.0.2.1"),
    Port(53, 2),
    b"udp",
    None,
    7,
    (b"a",),
    Subnet.parse("10.0.0.0/8"),
)


def test_batch() -> None:
    """Both directions, bytes and values."""
    assert decode_batch(BATCH) == (SCHEMA, [RECORD])
    assert encode_batch(SCHEMA, [RECORD]) == BATCH
    header = parse_header(BATCH)
    assert (header.schema, header.record_count, header.schema_end, header.offset) == (SCHEMA, 1, 227, 231)


def test_batch_of_zeeks_own_unit_test() -> None:
    """Subtypes of error are read, if not written."""
    schema, records = decode_batch(ZEEK_UNIT_TEST_BATCH)
    assert records == [(1.0,), (2.0,)]
    assert schema == LogSchema("Log::UNKNOWN", "Log::WRITER_NONE", "default", "my-path", schema.fields)
    assert schema.fields == (Field("ts", None, T.TIME, T.ERROR),)


@settings(deadline=None)
@given(logs)
def test_batches_survive(log: tuple[LogSchema, list[Record]]) -> None:
    """Schema and records are read again, and written again as the same bytes."""
    data = encode_batch(*log)
    schema, records = decode_batch(data)
    assert (schema, repr(records)) == (log[0], repr(log[1]))
    assert encode_batch(schema, records) == data


def test_kept_codec_is_used_only_for_its_columns() -> None:
    """A codec of other columns does no harm."""
    for kept in (RecordCodec(SCHEMA.fields), RecordCodec(SCHEMA.fields[:1])):
        assert decode_batch(BATCH, codec=kept)[1] == [RECORD]


def test_batches_cut_off_are_refused() -> None:
    """A batch that ends anywhere before its end is refused, and so is one with something behind it."""
    for end in range(len(BATCH)):
        with pytest.raises(RemoteProtocolError):
            decode_batch(BATCH[:end])
    with pytest.raises(RemoteProtocolError, match="bytes behind"):
        decode_batch(BATCH + b"\0")


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        ("00 00000001 78 00000017 00000000 00", "no type 23"),
        ("00 00000001 78 ffffffff 00000000 00", "no type -1"),
        ("00 00000001 78 0000000f 00000000 00", "column 'x' has a type"),
        ("00 00000001 78 0000000e 00000013 00", "column 'x' has a type"),
        ("00 ffffffff 78 00000001 00000000 00", "name of -1 bytes"),
        ("01 7fffffff 78 00000001 00000000 00", "name of 2147483647 bytes"),
    ],
)
def test_bad_columns_are_refused(field: str, reason: str) -> None:
    """Each mistake has the same error."""
    data = bytes.fromhex("00000000" * 4 + "00000001" + field + "00000000")
    with pytest.raises(RemoteProtocolError, match=reason):
        decode_batch(data)


@pytest.mark.parametrize("count", [0, 2, 5000, 2**32 - 1])
def test_number_of_columns_is_limited(count: int) -> None:
    """No columns, and more than there are bytes for, are refused before they are read."""
    data = bytes.fromhex("00000000" * 4) + struct.pack(">I", count) + bytes.fromhex("00 00000000 00000001 00000000 00")
    with pytest.raises(RemoteProtocolError, match="columns in"):
        decode_batch(data + bytes(4))


def test_very_wide_log_is_refused() -> None:
    """4096 columns are enough, even if there are bytes for more."""
    fields = tuple(Field("", None, T.BOOL) for _ in range(4097))
    names = ("s", "w", "f", "p")
    assert len(decode_batch(encode_batch(LogSchema(*names, fields[:-1]), []))[0].fields) == 4096
    with pytest.raises(RemoteProtocolError, match="4097 columns"):
        decode_batch(encode_batch(LogSchema(*names, fields), []))


@pytest.mark.parametrize("count", [2, 1000, 2**32 - 1])
def test_number_of_records_is_limited(count: int) -> None:
    """More records than there are bytes for are refused before any memory is taken."""
    tracemalloc.start()
    try:
        with pytest.raises(RemoteProtocolError, match="records in"):
            decode_batch(BATCH_HEADER + struct.pack(">I", count) + BATCH[231:])
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_impossible_batches_are_ours_to_avoid() -> None:
    """Neither columns that no log has nor records that do not fit are written."""
    bad = LogSchema("s", "w", "f", "p", (Field("x", None, T.RECORD),))
    with pytest.raises(LocalProtocolError, match="column 'x'"):
        encode_batch(bad, [])
    with pytest.raises(LocalProtocolError, match="columns"):
        encode_batch(SCHEMA, [RECORD[:-1]])
    with pytest.raises(ValueError, match="surrogates"):
        encode_batch(LogSchema("\ud800", "w", "f", "p", SCHEMA.fields), [])


def test_frames() -> None:
    """A batch travels in four frames."""
    frames = (b"log-write", b"node\xff", b"zeek-bin-serializer", BATCH)
    message = parse_log_frames(frames)
    assert message == LogMessage("node\udcff", BATCH)
    assert make_log_frames(message.node, message.batch) == frames


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([], "0 frames"),
        ([b"log-write", b"n", b"zeek-bin-serializer"], "3 frames"),
        ([b"log-write", b"n", b"zeek-bin-serializer", b"", b""], "5 frames"),
        ([b"event", b"n", b"zeek-bin-serializer", b""], "kind b'event'"),
        ([b"log-write", b"n", b"json" * 1000, b""], "unknown format"),
    ],
)
def test_other_frames_are_refused(frames: list[bytes], reason: str) -> None:
    """The message says what was wrong, briefly."""
    with pytest.raises(RemoteProtocolError, match=reason) as caught:
        parse_log_frames(frames)
    assert len(caught.value.message) < 200
