"""What `Add` and `Subtract` make of a value.

Source: Broker, ``detail/appliers.hh``, ``detail/memory_backend.cc``.
"""

from __future__ import annotations

from appliance.zeek.values import Count, Set, Table, Timespan, Timestamp, Value, Vector, is_same, type_name

__all__ = ["INIT_TYPES", "TypeClashError", "add", "initial", "subtract"]

_UINT64, _INT64 = 1 << 64, 1 << 63
INIT_TYPES: dict[type, int] = {
    Count: 2, int: 3, float: 4, Timespan: 9, bytes: 5, Set: 12, Table: 13, Vector: 14,
}  # fmt: skip
"""The number of the type that a missing value gets, by what is added to it; of a container: by the container."""


class TypeClashError(ValueError):
    """The value is of a type with which that cannot be done."""


def initial(init_type: int) -> Value:
    """What a missing value is before something is added to it.

    Raises:
        TypeClashError: nothing can be added to a value of that type.
    """
    values: dict[int, Value] = {
        2: Count(0), 3: 0, 4: 0.0, 5: b"", 9: Timestamp(0), 10: Timespan(0), 12: Set(), 13: Table(), 14: Vector(),
    }  # fmt: skip
    if init_type not in values:
        raise TypeClashError(f"nothing can be added to a value of type {init_type}")
    return values[init_type]


def add(old: Value, value: Value) -> Value:
    """`old` with `value` added, appended or inserted.

    Raises:
        TypeClashError: of other types.
    """
    if isinstance(old, bytes) and isinstance(value, bytes):
        return old + value
    if isinstance(old, Vector):
        return Vector((*old, value))
    if isinstance(old, Set):
        return old if value in old else Set((*old, value))
    if isinstance(old, Table):
        if not isinstance(value, Vector) or len(value) != 2:
            raise TypeClashError("what goes into a table is a vector of key and value")
        return Table((*_without(old, value[0]), (value[0], value[1])))
    return _sum(old, value, 1)


def subtract(old: Value, value: Value) -> Value:
    """`old` with `value` subtracted or removed; of a vector the last element, whatever `value` is.

    Raises:
        TypeClashError: of other types.
    """
    if isinstance(old, Vector):
        return Vector(old[:-1])
    if isinstance(old, Set):
        return Set(item for item in old if not is_same(item, value))
    if isinstance(old, Table):
        return Table(_without(old, value))
    return _sum(old, value, -1)


def _without(table: Table, key: Value) -> list[tuple[Value, Value]]:
    return [pair for pair in table.pairs() if not is_same(pair[0], key)]


def _sum(old: Value, value: Value, sign: int) -> Value:
    """Numbers wrap around at 64 bits, as they do in Broker."""
    if type(old) is Count and type(value) is Count:
        return Count((old.value + sign * value.value) % _UINT64)
    if type(old) is int and type(value) is int:
        return _wrap(old + sign * value)
    if type(old) is float and type(value) is float:
        return old + sign * value
    if isinstance(old, Timespan) and isinstance(value, Timespan):
        return Timespan(_wrap(old.ns + sign * value.ns))
    if isinstance(old, Timestamp) and isinstance(value, Timespan):
        return Timestamp(_wrap(old.ns + sign * value.ns))
    raise TypeClashError(f"a {type_name(value)} cannot be added to or taken from a {type_name(old)}")


def _wrap(number: int) -> int:
    return (number + _INT64) % _UINT64 - _INT64
