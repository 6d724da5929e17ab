"""Accounts and the identity that holds for each of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from appliance.runtime.ledger import DELIBERATE, REFUSED, Account, Ledger

REASONS = ["where", "bad_json", "queue_full", "stalled", "anything_else"]


def test_what_was_dropped_is_of_three_kinds() -> None:
    """Asked for, no valid input, or a loss; an unknown reason is a loss."""
    account = Account("zmq.a")
    account.received = 10
    account.drop("where", 1)
    account.drop("bad_json", 2)
    account.drop("queue_full", 3)
    account.drop("new_reason", 4)
    account.drop("never", 0)
    figures = account.statistics()
    assert (figures.filtered, figures.refused, figures.lost, figures.imbalance) == (1, 2, 7, 0)
    assert figures.dropped == {"where": 1, "bad_json": 2, "queue_full": 3, "new_reason": 4}
    assert not DELIBERATE & REFUSED


@given(st.integers(0, 99), st.lists(st.tuples(st.sampled_from(REASONS), st.integers(0, 99))), st.integers(0, 99))
def test_identity(delivered: int, drops: list[tuple[str, int]], queued: int) -> None:
    """A record that is booked nowhere, or twice, shows as an imbalance."""
    account = Account("sink.a")
    account.add_holder(lambda: queued)
    account.delivered = delivered
    for reason, count in drops:
        account.drop(reason, count)
    account.received = delivered + queued + sum(count for _, count in drops)
    figures = account.statistics()
    assert figures.imbalance == 0
    assert figures.lost + figures.refused + figures.filtered == sum(figures.dropped.values())
    account.delivered += 1
    assert account.statistics().imbalance == -1


def test_figures_are_of_one_moment() -> None:
    """What is booked later does not change them."""
    account = Account("sink.a", unit="packets")
    account.drop("where", 1)
    figures = account.statistics()
    account.drop("where", 1)
    assert figures.dropped == {"where": 1}
    assert (figures.name, figures.unit) == ("sink.a", "packets")


def test_holders_come_and_go() -> None:
    """All of them together hold what is queued."""
    account = Account("sink.a")

    def two() -> int:
        return 2

    account.add_holder(two)
    account.add_holder(lambda: 3)
    assert account.queued == 5
    account.remove_holder(two)
    assert account.queued == 3


def test_an_account_is_opened_once() -> None:
    """It outlives whoever books in it, and the order is that of the opening."""
    ledger = Ledger()
    second = ledger.account("zmq.b")
    first = ledger.account("zmq.a", unit="packets")
    assert ledger.account("zmq.b") is second
    assert list(ledger) == [second, first]
    first.drop("queue_full", 2)
    second.drop("stalled", 1)
    second.drop("where", 5)
    assert ledger.lost == 3
    assert [(f.name, f.unit) for f in ledger.statistics()] == [("zmq.b", "records"), ("zmq.a", "packets")]
