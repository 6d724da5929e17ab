"""The last hour of every account: rates between samples, and never more than there is room for."""

from __future__ import annotations

from math import isnan

from appliance.runtime.history import INTERVAL_S, LENGTH, MAX_ACCOUNTS, History
from appliance.runtime.ledger import Account


def test_rates_are_differences() -> None:
    """Of what was received and lost; what is queued is as it was."""
    history, account = History(), Account("zmq.a")
    for at_s, received, lost in ((0.0, 0, 0), (5.0, 50, 0), (10.0, 150, 20)):
        account.received = received
        account.dropped = {"overflow": lost} if lost else {}
        history.sample(at_s, [account])
    assert history.points("zmq.a") == [(10.0, 0.0, 0.0), (20.0, 4.0, 0.0)]


def test_samples_between_are_left_out() -> None:
    """Whoever calls it every second makes no more of them."""
    history, account = History(), Account("a")
    for second in range(21):
        account.received = second * 7
        history.sample(float(second), [account])
    assert history.points("a") == [(7.0, 0.0, 0.0)] * 4


def test_an_hour_is_kept() -> None:
    """And nothing older."""
    history, account = History(), Account("a")
    for tick in range(LENGTH + 100):
        account.received = tick * tick * 5
        history.sample(tick * INTERVAL_S, [account])
    points = history.points("a")
    assert len(points) == LENGTH - 1
    assert points[-1][0] == (LENGTH + 99) ** 2 - (LENGTH + 98) ** 2
    assert points[0][0] == 101**2 - 100**2


def test_accounts_come_and_go() -> None:
    """What was not there has a hole; what is gone is forgotten, and a counter that begins anew is no negative rate."""
    history, first, second = History(), Account("a"), Account("b")
    history.sample(0.0, [first])
    second.received = 500
    history.sample(5.0, [first, second])
    second.received = 100
    history.sample(10.0, [second])
    assert history.points("a") == []
    assert [isnan(each[0]) for each in history.points("b")] == [True, False]
    assert history.points("b")[-1] == (0.0, 0.0, 0.0)
    assert history.points("nobody") == []


def test_there_is_a_bound() -> None:
    """Those that were there first have a history."""
    history = History()
    accounts = [Account(str(number)) for number in range(MAX_ACCOUNTS + 5)]
    for second in (0.0, 5.0):
        history.sample(second, accounts)
    assert sum(bool(history.points(each.name)) for each in accounts) == MAX_ACCOUNTS
    assert history.points("0")
