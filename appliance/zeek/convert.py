"""Between Broker's values and what people write and read: everyday Python objects in, plain data out.

In, nothing is guessed: what could be one of two types of Broker is refused, or has one meaning that the table says.
Out, types are lost on purpose, as in Zeek's JSON logs: a plain value is what JSON can hold.

====================  ================================  ==========================================
type of Broker        from Python                       plain
====================  ================================  ==========================================
none                  None                              None
boolean               bool                              bool
count                 `Count` only                      int
integer               int                               int
real                  float                             float
string                str, bytes, bytearray             str; bytes that are not UTF-8 as ``\\xNN``
address               ``ipaddress.IPv4Address`` or 6    str
subnet                ``ipaddress.IPv4Network`` or 6    str
port                  `Port` only                       int, the number
timestamp             ``datetime`` with a time zone     float, seconds since 1970
timespan              ``timedelta``                     float, seconds
enum value            `EnumValue` only                  str
set                   set, frozenset                    list
table                 dict or another mapping           dict; see `to_plain` for its keys
vector                list, tuple                       list
====================  ================================  ==========================================
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Any

import msgspec

from appliance.zeek.binary import MAX_DEPTH
from appliance.zeek.schema import as_bytes
from appliance.zeek.values import (
    Address,
    Count,
    EnumValue,
    Port,
    Set,
    Subnet,
    Table,
    Timespan,
    Timestamp,
    Value,
    Vector,
    sort_key,
)

__all__ = ["to_plain", "to_text", "to_value"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TYPED = (Count, Address, Subnet, Port, Timestamp, Timespan, EnumValue, Set, Table, Vector)


def to_value(thing: object) -> Value:
    """A Python object as a value of Broker; one that is a value already is returned as it is.

    Sets are put into Broker's order, for Python's changes from run to run.

    Raises:
        TypeError: nothing of Broker corresponds to an object of this type.
        ValueError: the type is right and the value is not: out of range, without a time zone, nested too deep, twice
            in a set.
    """
    return _convert(thing, MAX_DEPTH)


def _convert(thing: Any, depth: int) -> Value:
    if thing is None or isinstance(thing, _TYPED):
        return thing
    if isinstance(thing, enum.Enum):
        raise TypeError(f"{thing!r} is ambiguous; give its value, or an EnumValue")
    for kind, convert in _ATOMS:
        if isinstance(thing, kind):
            return convert(thing)
    if not isinstance(thing, list | tuple | AbstractSet | Mapping):
        raise TypeError(f"Broker has no type for {_describe(thing)}")
    if depth <= 0:
        raise ValueError("nested too deep")
    depth -= 1
    if isinstance(thing, Mapping):
        return Table([(_convert(key, depth), _convert(value, depth)) for key, value in thing.items()])
    items = [_convert(item, depth) for item in thing]
    return Vector(items) if isinstance(thing, list | tuple) else Set(sorted(items, key=sort_key))


def _describe(thing: object) -> str:
    kind = type(thing)
    return f"a {kind.__qualname__}" if kind.__module__ == "builtins" else f"a {kind.__module__}.{kind.__qualname__}"


def _check_64_bits(number: int, what: str) -> int:
    if not -(1 << 63) <= number < 1 << 63:
        raise ValueError(f"{what} has no room in 64 bits")
    return number


def _convert_int(number: int) -> int:
    return _check_64_bits(int(number), f"the integer {number}")


def _convert_datetime(moment: datetime) -> Timestamp:
    if moment.utcoffset() is None:
        raise ValueError(f"{moment} has no time zone; give tzinfo, e.g. datetime.now(UTC)")
    return Timestamp(_check_64_bits((moment - _EPOCH) // _MICROSECOND * 1000, str(moment)))


def _convert_timedelta(span: timedelta) -> Timespan:
    return Timespan(_check_64_bits(span // _MICROSECOND * 1000, str(span)))


def _convert_address(address: IPv4Address | IPv6Address) -> Address:
    if isinstance(address, IPv4Interface | IPv6Interface):
        raise TypeError(f"{address!r} is ambiguous; give its ip or its network")
    if getattr(address, "scope_id", None):
        raise ValueError(f"{address} has a zone, for which Broker has no room")
    return Address(address.packed)


def _convert_network(network: IPv4Network | IPv6Network) -> Subnet:
    return Subnet(_convert_address(network.network_address), network.prefixlen)


_ATOMS: tuple[tuple[Any, Callable[[Any], Value]], ...] = (
    (bool, bool),  # before int, of which it is one
    (int, _convert_int),
    (float, float),
    (str, as_bytes),
    (bytes | bytearray, bytes),
    (datetime, _convert_datetime),
    (timedelta, _convert_timedelta),
    (IPv4Address | IPv6Address, _convert_address),
    (IPv4Network | IPv6Network, _convert_network),
)


def to_plain(value: Value) -> Any:
    """A value as data that JSON can hold, except that a real may be infinite or no number.

    The keys of a table become text: a text stays what it is, everything else is written as JSON, ``5`` or ``["a",1]``.
    Of keys whose text is the same the last one counts; Zeek, whose tables have keys of one type, sends no such.
    """
    return _PLAIN[type(value)](value)


def to_text(data: bytes | str) -> str:
    """A string, or a name with surrogates, as text that can be printed: bytes that are not UTF-8 as ``\\xNN``."""
    return (as_bytes(data) if isinstance(data, str) else data).decode("utf-8", "backslashreplace")


def _plain_key(key: Value) -> str:
    plain = to_plain(key)
    return plain if isinstance(plain, str) else msgspec.json.encode(plain).decode()


def _plain_items(value: Set | Vector) -> list[Any]:
    return [_PLAIN[type(item)](item) for item in value]


def _same(value: Any) -> Any:
    return value


_PLAIN: dict[type, Callable[[Any], Any]] = {
    type(None): _same,
    bool: _same,
    int: _same,
    float: _same,
    bytes: to_text,
    Count: lambda value: value.value,
    Address: str,
    Subnet: str,
    Port: lambda value: value.number,
    Timestamp: lambda value: value.ns / 1e9,
    Timespan: lambda value: value.ns / 1e9,
    EnumValue: lambda value: to_text(value.name),
    Set: _plain_items,
    Vector: _plain_items,
    Table: lambda value: {_plain_key(key): to_plain(item) for key, item in value.pairs()},
}
