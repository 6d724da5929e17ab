"""Broker's binary format: Broker's own bytes, round trips, and what is refused."""

from __future__ import annotations

import math
import struct
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import LocalProtocolError, RemoteProtocolError
from appliance.zeek.address import Address, Port, Subnet
from appliance.zeek.binary import MAX_DEPTH, Limits, decode, decode_from, encode, read_varbyte, write_varbyte
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
    sort_key,
)
from tests.zeek.strategies import values

EXAMPLES: list[tuple[Value, str]] = [
    (None, "00"),
    (True, "01 01"),
    (False, "01 00"),
    (Count(42), "02 000000000000002a"),
    (Count(2**64 - 1), "02 ffffffffffffffff"),
    (-7, "03 fffffffffffffff9"),
    (1.5, "04 3ff8000000000000"),
    (-7.5, "04 c01e000000000000"),
    (math.inf, "04 fff0000000000000"),
    (-math.inf, "04 7ff0000000000000"),
    (-0.0, "04 8000000000000000"),
    (b"", "05 00"),
    (b"foo", "05 03 666f6f"),
    (b"x" * 200, "05 c801" + 200 * "78"),
    (Address.parse("192.168.9.8"), "06 00000000000000000000ffffc0a80908"),
    (Address.parse("2001:db8::1"), "06 20010db8000000000000000000000001"),
    (Subnet.parse("192.168.9.0/24"), "07 00000000000000000000ffffc0a80900 78"),
    (Subnet.parse("2001:db8::/32"), "07 20010db8000000000000000000000000 20"),
    (Subnet.parse("0.0.0.0/0"), "07 00000000000000000000ffff00000000 60"),
    (Subnet.parse("::/0"), "07 00000000000000000000000000000000 00"),
    (Port(80, 1), "08 0050 01"),
    (Port(53, 2), "08 0035 02"),
    (Timestamp(1_500_000_000), "09 0000000059682f00"),
    (Timestamp(1_649_574_000_000_000_000), "09 16e476d02cb86000"),
    (Timespan(5_000_000_000), "0a 000000012a05f200"),
    (Timespan(-1_000_000_000), "0a ffffffffc4653600"),
    (EnumValue("Conn::LOG"), "0b 09 436f6e6e3a3a4c4f47"),
    (Set([Count(1), Count(2)]), "0c 02 020000000000000001 020000000000000002"),
    (Set([False, Count(1), b"hello world"]), "0c 03 0100 020000000000000001 050b68656c6c6f20776f726c64"),
    (Table([(b"a", Count(1)), (b"b", Count(2))]), "0d 02 050161 020000000000000001 050162 020000000000000002"),
    (Vector([Count(1), b"x", None]), "0e 03 020000000000000001 050178 00"),
    (Vector(), "0e 00"),
]


@pytest.mark.parametrize(("value", "text"), EXAMPLES, ids=lambda item: repr(item)[:40])
def test_values_are_brokers_bytes(value: Value, text: str) -> None:
    """Both directions, with the exact type."""
    data = bytes.fromhex(text)
    assert encode(value) == data
    decoded = decode(data)
    assert type(decoded) is type(value)
    assert is_same(decoded, value)


@settings(deadline=None)
@given(values)
def test_values_survive(value: Value) -> None:
    """What is written is read again, and written again as the same bytes."""
    data = encode(value)
    decoded = decode(data)
    assert is_same(decoded, value)
    assert encode(decoded) == data


@settings(deadline=None)
@given(values)
def test_canonical_form_does_not_depend_on_order(value: Value) -> None:
    """Sets and tables of another order have the same canonical bytes, and those are sorted."""
    mirrored = _mirror(value)
    canonical = encode(value, is_canonical=True)
    assert encode(mirrored, is_canonical=True) == canonical
    assert is_same(decode(canonical), value)


def _mirror(value: Value) -> Value:
    if isinstance(value, Vector):
        return Vector(map(_mirror, value))
    if isinstance(value, Set):
        return Set(map(_mirror, reversed(tuple(value))))
    if isinstance(value, Table):
        return Table((_mirror(key), _mirror(item)) for key, item in reversed(value.pairs()))
    return value


def test_canonical_set_is_sorted() -> None:
    """Elements stand by type first."""
    items: list[Value] = [b"x", 1, Count(1), True]
    assert list(decode(encode(Set(items), is_canonical=True))) == sorted(items, key=sort_key)  # type: ignore[arg-type]


def test_not_a_number() -> None:
    """NaN of any kind is all ones; IEEE's quiet NaN is read as infinity."""
    assert encode(math.nan) == encode(-math.nan) == b"\x04" + b"\xff" * 8
    nan = decode(b"\x04" + b"\xff" * 8)
    assert isinstance(nan, float)
    assert math.isnan(nan)
    assert decode(bytes.fromhex("04 7ff8000000000000")) == math.inf
    assert decode(bytes.fromhex("04 fff8000000000000")) == -math.inf


def test_subnormals_are_flushed() -> None:
    """Reals below the normal ones become zero of their sign, in both directions."""
    tiny = 5e-324
    assert encode(tiny) == encode(0.0)
    assert encode(-tiny) == encode(-0.0)
    assert decode(b"\x04" + struct.pack(">d", -tiny)) == 0.0
    assert math.copysign(1.0, decode(b"\x04" + struct.pack(">d", -tiny))) == -1.0  # type: ignore[arg-type]
    assert decode(encode(2.0**-1022)) == 2.0**-1022


@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False))
def test_normal_reals_are_ieee(value: float) -> None:
    """Only the specials differ."""
    assert encode(value) == b"\x04" + struct.pack(">d", value)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "00"),
        (127, "7f"),
        (128, "8001"),
        (16383, "ff7f"),
        (16384, "808001"),
        (2**32 - 1, "ffffffff0f"),
    ],
)
def test_varbyte(number: int, text: str) -> None:
    """Seven bits a byte, low ones first."""
    assert write_varbyte(number) == bytes.fromhex(text)
    assert read_varbyte(bytes.fromhex(text) + b"\xff", 0) == (number, len(text) // 2)


@pytest.mark.parametrize("text", ["", "80", "ffffffff", "8080808080", "ffffffff10", "ffffffff7f", "808080808001"])
def test_bad_varbyte_is_refused(text: str) -> None:
    """Truncated, of more than five bytes, or beyond 32 bits."""
    with pytest.raises(RemoteProtocolError, match="length"):
        read_varbyte(bytes.fromhex(text), 0)


@pytest.mark.parametrize("number", [-1, 2**32])
def test_varbyte_out_of_range_is_ours_to_avoid(number: int) -> None:
    """We do not write what cannot be read."""
    with pytest.raises(LocalProtocolError):
        write_varbyte(number)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0f", "no type of value 15"),
        ("ff", "no type of value 255"),
        ("0000", "1 bytes behind"),
        ("0101 00", "1 bytes behind"),
        ("07 20010db8000000000000000000000000 81", "129 bits"),
        ("08 0050 04", "protocol 4"),
        ("0c 02 0101 0101", "twice"),
        ("0c 02 0101 0102", "twice"),
        ("0d 02 0101 00 0101 00", "twice"),
        ("0c 02 0c020500050161 0c020501610500", "twice"),
        ("0d 01 00", "container of 2"),
        ("0e ffffffff0f", "container of"),
    ],
)
def test_bad_values_are_refused(text: str, reason: str) -> None:
    """Each mistake has the same error."""
    with pytest.raises(RemoteProtocolError, match=reason):
        decode(bytes.fromhex(text))


@pytest.mark.parametrize(("value", "text"), EXAMPLES, ids=lambda item: repr(item)[:40])
def test_values_cut_off_are_refused(value: Value, text: str) -> None:
    """A value that ends anywhere before its end is refused, and so is one with something behind."""
    data = bytes.fromhex(text)
    for end in range(len(data)):
        with pytest.raises(RemoteProtocolError):
            decode(data[:end])
    with pytest.raises(RemoteProtocolError):
        decode(data + b"\0")


def test_value_within_other_bytes() -> None:
    """A value can be read out of the middle."""
    data = b"??" + encode(Vector([b"x"])) + b"!"
    assert decode_from(data, 2) == (Vector([b"x"]), len(data) - 1)
    with pytest.raises(RemoteProtocolError):
        decode_from(data, len(data))


def test_subnet_shorter_than_its_mark_of_ipv4_is_ipv6() -> None:
    """A prefix of less than 96 bits of a mapped address is no IPv4 network, and keeps its bytes."""
    data = bytes.fromhex("07 00000000000000000000ffff01020304 5f")
    subnet = decode(data)
    assert isinstance(subnet, Subnet)
    assert str(subnet) == "::ffff:1.2.3.4/95"
    assert encode(subnet) == data


def test_depth_is_limited() -> None:
    """Deeper than the limit is refused, in either direction, and at the limit everything works."""
    nested: Value = 1
    for _ in range(MAX_DEPTH):
        nested = Set([nested])
    assert is_same(decode(encode(nested)), nested)
    with pytest.raises(LocalProtocolError, match="deep"):
        encode(Vector([nested]))
    for opener in ("0e01", "0c01", "0d01"):
        with pytest.raises(RemoteProtocolError, match=r"deep|container"):
            decode(bytes.fromhex(opener) * 100_000 + b"\0")


def test_number_of_values_is_limited() -> None:
    """A message of nothing but small values cannot fill the memory."""
    data = b"\x0e" + write_varbyte(1000) + bytes(1000)
    assert len(decode(data, limits=Limits(values=1001))) == 1000  # type: ignore[arg-type]
    with pytest.raises(RemoteProtocolError, match="allowed"):
        decode(data, limits=Limits(values=1000))
    with pytest.raises(RemoteProtocolError, match="allowed"):
        decode(b"\x0e" + write_varbyte(5_000_000) + bytes(5_000_000))


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=60))
def test_garbage_raises_one_error(data: bytes) -> None:
    """Any bytes are a value or a `RemoteProtocolError`."""
    try:
        value = decode(data)
    except RemoteProtocolError:
        return
    assert is_same(decode(encode(value)), value)


@pytest.mark.parametrize(
    "value",
    [
        *(
            2**63,
            -(2**63) - 1,
            Count(-1),
            Count(2**64),
            Timestamp(2**63),
            Timespan(-(2**64)),
            Port(-1, 1),
            Port(65536, 1),
        ),
        *(Port(1, 4), Port(1, -1), Address(b"123"), Subnet(Address(b"1234"), 33), Subnet(Address(b"1234"), -1)),
        *("text", [1], (1,), {1}, Decimal(1), EnumValue("\ud800"), Count("x"), Vector(["x"])),  # type: ignore[list-item, arg-type]
    ],
    ids=repr,
)
def test_impossible_values_are_ours_to_avoid(value: Value) -> None:
    """What Broker cannot hold is not written."""
    with pytest.raises(LocalProtocolError, match="cannot hold"):
        encode(value)
