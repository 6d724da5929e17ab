"""Accounts that last as long as what they are of."""

from __future__ import annotations

from .ledger import Account, Ledger

__all__ = ["HeldAccounts"]


class HeldAccounts:
    """Accounts that are in the ledger from the first `hold` until `release`, however often their service starts anew.

    Args:
        accounts: of one service.
    """

    def __init__(self, ledger: Ledger, *accounts: Account) -> None:
        self._ledger, self._accounts = ledger, accounts
        self.is_held = False

    def hold(self) -> None:
        """The service starts, maybe again."""
        if not self.is_held:
            self.is_held = True
            for account in self._accounts:
                self._ledger.hold(account)

    def release(self) -> None:
        """It does not run, and will not run again: they have their last figures."""
        self.hold()
        self.is_held = False
        for account in self._accounts:
            self._ledger.release(account)
