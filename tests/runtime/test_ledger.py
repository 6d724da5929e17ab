"""Accounts and the identity that holds for each of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from appliance.runtime.ledger import MAX_ENDED, Account, Ledger
from appliance.runtime.reasons import DELIBERATE, REFUSED

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


def book(ledger: Ledger, name: str, unit: str = "packets") -> Account:
    """An account of somebody who came and went."""
    account = ledger.account(name, unit=unit)
    ledger.hold(account)
    account.received += 5
    account.delivered += 3
    account.drop("disk", 2)
    ledger.release(account)
    return account


def test_what_came_and_went_is_bounded_and_nothing_is_lost() -> None:
    """The oldest become part of a total of their kind, which balances; those that nobody released stay."""
    ledger = Ledger()
    stays = ledger.account("handler.c/stays", unit="packets")
    ledger.hold(stays)
    never = ledger.account("zmq.a")
    for number in range(MAX_ENDED + 7):
        book(ledger, f"handler.c/{number}")
    for number in range(MAX_ENDED):
        book(ledger, f"capture.{number}.segments", "segments")
    assert len(list(ledger)) == MAX_ENDED + 3
    assert ledger.account("handler.c/stays") is stays
    assert ledger.account("zmq.a") is never
    found = {figures.name: figures for figures in ledger.statistics()}
    total = found["handler.*"]
    assert (total.received, total.delivered, total.dropped) == (5 * (MAX_ENDED + 7), 3 * (MAX_ENDED + 7), {
        "disk": 2 * (MAX_ENDED + 7)
    })  # fmt: skip
    assert total.imbalance == 0
    assert total.unit == "packets"
    assert sum(account.received for account in ledger) == 5 * (2 * MAX_ENDED + 7)
    assert ledger.lost == 2 * (2 * MAX_ENDED + 7)


def test_who_comes_back_goes_on_in_his_account() -> None:
    """While it is there; after that he begins anew, and the total keeps what was."""
    ledger = Ledger()
    first = book(ledger, "handler.c/a")
    for number in range(MAX_ENDED - 1):
        book(ledger, f"handler.c/{number}")
    assert book(ledger, "handler.c/a") is first
    assert first.received == 10
    for number in range(MAX_ENDED):
        book(ledger, f"handler.d/{number}")
    again = book(ledger, "handler.c/a")
    assert again is not first
    assert again.received == 5
    assert sum(account.received for account in ledger) == 5 * (2 * MAX_ENDED + 2)


def test_an_account_with_two_users_ends_with_the_second() -> None:
    """A handler that is replaced hands its account to its successor."""
    ledger = Ledger()
    account = ledger.account("handler.c/a", unit="packets")
    ledger.hold(account)
    ledger.hold(account)
    ledger.release(account)
    for number in range(MAX_ENDED + 1):
        book(ledger, f"handler.c/{number}")
    assert ledger.account("handler.c/a") is account
    ledger.release(account)
    assert len(list(ledger)) == MAX_ENDED + 1
