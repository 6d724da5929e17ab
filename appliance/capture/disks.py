"""What all captures of a process have in common about their disks: budgets, and how many threads may wait for each."""

from __future__ import annotations

import trio

from appliance.runtime.pattern import PathPattern
from appliance.runtime.shares import DiskShares

__all__ = ["Disks"]

WRITERS = 8
"""Threads for each root directory: a disk that stalls has all of them, and no other disk's."""
TIDIERS = 2


class Disks:
    """See the module."""

    def __init__(self) -> None:
        self.shares = DiskShares()
        self.tidying = trio.CapacityLimiter(TIDIERS)
        self._writing: dict[str, trio.CapacityLimiter] = {}

    def writing(self, pattern: PathPattern) -> trio.CapacityLimiter:
        """Bounds the threads that write files of that pattern."""
        return self._writing.setdefault(pattern.static_root, trio.CapacityLimiter(WRITERS))
