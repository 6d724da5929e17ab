"""One atomic value of a log record in Zeek's binary serialisation: how its body is read and written.

A reader takes bytes and an offset that may lie behind their end, and returns the value and the offset behind it.
Fixed-size bodies that end too early raise ``struct.error``, which the record reader translates.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from appliance.errors import LocalProtocolError, RemoteProtocolError
from appliance.zeek.address import PROTOCOLS, Address, Port, Subnet
from appliance.zeek.schema import ZeekType

__all__ = ["ATOM_READERS", "ATOM_WRITERS"]

_INT = struct.Struct(">q")
_COUNT = struct.Struct(">Q")
_REAL = struct.Struct(">d")
_LENGTH = struct.Struct(">i")
_PORT = struct.Struct(">Qi")
_PREFIX = struct.Struct(">BB")

_FAMILY_BYTES = {4: 4, 6: 16}
_FAMILIES = {size: family for family, size in _FAMILY_BYTES.items()}


def _read_bool(data: bytes, offset: int) -> tuple[bool, int]:
    return _INT.unpack_from(data, offset)[0] != 0, offset + 8


def _read_int(data: bytes, offset: int) -> tuple[int, int]:
    return _INT.unpack_from(data, offset)[0], offset + 8


def _read_count(data: bytes, offset: int) -> tuple[int, int]:
    return _COUNT.unpack_from(data, offset)[0], offset + 8


def _read_real(data: bytes, offset: int) -> tuple[float, int]:
    return _REAL.unpack_from(data, offset)[0], offset + 8


def _read_string(data: bytes, offset: int) -> tuple[bytes, int]:
    start = offset + 4
    length = _LENGTH.unpack_from(data, offset)[0]
    if not 0 <= length <= len(data) - start:
        raise RemoteProtocolError(f"a string of {length} bytes in a log record that ends before it")
    end = start + length
    return data[start:end], end


def _read_port(data: bytes, offset: int) -> tuple[Port, int]:
    number, protocol = _PORT.unpack_from(data, offset)
    if number > 0xFFFF or not 0 <= protocol < len(PROTOCOLS):
        raise RemoteProtocolError(f"a port {number} of protocol {protocol}")
    return Port(number, protocol), offset + 12


def _read_address(data: bytes, offset: int) -> tuple[Address, int]:
    if offset >= len(data):
        raise RemoteProtocolError("a log record ends too early")
    return _read_packed(data, offset + 1, data[offset])


def _read_packed(data: bytes, start: int, family: int) -> tuple[Address, int]:
    size = _FAMILY_BYTES.get(family)
    if size is None:
        raise RemoteProtocolError(f"an address of family {family}")
    end = start + size
    if end > len(data):
        raise RemoteProtocolError("a log record ends too early")
    return Address(data[start:end]), end


def _read_subnet(data: bytes, offset: int) -> tuple[Subnet, int]:
    wide_length, family = _PREFIX.unpack_from(data, offset)
    address, end = _read_packed(data, offset + 2, family)
    length = wide_length - 128 + 8 * len(address.packed)
    if not 0 <= length <= 8 * len(address.packed):
        raise RemoteProtocolError(f"a subnet of family {family} with {wide_length} bits")
    return Subnet(address, length), end


def _write_bool(value: bool) -> bytes:
    if not isinstance(value, bool):
        raise LocalProtocolError(f"not a bool: {value!r}")
    return _INT.pack(value)


def _write_int(value: int) -> bytes:
    return _INT.pack(_checked_int(value))


def _write_count(value: int) -> bytes:
    return _COUNT.pack(_checked_int(value))


def _checked_int(value: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise LocalProtocolError(f"not an integer: {value!r}")
    return value


def _write_real(value: float) -> bytes:
    if not isinstance(value, float):
        raise LocalProtocolError(f"not a float: {value!r}")
    return _REAL.pack(value)


def _write_string(value: bytes) -> bytes:
    if not isinstance(value, bytes):
        raise LocalProtocolError(f"not bytes: {value!r}")
    return _LENGTH.pack(len(value)) + value


def _write_port(value: Port) -> bytes:
    if not isinstance(value, Port) or not 0 <= value.number <= 0xFFFF or not 0 <= value.protocol < len(PROTOCOLS):
        raise LocalProtocolError(f"not a port: {value!r}")
    return _PORT.pack(value.number, value.protocol)


def _write_address(value: Address) -> bytes:
    if not isinstance(value, Address) or len(value.packed) not in _FAMILIES:
        raise LocalProtocolError(f"not an address: {value!r}")
    return bytes((_FAMILIES[len(value.packed)],)) + value.packed


def _write_subnet(value: Subnet) -> bytes:
    if not isinstance(value, Subnet) or not 0 <= value.length <= value.limit:
        raise LocalProtocolError(f"not a subnet: {value!r}")
    return bytes((value.wide_length,)) + _write_address(value.address)


ATOM_READERS: dict[ZeekType, Callable[[bytes, int], tuple[Any, int]]] = {
    ZeekType.BOOL: _read_bool,
    ZeekType.INT: _read_int,
    ZeekType.COUNT: _read_count,
    ZeekType.DOUBLE: _read_real,
    ZeekType.TIME: _read_real,
    ZeekType.INTERVAL: _read_real,
    ZeekType.STRING: _read_string,
    ZeekType.ENUM: _read_string,
    ZeekType.FUNC: _read_string,
    ZeekType.FILE: _read_string,
    ZeekType.PORT: _read_port,
    ZeekType.ADDR: _read_address,
    ZeekType.SUBNET: _read_subnet,
}
"""Reader of the body of each atomic type."""

ATOM_WRITERS: dict[ZeekType, Callable[[Any], bytes]] = {
    ZeekType.BOOL: _write_bool,
    ZeekType.INT: _write_int,
    ZeekType.COUNT: _write_count,
    ZeekType.DOUBLE: _write_real,
    ZeekType.TIME: _write_real,
    ZeekType.INTERVAL: _write_real,
    ZeekType.STRING: _write_string,
    ZeekType.ENUM: _write_string,
    ZeekType.FUNC: _write_string,
    ZeekType.FILE: _write_string,
    ZeekType.PORT: _write_port,
    ZeekType.ADDR: _write_address,
    ZeekType.SUBNET: _write_subnet,
}
"""Writer of the body of each atomic type."""
