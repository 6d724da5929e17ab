"""Accounts that last as long as what they are of."""

from __future__ import annotations

import pytest

from appliance.runtime import ledger as ledger_module
from appliance.runtime.held_accounts import HeldAccounts
from appliance.runtime.ledger import Ledger


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """One in which accounts become a part of the total of their kind, ``a.*``, as soon as they have ended."""
    monkeypatch.setattr(ledger_module, "MAX_ENDED", 0)
    return Ledger()


def names(ledger: Ledger) -> list[str]:
    return [account.name for account in ledger]


def test_a_service_that_starts_anew_keeps_its_accounts(ledger: Ledger) -> None:
    """One release is enough, however often it was held."""
    held = HeldAccounts(ledger, ledger.account("a.x"), ledger.account("b.x"))
    for _ in range(3):
        held.hold()
    assert held.is_held
    assert names(ledger) == ["a.x", "b.x"]
    held.release()
    assert not held.is_held
    assert names(ledger) == ["a.*", "b.*"]


def test_a_generation_goes_and_another_one_stays(ledger: Ledger) -> None:
    """Two services of one name share an account: it stays until both are released."""
    first, second = (HeldAccounts(ledger, ledger.account("a.x")) for _ in range(2))
    first.hold()
    second.hold()
    first.release()
    assert names(ledger) == ["a.x"]
    second.release()
    assert names(ledger) == ["a.*"]


def test_what_never_ran_is_released_as_well(ledger: Ledger) -> None:
    """Its accounts were opened when it was made."""
    HeldAccounts(ledger, ledger.account("a.x")).release()
    assert names(ledger) == ["a.*"]
