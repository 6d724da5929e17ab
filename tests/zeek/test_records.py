"""Log records: Zeek's own bytes, all types in all numberings, and what is refused."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import LocalProtocolError, RemoteProtocolError
from appliance.zeek.address import Address, Port, Subnet
from appliance.zeek.numbering import Numbering
from appliance.zeek.records import Datum, Record, RecordCodec
from appliance.zeek.schema import Field, LogSchema, ZeekType
from tests.zeek.strategies import logs
from tests.zeek.vectors import LOG_SERIAL

T = ZeekType
SERIAL_FIELDS = (
    Field("ts", None, T.TIME),
    Field("uid", None, T.STRING),
    Field("id.orig_h", None, T.ADDR),
    Field("id.orig_p", None, T.PORT),
    Field("proto", None, T.ENUM),
    Field("note", None, T.STRING),
    Field("tags", None, T.TABLE, T.STRING),
)
SERIAL_RECORD: Record = (
    1.5,
    b"CHhAvVGS1DHFjwGM9",
    Address.parse("192.168.9.8"),
    Port(80, 1),
    b"tcp",
    None,
    (b"a", b"b"),
)


def codec(kind: ZeekType, subtype: ZeekType = T.VOID, numbering: Numbering = Numbering.FROM_5_0) -> RecordCodec:
    return RecordCodec([Field("x", None, kind, subtype)], numbering)


def test_record_of_a_log_write() -> None:
    """Both directions, bytes and values."""
    reader = RecordCodec(SERIAL_FIELDS)
    assert reader.decode(LOG_SERIAL) == SERIAL_RECORD
    assert reader.encode(SERIAL_RECORD) == LOG_SERIAL


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (T.BOOL, True, "00000001 00000000 01 0000000000000001"),
        (T.INT, -5, "00000002 00000000 01 fffffffffffffffb"),
        (T.COUNT, 7, "00000003 00000000 01 0000000000000007"),
        (T.COUNT, 2**64 - 1, "00000003 00000000 01 ffffffffffffffff"),
        (T.DOUBLE, float("inf"), "00000004 00000000 01 7ff0000000000000"),
        (T.INTERVAL, 0.25, "00000006 00000000 01 3fd0000000000000"),
        (T.SUBNET, Subnet.parse("1.2.0.0/16"), "0000000c 00000000 01 70 04 01020000"),
        (T.SUBNET, Subnet.parse("2001:db8::/32"), "0000000c 00000000 01 20 06 20010db8000000000000000000000000"),
        (T.ADDR, Address.parse("2001:db8::1"), "0000000b 00000000 01 06 20010db8000000000000000000000001"),
        (T.ADDR, Address.parse("::ffff:1.2.3.4"), "0000000b 00000000 01 06 00000000000000000000ffff01020304"),
        (T.FILE, b"\xff\x00", "00000012 00000000 01 00000002 ff00"),
        (T.FUNC, b"f", "00000011 00000000 01 00000001 66"),
        (T.STRING, b"", "00000007 00000000 01 00000000"),
        (T.STRING, None, "00000007 00000000 00"),
    ],
)
def test_single_values(kind: ZeekType, value: Datum, text: str) -> None:
    """Each type has its bytes."""
    data = bytes.fromhex(text)
    assert codec(kind).read(data) == ((value,), len(data))
    assert codec(kind).write([value]) == data


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (T.VECTOR, (9,), "00000013 00000000 01 0000000000000001 00000003 00000000 01 0000000000000009"),
        (T.VECTOR, (None,), "00000013 00000000 01 0000000000000001 00000003 00000000 00"),
        (T.TABLE, (), "0000000e 00000000 01 0000000000000000"),
        (T.TABLE, None, "0000000e 00000000 00"),
    ],
)
def test_containers(kind: ZeekType, value: Datum, text: str) -> None:
    """An empty container is something else than an unset one, and elements may be unset."""
    data = bytes.fromhex(text)
    assert codec(kind, T.COUNT).read(data) == ((value,), len(data))
    assert codec(kind, T.COUNT).write([value]) == data


def test_old_numbers() -> None:
    """An address is 13 up to Zeek 4.0, 12 in 4.1 and 11 from 5.0 on."""
    body = bytes.fromhex("00000000 01 04 01020304")
    for numbering, tag in zip(Numbering, (13, 12, 11), strict=True):
        data = struct.pack(">i", tag) + body
        assert codec(T.ADDR, numbering=numbering).read(data)[0] == (Address(b"\1\2\3\4"),)
        others = [each for each in Numbering if each is not numbering]
        for other in others:
            with pytest.raises(RemoteProtocolError, match=f"a value of type {tag} in a column of type"):
                codec(T.ADDR, numbering=other).read(data)


@pytest.mark.parametrize("numbering", Numbering)
@settings(deadline=None)
@given(log=logs)
def test_records_survive(numbering: Numbering, log: tuple[LogSchema, list[Record]]) -> None:
    """All types, unset and set, in all numberings."""
    schema, records = log
    both = RecordCodec(schema.fields, numbering)
    for record in records:
        data = both.encode(record)
        assert repr(both.decode(data)) == repr(record)
        assert both.encode(both.decode(data)) == data
        assert len(data) >= 4 + both.min_bytes


def test_zeek_is_sloppy() -> None:
    """Subtypes mean nothing, true is any number but zero, and what is not said to be present with a 1 is unset."""
    assert codec(T.TIME).read(bytes.fromhex("00000005 00000016 01 3ff0000000000000")) == ((1.0,), 17)
    assert codec(T.BOOL).read(bytes.fromhex("00000001 00000000 01 00000000000000ff")) == ((True,), 17)
    assert codec(T.BOOL).read(bytes.fromhex("00000001 00000000 02")) == ((None,), 9)
    assert codec(T.BOOL).read(bytes.fromhex("00000001 00000001 00")) == ((None,), 9)


@pytest.mark.parametrize(
    ("kind", "text", "reason"),
    [
        (T.STRING, "00000008 00000000 01 00000000", "type 8 in a column of type 7"),
        (T.STRING, "00000007 00000000 01 ffffffff", "string of -1 bytes"),
        (T.STRING, "00000007 00000000 01 7fffffff", "string of 2147483647 bytes"),
        (T.STRING, "00000007 00000000 01 00000002 61", "string of 2 bytes"),
        (T.PORT, "0000000a 00000000 01 0000000000010000 00000001", "port 65536"),
        (T.PORT, "0000000a 00000000 01 0000000000000001 00000004", "protocol 4"),
        (T.PORT, "0000000a 00000000 01 0000000000000001 ffffffff", "protocol -1"),
        (T.ADDR, "0000000b 00000000 01 05 01020304", "family 5"),
        (T.ADDR, "0000000b 00000000 01 06 01020304", "too early"),
        (T.SUBNET, "0000000c 00000000 01 5f 04 01020304", "subnet of family 4 with 95 bits"),
        (T.SUBNET, "0000000c 00000000 01 81 04 01020304", "subnet of family 4 with 129 bits"),
        (T.VECTOR, "00000013 00000000 01 ffffffffffffffff", "announces -1 elements"),
        (T.VECTOR, "00000013 00000000 01 7fffffffffffffff", "elements and ends"),
        (T.VECTOR, "00000013 00000000 01 0000000000000001 00000007 000000", "elements and ends"),
        (T.VECTOR, "00000013 00000000 01 0000000000000001 00000003 00000000 00", "type 3 in a column of type 7"),
    ],
)
def test_bad_values_are_refused(kind: ZeekType, text: str, reason: str) -> None:
    """Each mistake has the same error."""
    with pytest.raises(RemoteProtocolError, match=reason):
        codec(kind, T.STRING).read(bytes.fromhex(text))


def test_records_cut_off_are_refused() -> None:
    """A record that ends anywhere before its end is refused, and so is one with something behind it."""
    reader = RecordCodec(SERIAL_FIELDS)
    for end in range(len(LOG_SERIAL)):
        with pytest.raises(RemoteProtocolError):
            reader.decode(LOG_SERIAL[:end])
    with pytest.raises(RemoteProtocolError, match="bytes behind"):
        reader.decode(LOG_SERIAL + b"\0")


@pytest.mark.parametrize("count", [-1, 0, 6, 8, 2**31 - 1])
def test_field_count_must_fit(count: int) -> None:
    """A record of another number of fields is not one of this log."""
    with pytest.raises(RemoteProtocolError, match="fields for 7 columns"):
        RecordCodec(SERIAL_FIELDS).decode(struct.pack(">i", count) + LOG_SERIAL[4:])


@pytest.mark.parametrize(
    "field",
    [Field("x", None, T.RECORD), Field("x", None, T.PATTERN), Field("x", None, T.TABLE, T.VECTOR)],
)
def test_columns_that_logs_cannot_have(field: Field) -> None:
    """They are refused before any record."""
    with pytest.raises(RemoteProtocolError, match="column 'x' has a type"):
        RecordCodec([field])


def test_log_without_columns() -> None:
    """Nothing would bound the number of its records."""
    with pytest.raises(RemoteProtocolError, match="without columns"):
        RecordCodec([])


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (T.BOOL, 1),
        (T.INT, True),
        (T.INT, 2**63),
        (T.INT, 1.0),
        (T.COUNT, -1),
        (T.COUNT, 2**64),
        (T.DOUBLE, 1),
        (T.STRING, "text"),
        (T.PORT, 80),
        (T.PORT, Port(65536, 1)),
        (T.PORT, Port(1, 4)),
        (T.ADDR, b"1234"),
        (T.ADDR, Address(b"12345")),
        (T.SUBNET, Subnet(Address(b"1234"), 33)),
        (T.SUBNET, Subnet(Address(b"1"), 1)),
        (T.VECTOR, [b"x"]),
        (T.VECTOR, (1,)),
        (T.VECTOR, b"xy"),
        (T.PORT, Port("80", 1)),  # type: ignore[arg-type]
    ],
)
def test_impossible_records_are_ours_to_avoid(kind: ZeekType, value: Datum) -> None:
    """What does not fit its column is not written."""
    with pytest.raises(LocalProtocolError):
        codec(kind, T.STRING).write([value])


def test_record_of_another_size_is_ours_to_avoid() -> None:
    """One value for each column."""
    with pytest.raises(LocalProtocolError, match="2 values for 1 columns"):
        codec(T.BOOL).write([True, True])


@settings(deadline=None)
@given(st.binary(max_size=80))
def test_garbage_raises_one_error(data: bytes) -> None:
    """Any bytes are a record or a `RemoteProtocolError`."""
    try:
        RecordCodec(SERIAL_FIELDS).decode(data)
    except RemoteProtocolError:
        return
