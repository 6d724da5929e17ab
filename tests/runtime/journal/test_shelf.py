"""Which letters are in memory, and when they are due."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from appliance.runtime.journal.entries import Letter
from appliance.runtime.journal.shelf import RetryPolicy, Shelf
from tests.fakes import batch


def letter(number: int, due_ns: int) -> Letter:
    return Letter(
        id=number, hook="h", item=batch(number, 1), attempts=1, due_ns=due_ns, first_ns=0, reason="hook_error"
    )


def test_delays_double_up_to_the_longest() -> None:
    """And chance shortens them by a fifth at most."""
    policy = RetryPolicy(first_s=1.0, longest_s=5.0)
    assert [policy.delay_s(n, uniform=lambda: 0.0) for n in (1, 2, 3, 4, 5000)] == [1.0, 2.0, 4.0, 5.0, 5.0]
    assert policy.delay_s(2, uniform=lambda: 1.0) == 1.6


@given(dues=st.lists(st.integers(0, 50), max_size=30), limit=st.integers(1, 5))
def test_letters_come_in_the_order_in_which_they_are_due(dues: list[int], limit: int) -> None:
    """However few are in memory: the others are loaded from where all are."""
    shelf = Shelf(limit=limit)
    stored = {n: letter(n, due) for n, due in enumerate(dues)}
    for each in stored.values():
        shelf.add(each)
    popped: list[int] = []
    while stored:
        if shelf.is_low:
            nearest = sorted(stored.values(), key=lambda x: (x.due_ns, x.id))[:limit]
            shelf.fill(nearest, without=(), is_all=len(nearest) < limit)
        assert len(shelf) <= limit
        due_ns = shelf.next_due_ns
        assert due_ns is not None
        assert shelf.pop_due(due_ns - 1) is None
        found = shelf.pop_due(due_ns)
        assert found is not None
        assert found.id not in shelf
        popped.append(found.due_ns)
        del stored[found.id]
    assert popped == sorted(dues)


def test_what_is_being_tried_is_not_taken_in_again() -> None:
    """It may have been read from the journal before that was written there."""
    shelf = Shelf()
    shelf.fill([letter(1, 5), letter(2, 6)], without={1}, is_all=True)
    assert 1 not in shelf
    assert 2 in shelf
    assert not shelf.has_more


def test_what_comes_back_earlier_than_what_is_here_is_looked_for() -> None:
    """A letter that a person revives is due at once, however long those in memory have to wait."""
    shelf = Shelf()
    shelf.add(letter(1, 1000))
    assert not shelf.is_low
    shelf.refresh()
    assert shelf.is_low
    shelf.fill([letter(2, 5), letter(1, 1000)], without=(), is_all=True)
    assert not shelf.is_low
    assert [shelf.pop_due(2000), shelf.pop_due(2000), shelf.pop_due(2000)] == [letter(2, 5), letter(1, 1000), None]
