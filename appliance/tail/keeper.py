"""When positions are saved: behind the consumers, so that a crash repeats records rather than losing them.

What was handed to consumers waits in queues, many of them in memory. So positions are taken at one moment, together
with how many records each consumer had received until then, and are saved when every consumer has settled as many, or
has them on disk.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import structlog
import trio

from appliance.runtime.ledger import Account, Ledger

from .position import Position, save_positions

__all__ = ["Keeper"]

log = structlog.get_logger("tail")

SAVE_S = 1.0
"""Shortest time between two saves; also at least `SHARE` times what the last one took."""
SHARE = 20


class Keeper:
    """Saves the positions of one door.

    Args:
        path: the file.
        positions: what is to be saved at a moment.
        ledger: tells what consumers have settled.
        own: the door's account, which is no consumer's.
    """

    def __init__(self, path: Path, positions: Callable[[], list[Position]], *, ledger: Ledger, own: Account) -> None:
        self.path = path
        self.is_failing = False
        self._positions = positions
        self._ledger = ledger
        self._own = own
        self._saved: list[Position] | None = None
        self._pending: list[Position] | None = None
        self._marks: list[tuple[Account, int]] = []
        self._next_s = -math.inf

    @property
    def is_waiting(self) -> bool:
        """Whether something is to be saved when the consumers are ready."""
        return self._pending is not None

    def _take(self) -> None:
        """Remember where we and all consumers are now."""
        positions = self._positions()
        if positions == self._saved:
            return
        self._pending = positions
        self._marks = [
            (account, account.received)
            for account in self._ledger
            if account is not self._own and account.unit == self._own.unit
        ]

    def _is_settled(self) -> bool:
        self._marks = [(account, received) for account, received in self._marks if account.settled < received]
        return not self._marks

    async def save_some(self) -> None:
        """Save if it is time and the consumers are ready."""
        if self._pending is None and trio.current_time() >= self._next_s:
            self._take()
        if self._pending is not None and self._is_settled():
            await self._write(self._pending)

    async def wait_settled(self, timeout_s: float) -> None:
        """Wait until the consumers have settled all that was handed to them, or `timeout_s` have passed."""
        self._take()
        with trio.move_on_after(timeout_s):
            while not self._is_settled():  # noqa: ASYNC110 - accounts tell nobody when they move
                await trio.sleep(0.02)

    def save_now(self, *, is_orderly: bool) -> None:
        """Save at the end; blocks for a moment.

        Args:
            is_orderly: consumers go on and settle what they have been handed, or say that it is lost. If not, only what
                they have settled is saved.
        """
        if not is_orderly:
            if self._pending is not None and self._is_settled():
                self._store(self._pending)
            self._take()
        positions = self._positions()
        if positions != self._saved and (is_orderly or self._is_settled()):
            self._store(positions)
        self._pending = None

    async def _write(self, positions: list[Position]) -> None:
        self._pending = None
        begun_s = trio.current_time()
        await trio.to_thread.run_sync(self._store, positions)
        took_s = trio.current_time() - begun_s
        self._next_s = begun_s + max(SAVE_S, SHARE * took_s)

    def _store(self, positions: list[Position]) -> None:
        try:
            save_positions(self.path, positions)
        except OSError as exc:
            if not self.is_failing:
                log.error("cannot save positions: a crash would repeat records", file=str(self.path), error=str(exc))
            self.is_failing = True
        else:
            if self.is_failing:
                log.info("positions can be saved again", file=str(self.path))
            self.is_failing = False
            self._saved = positions
