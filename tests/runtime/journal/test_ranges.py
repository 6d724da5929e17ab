"""Ranges against a set of numbers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from appliance.runtime.journal.ranges import Ranges

pairs = st.tuples(st.integers(0, 40), st.integers(0, 40))


@given(steps=st.lists(st.tuples(st.booleans(), pairs), max_size=30))
def test_ranges_hold_what_a_set_would(steps: list[tuple[bool, tuple[int, int]]]) -> None:
    """Whatever is added and taken out, and no two ranges touch."""
    ranges, model = Ranges(), set[int]()
    for is_added, (begin, end) in steps:
        if is_added:
            ranges.add(begin, end)
            model |= set(range(begin, end))
        else:
            ranges.discard(begin, end)
            model -= set(range(begin, end))
        found = list(ranges)
        assert [n for pair in found for n in range(*pair)] == sorted(model)
        assert all(a[1] < b[0] for a, b in zip(found, found[1:], strict=False))
        assert (len(ranges), bool(ranges)) == (len(model), bool(model))
    outside = ranges.outside(41)
    assert {n for pair in outside for n in range(*pair)} == set(range(41)) - model


def test_the_first_range_is_the_lowest() -> None:
    """In whatever order they were given."""
    assert Ranges([(7, 9), (1, 3)]).first() == (1, 3)
