"""What has no parts in Broker's binary format: lengths, and values of every type but the containers.

Source: Broker, ``broker/format/bin.hh``; the C++ Actor Framework below it, ``detail/ieee_754.hpp``.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any

from appliance.errors import LocalProtocolError, RemoteProtocolError
from appliance.zeek.schema import as_bytes
from appliance.zeek.values import PROTOCOLS, Address, Count, EnumValue, Port, Subnet, Timespan, Timestamp, Value

__all__ = ["ATOM_WRITERS", "FIXED_READERS", "read_varbyte", "write_varbyte"]

_UINT64 = struct.Struct(">Q")
_INT64 = struct.Struct(">q")
_TAGGED_UINT64 = struct.Struct(">BQ")
_TAGGED_INT64 = struct.Struct(">Bq")
_REAL = struct.Struct(">d")
_PORT = struct.Struct(">HB")

_NAN = b"\xff" * 8
_PLUS_INFINITY = b"\xff\xf0" + bytes(6)
_MINUS_INFINITY = b"\x7f\xf0" + bytes(6)
_MIN_NORMAL = 2.0**-1022
_VARBYTE_LIMIT = 5  # bytes; a length has 32 bits
_SHORT = tuple(bytes((length,)) for length in range(0x80))  # lengths of one byte, ready made


def read_varbyte(data: bytes, offset: int) -> tuple[int, int]:
    """Read an unsigned 32-bit number of one to five bytes, low bits first.

    Returns:
        The number, and where it ends.

    Raises:
        RemoteProtocolError: too early an end, or too large a number.
    """
    number = 0
    for index, byte in enumerate(data[offset : offset + _VARBYTE_LIMIT]):
        number |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            if number > 0xFFFFFFFF:
                break
            return number, offset + index + 1
    raise RemoteProtocolError("a length ends too early or exceeds 32 bits")


def write_varbyte(number: int) -> bytes:
    """Write an unsigned 32-bit number.

    Raises:
        LocalProtocolError: out of range.
    """
    if not 0 <= number <= 0xFFFFFFFF:
        raise LocalProtocolError(f"{number} is not a length of 32 bits")
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read_real(body: bytes) -> float:
    if body == _NAN:
        return math.nan
    if body == _PLUS_INFINITY:
        return math.inf
    if body == _MINUS_INFINITY:
        return -math.inf
    value: float = _REAL.unpack(body)[0]
    if math.isnan(value):
        # Broker does not know IEEE's NaNs and computes a number beyond all others.
        return -math.inf if body[0] & 0x80 else math.inf
    return value if abs(value) >= _MIN_NORMAL else math.copysign(0.0, value)


def _write_real(value: float) -> bytes:
    if math.isnan(value):
        return _NAN
    if math.isinf(value):
        return _PLUS_INFINITY if value > 0 else _MINUS_INFINITY
    # Broker writes garbage for subnormals, and misreads them.
    return _REAL.pack(value if abs(value) >= _MIN_NORMAL else math.copysign(0.0, value))


def _read_subnet(body: bytes) -> Subnet:
    address, length = Address.unmap(body[:16]), body[16]
    if length > 128:
        raise RemoteProtocolError(f"a subnet of {length} bits")
    if len(address.packed) == 4 and length < 96:
        # The prefix is shorter than what marks the address as IPv4.
        return Subnet(Address(body[:16]), length)
    return Subnet(address, length - 128 + 8 * len(address.packed))


def _read_port(body: bytes) -> Port:
    number, protocol = _PORT.unpack(body)
    if protocol >= len(PROTOCOLS):
        raise RemoteProtocolError(f"a port of protocol {protocol}")
    return Port(number, protocol)


FIXED_READERS: dict[int, tuple[int, Callable[[bytes], Value]]] = {
    0: (0, lambda _body: None),
    1: (1, lambda body: body != b"\0"),
    2: (8, lambda body: Count(_UINT64.unpack(body)[0])),
    3: (8, lambda body: int(_INT64.unpack(body)[0])),
    4: (8, _read_real),
    6: (16, Address.unmap),
    7: (17, _read_subnet),
    8: (3, _read_port),
    9: (8, lambda body: Timestamp(_INT64.unpack(body)[0])),
    10: (8, lambda body: Timespan(_INT64.unpack(body)[0])),
}
"""For each tag of a value of fixed size, the size of its body and what reads it."""


def _write_address(value: Address) -> bytes:
    wide = value.wide
    if len(wide) != 16:
        raise ValueError(f"an address of {len(value.packed)} bytes")
    return wide


def _write_subnet(value: Subnet) -> bytes:
    if not 0 <= value.length <= value.limit:
        raise ValueError(f"a subnet of {value.length} bits")
    return _write_address(value.address) + bytes((value.wide_length,))


def _write_port(value: Port) -> bytes:
    if not 0 <= value.protocol < len(PROTOCOLS):
        raise ValueError(f"a port of protocol {value.protocol}")
    return _PORT.pack(value.number, value.protocol)


def _write_string(data: bytes) -> bytes:
    return (_SHORT[len(data)] if len(data) < len(_SHORT) else write_varbyte(len(data))) + data


ATOM_WRITERS: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda _value: b"\0",
    bool: lambda value: b"\1\1" if value else b"\1\0",
    Count: lambda value: _TAGGED_UINT64.pack(2, value.value),
    int: lambda value: _TAGGED_INT64.pack(3, value),
    float: lambda value: b"\4" + _write_real(value),
    bytes: lambda value: b"\5" + _write_string(value),
    Address: lambda value: b"\6" + _write_address(value),
    Subnet: lambda value: b"\7" + _write_subnet(value),
    Port: lambda value: b"\x08" + _write_port(value),
    Timestamp: lambda value: _TAGGED_INT64.pack(9, value.ns),
    Timespan: lambda value: _TAGGED_INT64.pack(10, value.ns),
    EnumValue: lambda value: b"\x0b" + _write_string(as_bytes(value.name)),
}
"""What writes a value, its tag included."""
