"""Broker's values in Python: what is equal, and in which order they stand."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given, settings

from appliance.zeek.address import Address, Port, Subnet
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

ASCENDING: list[Value] = [
    None,
    False,
    True,
    Count(0),
    Count(1),
    Count(2**64 - 1),
    -(2**63),
    -1,
    0,
    1,
    -math.inf,
    -1.5,
    0.0,
    1.0,
    math.inf,
    math.nan,
    b"",
    b"a",
    b"a\x00",
    b"b",
    b"\xff",
    Address.parse("::1"),
    Address.parse("1.2.3.4"),
    Address.parse("2001:db8::"),
    Subnet.parse("::/0"),
    Subnet.parse("0.0.0.0/0"),
    Subnet.parse("0.0.0.0/8"),
    Subnet.parse("10.0.0.0/8"),
    Port(1, 2),
    Port(80, 0),
    Port(80, 1),
    Timestamp(-1),
    Timestamp(1),
    Timespan(-5),
    Timespan(5),
    EnumValue("A"),
    EnumValue("a"),
    Set(),
    Set([1]),
    Set([2, 1]),
    Set([2]),
    Table(),
    Table([(1, 1)]),
    Table([(1, 2)]),
    Table([(2, 0)]),
    Vector(),
    Vector([True]),
    Vector([Count(1)]),
    Vector([1]),
    Vector([1, None]),
    Vector([1.0]),
]


def test_values_are_ordered_by_type_first() -> None:
    """Broker's order: by number of the type, then within the type."""
    assert sorted(random.Random(1).sample(ASCENDING, len(ASCENDING)), key=sort_key) == ASCENDING


def test_values_of_different_types_are_never_the_same() -> None:
    """Each of the values differs from each of the others, though Python takes some for equal."""
    for left, right in itertools.combinations(ASCENDING, 2):
        assert not is_same(left, right), (left, right)


@pytest.mark.parametrize("make", [Vector, Set])
def test_containers_tell_their_elements_apart(make: type[Set | Vector]) -> None:
    """A container of 1 is none of true, of 1.0 or of a count 1."""
    ones: list[Value] = [1, 1.0, True, Count(1), Timestamp(1), Timespan(1)]
    assert len({make([one]) for one in ones}) == len(ones)
    assert len(Set(ones)) == len(ones)


def test_table_tells_its_keys_apart() -> None:
    """Looking up 1 in a table does not find true."""
    table = Table([(1, b"integer"), (True, b"boolean"), (1.0, b"real"), (Count(1), b"count")])
    assert [table[1], table[True], table[1.0], table[Count(1)]] == [b"integer", b"boolean", b"real", b"count"]
    assert 1 in table
    assert Timestamp(1) not in table
    assert list(table) == [1, True, 1.0, Count(1)]
    assert len(table) == 4
    with pytest.raises(KeyError):
        table[2]


def test_set_finds_its_elements_by_type() -> None:
    """Membership compares types."""
    assert 1 in Set([1, b"x"])
    assert True not in Set([1, b"x"])
    assert 3 not in Set([1, 2])


def test_order_of_elements_matters_only_in_a_vector() -> None:
    """Sets and tables keep the order in which they were given, but it does not count."""
    assert Set([1, 2]) == Set([2, 1])
    assert hash(Set([1, 2])) == hash(Set([2, 1]))
    assert list(Set([2, 1])) == [2, 1]
    assert Table([(1, 2), (3, 4)]) == Table([(3, 4), (1, 2)])
    assert hash(Table([(1, 2), (3, 4)])) == hash(Table([(3, 4), (1, 2)]))
    assert Vector([1, 2]) != Vector([2, 1])
    assert Vector() != Set()


@pytest.mark.parametrize(
    "items",
    [[1, 1], [Set([1, 2]), Set([2, 1])], [0.0, -0.0], [math.nan, math.nan]],
)
def test_duplicates_are_refused(items: list[Value]) -> None:
    """Neither a set nor the keys of a table may hold a value twice."""
    with pytest.raises(ValueError, match="twice"):
        Set(items)
    with pytest.raises(ValueError, match="twice"):
        Table((item, None) for item in items)


def test_mapped_address_is_the_ipv4_address() -> None:
    """Broker transmits IPv4 addresses mapped into IPv6 and cannot tell them apart."""
    assert is_same(Address.parse("1.2.3.4"), Address.parse("::ffff:1.2.3.4"))
    assert is_same(Subnet.parse("1.2.3.0/24"), Subnet.parse("::ffff:1.2.3.0/120"))


@pytest.mark.parametrize("thing", ["text", 1j, (1,), [1], object()])
def test_other_python_values_are_refused(thing: object) -> None:
    """What is no value of Broker has no order."""
    with pytest.raises(TypeError, match="not a value of Broker"):
        sort_key(thing)


def test_vector_is_a_sequence() -> None:
    """Vectors can be indexed, sliced and searched."""
    vector = Vector([1, b"x", None])
    assert (vector[0], vector[1:], len(vector), vector.index(b"x")) == (1, (b"x", None), 3, 1)
    assert repr(Vector([1])) == "Vector([1])"
    assert repr(Set([1])) == "Set([1])"
    assert repr(Table([(1, 2)])) == "Table([(1, 2)])"


@settings(deadline=None)
@given(values, values)
def test_equal_containers_have_equal_keys_and_hashes(left: Value, right: Value) -> None:
    """Equality, order and hash agree with each other."""
    one, other = Vector([left]), Vector([right])
    assert (one == other) is (sort_key(left) == sort_key(right))
    assert one == Vector([left])
    assert hash(one) == hash(Vector([left]))
    assert (sort_key(left) <= sort_key(right)) or (sort_key(right) < sort_key(left))
