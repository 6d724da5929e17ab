"""When each account last lost something: what an operator must look at now is what was lost lately."""

from __future__ import annotations

from collections.abc import Iterable

from .ledger import Account

__all__ = ["LATELY_S", "Losses"]

LATELY_S = 3600.0
"""A loss that is longer ago is counted still, and is no reason any more to get somebody up."""


class Losses:
    """Looks at the accounts again and again; a loss has the time of the look that found it."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, float | None]] = {}
        """Lost so far, and when that was found to grow."""

    def look(self, accounts: Iterable[Account], now_s: float) -> None:
        """Compare each account with what it had lost before; those that are gone are forgotten."""
        found: dict[str, tuple[int, float | None]] = {}
        for account in accounts:
            before, at_s = self._seen.get(account.name, (0, None))
            found[account.name] = account.lost, now_s if account.lost > before else at_s
        self._seen = found

    def ago_s(self, name: str, now_s: float) -> float | None:
        """Seconds since the account last lost something; None: it never did."""
        _, at_s = self._seen.get(name, (0, None))
        return None if at_s is None else round(now_s - at_s, 3)
