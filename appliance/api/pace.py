"""How fast may be read while others record: so many bytes a second for all readers, and a pause after a loss."""

from __future__ import annotations

from collections.abc import Callable

import trio

__all__ = ["PAUSE_S", "Pace"]

PAUSE_S = 1.0
"""After a recorder has lost packets: what has piled up is written in less."""


class Pace:
    """See the module.

    Args:
        bytes_per_s: the most; None: no limit.
        lost: packets that recorders have lost so far.
    """

    def __init__(self, bytes_per_s: int | None, *, lost: Callable[[], int]) -> None:
        self._bytes_per_s = bytes_per_s
        self._lost = lost
        self._seen = lost()
        self._free_at = 0.0
        """When everything that was read so far has been paid for."""
        self.pauses = 0
        """How often somebody waited because packets were lost."""

    async def wait(self, size: int) -> None:
        """Wait as long as `size` bytes that were just read take at this rate, and longer after a loss.

        Cancellation: what was read counts all the same.
        """
        now = trio.current_time()
        if self._bytes_per_s is not None:
            self._free_at = max(self._free_at, now) + size / self._bytes_per_s
        if (lost := self._lost()) > self._seen:
            self.pauses += 1
            self._free_at = max(self._free_at, now + PAUSE_S)
        self._seen = lost  # less than before: a recorder was started anew
        await trio.sleep_until(self._free_at)
