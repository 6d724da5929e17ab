"""The books of a socket: what it received, in the account of the first capture that has it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from appliance.runtime.held_accounts import HeldAccounts
from appliance.runtime.ledger import Ledger

__all__ = ["SocketBooks"]


class SocketBooks:
    """See the module.

    Args:
        ledger: where the account is.
        name: of the account.
    """

    def __init__(self, ledger: Ledger, name: str) -> None:
        self._ledger = ledger
        self._account = ledger.account(name, unit="packets")
        self._held = HeldAccounts(ledger, self._account)
        self._in_hand = 0
        self._is_open = False
        self.kernel_drops = 0
        """Booked so far."""

    def open(self) -> None:
        """The service starts."""
        self._held.hold()
        self._account.add_holder(self._count_in_hand)
        self._is_open = True

    def close(self) -> None:
        """It has ended, and may start again."""
        self._is_open = False
        self._account.remove_holder(self._count_in_hand)

    def release(self) -> None:
        """See `HeldAccounts.release`."""
        self._held.release()

    def rename(self, name: str) -> None:
        """Book in another account from now on; what is in hand goes with it."""
        before, self._account = self._account, self._ledger.account(name, unit="packets")
        before.received -= self._in_hand
        self._account.received += self._in_hand
        if self._is_open:
            before.remove_holder(self._count_in_hand)
            self._account.add_holder(self._count_in_hand)
        held, self._held = self._held, HeldAccounts(self._ledger, self._account)
        if held.is_held:
            self._held.hold()
            held.release()

    def _count_in_hand(self) -> int:
        return self._in_hand

    # ── what comes ──

    def take(self, count: int) -> None:
        """So many packets came, and a handler has them."""
        self._account.received += count
        self._account.delivered += count

    def refuse(self, reason: str) -> None:
        """Something came that is no packet."""
        self._account.received += 1
        self._account.drop(reason, 1)

    def note_kernel_drops(self, total: int) -> None:
        """The kernel has dropped so many packets since the socket was opened."""
        more, self.kernel_drops = total - self.kernel_drops, total
        self._account.received += more
        self._account.drop("kernel", more)

    @contextmanager
    def holding(self, count: int, is_wanted: Callable[[], bool]) -> Iterator[None]:
        """So many packets came, and are in hand while this lasts; then they are delivered, if anybody wants them."""
        self._account.received += count
        self._in_hand += count
        try:
            yield
        except BaseException:
            self._account.drop("shutdown", count)
            raise
        else:
            if is_wanted():
                self._account.delivered += count
            else:
                self._account.drop("unwanted", count)
        finally:
            self._in_hand -= count
