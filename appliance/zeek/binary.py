"""Broker's binary format of values, ``format::bin::v1``, both ways.

Source: Broker, ``broker/format/bin.hh``, ``bin.cc``, ``variant_data.cc``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

import msgspec

from appliance.errors import LocalProtocolError, RemoteProtocolError
from appliance.zeek.binary_atoms import ATOM_WRITERS, FIXED_READERS, read_varbyte, write_varbyte
from appliance.zeek.schema import as_text
from appliance.zeek.values import EnumValue, Set, Table, Value, Vector, sort_key

__all__ = [
    "MAX_DEPTH",
    "Limits",
    "decode",
    "decode_from",
    "decode_some",
    "encode",
    "encode_some",
    "read_varbyte",
    "write_varbyte",
]

MAX_DEPTH = 100
"""Containers within containers. Zeek's own messages need about ten; Broker itself has no limit."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a decoder takes before it refuses."""

    depth: int = MAX_DEPTH
    """Containers within containers, at most 150 for the sake of Python's own stack."""
    values: int = 1_000_000
    """Values in one root value, itself and containers included. A Python value has about a hundred bytes."""


_DEFAULT = Limits()

_STRING, _ENUM, _SET, _TABLE, _VECTOR = 5, 11, 12, 13, 14
_TEXTS = (_STRING, _ENUM)
_LONG = 0x80  # a length begins with a smaller byte if that is all of it


def encode(value: Value, *, is_canonical: bool = False, max_depth: int = MAX_DEPTH) -> bytes:
    """Write a value.

    Args:
        value: what to write.
        is_canonical: sort sets and tables as Broker's own containers do, instead of keeping their order.
        max_depth: containers within containers.

    Raises:
        LocalProtocolError: not a value of Broker, a number out of range, or containers too deep.
    """
    return encode_some((value,), is_canonical=is_canonical, max_depth=max_depth)


def encode_some(values: Sequence[Value], *, is_canonical: bool = False, max_depth: int = MAX_DEPTH) -> bytes:
    """Write values one behind the other; otherwise as `encode`."""
    parts: list[bytes] = []
    try:
        _write(values, parts.append, is_canonical, max_depth)
    except (struct.error, TypeError, ValueError, AttributeError) as exc:
        raise LocalProtocolError(f"a value that Broker cannot hold: {exc}") from exc
    return b"".join(parts)


def decode(data: bytes, *, limits: Limits = _DEFAULT) -> Value:
    """Read a value with nothing behind it.

    Raises:
        RemoteProtocolError: not one value, or more than the limits allow.
    """
    value, end = decode_from(data, 0, limits=limits)
    if end != len(data):
        raise RemoteProtocolError(f"{len(data) - end} bytes behind a value")
    return value


def decode_from(data: bytes, offset: int, *, limits: Limits = _DEFAULT) -> tuple[Value, int]:
    """Read the value at an offset.

    Returns:
        The value, and where it ends.

    Raises:
        RemoteProtocolError: no value, or more than the limits allow.
    """
    (value,), end = decode_some(data, offset, 1, limits=limits)
    return value, end


def decode_some(data: bytes, offset: int, count: int, *, limits: Limits = _DEFAULT) -> tuple[list[Value], int]:
    """Read values that stand one behind the other at an offset.

    Returns:
        The values, and where they end.

    Raises:
        RemoteProtocolError: fewer values, or more within them than the limits allow.
    """
    try:
        return _Decoder(data, limits.values - count).read(count, offset, limits.depth)
    except (struct.error, IndexError):
        raise RemoteProtocolError("a value ends too early") from None


class _Decoder:
    """Reads values of one root value; counts them.

    Every event of a cluster goes through here: what most values are is read without another call of ours.
    """

    __slots__ = ("_data", "_left")

    def __init__(self, data: bytes, left: int) -> None:
        self._data = data
        self._left = left

    def read(self, count: int, offset: int, depth: int) -> tuple[list[Value], int]:
        """Read some values, one behind the other; they end where the second result says."""
        data = self._data
        items: list[Value] = []
        add = items.append
        for _ in range(count):
            tag = data[offset]
            start = offset + 1
            if tag in FIXED_READERS:
                size, make = FIXED_READERS[tag]
                offset = start + size
                add(make(data[start:offset]))
            elif tag in _TEXTS:
                length = data[start]
                if length < _LONG:
                    start += 1
                else:
                    length, start = read_varbyte(data, start)
                offset = start + length
                text = data[start:offset]
                add(text if tag == _STRING else EnumValue(as_text(text)))
            else:
                item, offset = self._read_container(tag, start, depth)
                add(item)
        if offset > len(data):  # a slice does not mind; whatever was made of it is thrown away
            raise RemoteProtocolError("a value ends too early")
        return items, offset

    def _read_container(self, tag: int, offset: int, depth: int) -> tuple[Value, int]:
        data = self._data
        if not _SET <= tag <= _VECTOR:
            raise RemoteProtocolError(f"there is no type of value {tag}")
        if depth <= 0:
            raise RemoteProtocolError("values nested too deep")
        count = data[offset]
        if count < _LONG:
            offset += 1
        else:
            count, offset = read_varbyte(data, offset)
        size = 2 * count if tag == _TABLE else count
        self._left -= size
        if size > len(data) - offset or self._left < 0:
            raise RemoteProtocolError(f"a container of {size} values, more than there are bytes or than is allowed")
        items, offset = self.read(size, offset, depth - 1)
        if tag == _VECTOR:
            return Vector(items), offset
        try:
            if tag == _SET:
                return Set(items), offset
            return Table(zip(items[::2], items[1::2], strict=True)), offset
        except ValueError as exc:
            raise RemoteProtocolError(str(exc)) from exc


def _write(values: Sequence[Value], put: Callable[[bytes], object], is_canonical: bool, depth: int) -> None:
    for value in values:
        write_atom = ATOM_WRITERS.get(type(value))
        if write_atom is not None:
            put(write_atom(value))
            continue
        tag, items = _flatten(value, is_canonical)
        if depth <= 0:
            raise ValueError("nested too deep")
        put(bytes((tag,)) + write_varbyte(len(items) // 2 if tag == _TABLE else len(items)))
        _write(items, put, is_canonical, depth - 1)


def _flatten(value: Value, is_canonical: bool) -> tuple[int, Sequence[Value]]:
    """Tag and elements of a container; of a table keys and values in turn."""
    if isinstance(value, Vector):
        return _VECTOR, value[:]
    if isinstance(value, Set):
        return _SET, sorted(value, key=sort_key) if is_canonical else tuple(value)
    if isinstance(value, Table):
        pairs = value.pairs()
        if is_canonical:
            pairs = tuple(sorted(pairs, key=lambda pair: sort_key(pair[0])))
        return _TABLE, [item for pair in pairs for item in pair]
    raise TypeError(f"a {type(value).__name__}")
