"""Random values, schemas and records."""

from __future__ import annotations

from hypothesis import strategies as st

from appliance.zeek.address import Address, Port, Subnet
from appliance.zeek.records import Atom, Datum, Record
from appliance.zeek.schema import ATOMIC_TYPES, Field, LogSchema, ZeekType, as_text
from appliance.zeek.values import Count, EnumValue, Set, Table, Timespan, Timestamp, Value, Vector, sort_key

int64 = st.integers(-(1 << 63), (1 << 63) - 1)
uint64 = st.integers(0, (1 << 64) - 1)
names = st.binary(max_size=12).map(as_text)
addresses = st.builds(Address, st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16))
broker_addresses = addresses.map(lambda address: Address.unmap(address.wide))
ports = st.builds(Port, st.integers(0, 0xFFFF), st.integers(0, 3))
# Broker cannot hold subnormals, and NaN would have to be compared by hand.
reals = st.floats(allow_nan=False, allow_subnormal=False)


def subnets_of(of: st.SearchStrategy[Address]) -> st.SearchStrategy[Subnet]:
    return of.flatmap(lambda address: st.builds(Subnet, st.just(address), st.integers(0, 8 * len(address.packed))))


atoms: st.SearchStrategy[Value] = st.one_of(
    st.none(),
    st.booleans(),
    st.builds(Count, uint64),
    int64,
    reals,
    st.binary(max_size=20),
    broker_addresses,
    subnets_of(broker_addresses).map(Subnet.masked),
    ports,
    st.builds(Timestamp, int64),
    st.builds(Timespan, int64),
    st.builds(EnumValue, names),
)
# Few and small values, so that a set meets the same number in several types.
twins: st.SearchStrategy[Value] = st.sampled_from(
    [0, 1, 0.0, 1.0, False, True, Count(0), Count(1), Timestamp(1), Timespan(1), b"", b"1", EnumValue("1"), None]
)


def _containers(inner: st.SearchStrategy[Value]) -> st.SearchStrategy[Value]:
    return st.one_of(
        st.lists(inner, max_size=4).map(Vector),
        st.lists(inner, max_size=4, unique_by=sort_key).map(Set),
        st.lists(st.tuples(inner, inner), max_size=4, unique_by=lambda pair: sort_key(pair[0])).map(Table),
    )


@st.composite
def _draw_atom(draw: st.DrawFn) -> Value:
    # A function of its own, so that hypothesis has a short name for it; it prints all names, nested.
    return draw(atoms | twins)


values: st.SearchStrategy[Value] = st.recursive(_draw_atom(), _containers, max_leaves=12)

_ATOMS: dict[ZeekType, st.SearchStrategy[Atom]] = {
    ZeekType.BOOL: st.booleans(),
    ZeekType.INT: int64,
    ZeekType.COUNT: uint64,
    ZeekType.DOUBLE: st.floats(allow_nan=False),
    ZeekType.TIME: st.floats(allow_nan=False),
    ZeekType.INTERVAL: st.floats(allow_nan=False),
    ZeekType.STRING: st.binary(max_size=20),
    ZeekType.ENUM: st.binary(max_size=20),
    ZeekType.FUNC: st.binary(max_size=20),
    ZeekType.FILE: st.binary(max_size=20),
    ZeekType.PORT: ports,
    ZeekType.ADDR: addresses,
    ZeekType.SUBNET: subnets_of(addresses),
}

_atomic = st.sampled_from(sorted(ATOMIC_TYPES))
_shapes = st.tuples(_atomic, st.just(ZeekType.VOID)) | st.tuples(
    st.sampled_from([ZeekType.TABLE, ZeekType.VECTOR]), _atomic
)
fields = st.builds(
    lambda name, secondary, shape, optional: Field(name, secondary, shape[0], shape[1], optional),
    names,
    st.none() | names,
    _shapes,
    st.booleans(),
)
schemas = st.builds(
    LogSchema,
    stream=names,
    writer=names,
    filter=names,
    path=names,
    fields=st.lists(fields, min_size=1, max_size=6).map(tuple),
)


def data_of(field: Field) -> st.SearchStrategy[Datum]:
    if field.type in _ATOMS:
        return st.none() | _ATOMS[field.type]
    return st.none() | st.lists(st.none() | _ATOMS[field.subtype], max_size=4).map(tuple)


def records_of(schema: LogSchema) -> st.SearchStrategy[Record]:
    return st.tuples(*[data_of(field) for field in schema.fields])


logs = schemas.flatmap(lambda schema: st.tuples(st.just(schema), st.lists(records_of(schema), max_size=4)))
"""A schema and records of it."""
