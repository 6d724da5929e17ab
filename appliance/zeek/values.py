"""Broker's data values as Python values.

=============  =====================================
none           None
boolean        bool
count          `Count`
integer        int
real           float
string         bytes, for a string need not be UTF-8
address        `Address`
subnet         `Subnet`
port           `Port`
timestamp      `Timestamp`
timespan       `Timespan`
enum value     `EnumValue`
set            `Set`
table          `Table`
vector         `Vector`
=============  =====================================

In Python ``1 == 1.0 == True``, and a built-in set or dict takes them for one key. To Broker a count 1, an integer 1, a
real 1.0 and true are four values. So `Set`, `Table` and `Vector` compare and look up by `sort_key`, which starts with
the type; compare two values of unknown type with `is_same`.

Source: Broker, ``broker/data.hh``, ``broker/variant_tag.hh``.
"""

from __future__ import annotations

import math
import operator
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from types import NoneType
from typing import Any, TypeAlias, overload

import msgspec

from appliance.zeek.address import PROTOCOLS, Address, Port, Subnet
from appliance.zeek.schema import as_bytes

__all__ = [
    "PROTOCOLS",
    "Address",
    "Count",
    "EnumValue",
    "Key",
    "Port",
    "Set",
    "Subnet",
    "Table",
    "Timespan",
    "Timestamp",
    "Value",
    "Vector",
    "is_same",
    "sort_key",
    "type_name",
]

Key: TypeAlias = tuple[Any, ...]
"""What `sort_key` makes: number of the type, then what orders values of this type."""


class Count(msgspec.Struct, frozen=True, gc=False):
    """An unsigned number."""

    value: int
    """0 to 2^64 - 1."""


class Timestamp(msgspec.Struct, frozen=True, gc=False):
    """A point in time."""

    ns: int
    """Nanoseconds since 1970-01-01 UTC, within 64 bits with sign."""


class Timespan(msgspec.Struct, frozen=True, gc=False):
    """A length of time."""

    ns: int
    """Nanoseconds, within 64 bits with sign."""


class EnumValue(msgspec.Struct, frozen=True, gc=False):
    """A value of one of Zeek's enums."""

    name: str
    """As Zeek prints it, e.g. ``Conn::LOG`` or ``tcp``."""


class _Container:
    """What the three containers share: an order of their own, and equality by `sort_key`."""

    __slots__ = ("_sort_key",)

    _sort_key: Key | None

    def sort_key(self) -> Key:
        """The container's `Key`, kept once it is made."""
        key = self._sort_key
        if key is None:
            key = self._sort_key = self._make_key()
        return key

    def _make_key(self) -> Key:
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, _Container) and self.sort_key() == other.sort_key()

    def __hash__(self) -> int:
        return hash(self.sort_key())


class Vector(_Container, Sequence["Value"]):
    """A sequence of values of any type."""

    __slots__ = ("_items",)

    def __init__(self, items: Iterable[Value] = ()) -> None:
        self._items = tuple(items)
        self._sort_key = None

    def _make_key(self) -> Key:
        return _VECTOR, tuple([sort_key(item) for item in self._items])

    @overload
    def __getitem__(self, index: int) -> Value: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Value, ...]: ...
    def __getitem__(self, index: int | slice) -> Value | tuple[Value, ...]:
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Value]:
        return iter(self._items)

    def __repr__(self) -> str:
        return f"Vector({list(self._items)!r})"


class Set(_Container, Collection["Value"]):
    """Distinct values of any type, in the order in which they were given or received.

    Raises:
        ValueError: a value occurs twice.
    """

    __slots__ = ("_items",)

    def __init__(self, items: Iterable[Value] = ()) -> None:
        self._items = tuple(items)
        self._sort_key = _SET, _sort_distinct([sort_key(item) for item in self._items])

    def __contains__(self, item: object) -> bool:
        return _find(self.sort_key()[1], sort_key(item)) is not None

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Value]:
        return iter(self._items)

    def __repr__(self) -> str:
        return f"Set({list(self._items)!r})"


class Table(_Container, Mapping["Value", "Value"]):
    """Values by distinct keys of any type, in the order in which they were given or received.

    Raises:
        ValueError: a key occurs twice.
    """

    __slots__ = ("_items", "_keys", "_order")

    def __init__(self, items: Iterable[tuple[Value, Value]] = ()) -> None:
        self._items = tuple(items)
        keys = [sort_key(key) for key, _ in self._items]
        self._order = sorted(range(len(keys)), key=keys.__getitem__)
        self._keys = _sort_distinct(keys)
        self._sort_key = None

    def _make_key(self) -> Key:
        values = [sort_key(self._items[index][1]) for index in self._order]
        return _TABLE, tuple(zip(self._keys, values, strict=True))

    def pairs(self) -> tuple[tuple[Value, Value], ...]:
        """Keys and values; unlike ``items`` this looks nothing up."""
        return self._items

    def __getitem__(self, key: Value) -> Value:
        index = _find(self._keys, sort_key(key))
        if index is None:
            raise KeyError(key)
        return self._items[self._order[index]][1]

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Value]:
        return iter([key for key, _ in self._items])

    def __repr__(self) -> str:
        return f"Table({list(self._items)!r})"


Value: TypeAlias = (
    bool
    | Count
    | int
    | float
    | bytes
    | Address
    | Subnet
    | Port
    | Timestamp
    | Timespan
    | EnumValue
    | Set
    | Table
    | Vector
    | None
)
"""Any of Broker's values."""

_SET, _TABLE, _VECTOR = 12, 13, 14


def sort_key(value: object) -> Key:
    """What orders values as Broker does: by type first, then within the type.

    Keys of any two values can be compared, and are equal exactly if the values are the same. Zero is the same as minus
    zero. NaN, for which Broker has no order, is the same as NaN and above all other reals. An address is the same as
    the one mapped into IPv6.

    Raises:
        TypeError: not one of Broker's values.
    """
    make = _KEYS.get(type(value))
    if make is None:
        raise TypeError(f"not a value of Broker: {type(value).__name__}")
    return make(value)


def is_same(left: Value, right: Value) -> bool:
    """Whether two values are of the same type and equal."""
    return sort_key(left) == sort_key(right)


def type_name(value: Value) -> str:
    """Broker's word for the type of a value: "count", "string"."""
    return _NAMES[type(value)]


def _find(keys: Sequence[Key], key: Key) -> int | None:
    """Where a key is among sorted ones."""
    index = bisect_left(keys, key)
    return index if index < len(keys) and keys[index] == key else None


def _sort_distinct(keys: list[Key]) -> tuple[Key, ...]:
    # Sorted, not hashed: a peer can choose values whose hashes collide.
    keys.sort()
    if any(map(operator.eq, keys, keys[1:])):
        raise ValueError("a value occurs twice in a set, or as a key of a table")
    return tuple(keys)


def _make_real_key(value: float) -> Key:
    return (4, True, 0.0) if math.isnan(value) else (4, False, value)


_KEYS: dict[type, Callable[[Any], Key]] = {
    NoneType: lambda _value: (0,),
    bool: lambda value: (1, value),
    Count: lambda value: (2, value.value),
    int: lambda value: (3, value),
    float: _make_real_key,
    bytes: lambda value: (5, value),
    Address: lambda value: (6, value.wide),
    Subnet: lambda value: (7, value.address.wide, value.wide_length),
    Port: lambda value: (8, value.number, value.protocol),
    Timestamp: lambda value: (9, value.ns),
    Timespan: lambda value: (10, value.ns),
    EnumValue: lambda value: (11, as_bytes(value.name)),
    Set: Set.sort_key,
    Table: Table.sort_key,
    Vector: Vector.sort_key,
}

_NAMES: dict[type, str] = {
    NoneType: "none",
    bool: "boolean",
    int: "integer",
    float: "real",
    bytes: "string",
    EnumValue: "enum",
    **{each: each.__name__.lower() for each in (Count, Address, Subnet, Port, Timestamp, Timespan, Set, Table, Vector)},
}
