"""What is added to and taken from values."""

from __future__ import annotations

import pytest
from hypothesis import given

from appliance.wire.stores.operations import TypeClashError, add, initial, subtract
from appliance.zeek.values import Count, Port, Set, Table, Timespan, Timestamp, Value, Vector, is_same
from tests.zeek.strategies import values


@pytest.mark.parametrize(
    ("old", "value", "new"),
    [
        (Count(2), Count(3), Count(5)),
        (Count(2**64 - 1), Count(2), Count(1)),
        (2, -3, -1),
        (2**63 - 1, 1, -(2**63)),
        (1.5, 1.0, 2.5),
        (b"ab", b"c", b"abc"),
        (Timestamp(5), Timespan(3), Timestamp(8)),
        (Timespan(5), Timespan(3), Timespan(8)),
        (Vector([1]), b"x", Vector([1, b"x"])),
        (Set([1]), Count(1), Set([1, Count(1)])),
        (Set([1]), 1, Set([1])),
        (Table([(1, 2)]), Vector([1, 3]), Table([(1, 3)])),
        (Table([(1, 2)]), Vector([2, 3]), Table([(1, 2), (2, 3)])),
    ],
)
def test_add(old: Value, value: Value, new: Value) -> None:
    """For each type that can be added to."""
    assert is_same(add(old, value), new)


@pytest.mark.parametrize(
    ("old", "value", "new"),
    [
        (Count(2), Count(3), Count(2**64 - 1)),
        (2, 3, -1),
        (1.5, 1.0, 0.5),
        (Timestamp(5), Timespan(3), Timestamp(2)),
        (Timespan(5), Timespan(3), Timespan(2)),
        (Vector([1, 2]), 7, Vector([1])),
        (Vector(), 7, Vector()),
        (Set([1, 2]), 1, Set([2])),
        (Table([(1, 2), (2, 2)]), 1, Table([(2, 2)])),
    ],
)
def test_subtract(old: Value, value: Value, new: Value) -> None:
    """For each type that can be taken from."""
    assert is_same(subtract(old, value), new)


@pytest.mark.parametrize(
    ("old", "value"),
    [
        (Count(1), 1),
        (1, 1.0),
        (b"a", 1),
        (True, True),
        (None, 1),
        (Port(1, 1), 1),
        (Timestamp(1), Timestamp(1)),
        (Table(), 1),
        (Table(), Vector([1])),
    ],
)
def test_types_that_do_not_fit(old: Value, value: Value) -> None:
    """Are said, and nothing is guessed."""
    with pytest.raises(TypeClashError):
        add(old, value)
    if not isinstance(old, Table):
        with pytest.raises(TypeClashError):
            subtract(old, value)


def test_strings_do_not_get_shorter() -> None:
    """As in Broker."""
    with pytest.raises(TypeClashError):
        subtract(b"ab", b"b")


@pytest.mark.parametrize("number", [0, 1, 6, 7, 8, 11, 15, 255])
def test_types_that_begin_with_nothing(number: int) -> None:
    """There are such to which nothing can be added."""
    with pytest.raises(TypeClashError):
        initial(number)


@given(values)
def test_a_set_gets_and_loses_what_it_is_given(value: Value) -> None:
    """Whatever it is."""
    assert list(add(initial(12), value)) == [value]  # type: ignore[arg-type]
    assert not subtract(add(initial(12), value), value)
    assert add(initial(14), value)[0] is value  # type: ignore[index]
