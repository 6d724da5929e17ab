"""When accounts lost something for the last time."""

from __future__ import annotations

from appliance.runtime.ledger import Ledger
from appliance.runtime.losses import Losses


def test_a_loss_has_the_time_of_the_look_that_found_it() -> None:
    """Each account by itself; what was meant to be dropped is none."""
    ledger, losses = Ledger(), Losses()
    one, other = ledger.account("sink.a"), ledger.account("sink.b")
    losses.look(ledger, 1.0)
    assert losses.ago_s("sink.a", 1.0) is None
    one.drop("queue_full", 2)
    other.drop("excluded", 5)
    losses.look(ledger, 2.0)
    losses.look(ledger, 9.0)
    assert losses.ago_s("sink.a", 9.5) == 7.5
    assert losses.ago_s("sink.b", 9.5) is None
    one.drop("queue_full", 1)
    losses.look(ledger, 10.0)
    assert losses.ago_s("sink.a", 10.0) == 0.0


def test_accounts_that_are_gone_are_forgotten() -> None:
    """One that comes back under the name has lost nothing yet; nobody is remembered for ever."""
    ledger, losses = Ledger(), Losses()
    ledger.account("sink.a").drop("queue_full", 2)
    losses.look(ledger, 1.0)
    losses.look([], 2.0)
    assert losses.ago_s("sink.a", 3.0) is None
