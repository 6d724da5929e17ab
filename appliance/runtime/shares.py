"""A disk shared by several who keep files on it: nobody's budget is honoured at the expense of another's.

What `keep` asks for may be more, in the sum, than the disk holds, and others may fill it. Then everybody gets the
same, but nobody more than he asked for (max-min fairness), and some of the disk stays free for what is being written.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

__all__ = ["DiskShares", "DiskSpace", "divide", "measure"]

RESERVE = 0.02
"""The part of a disk that is never handed out."""


class DiskSpace(NamedTuple):
    """One file system."""

    device: int
    free: int
    """Bytes that we may still use."""
    total: int


def measure(path: str) -> DiskSpace:
    """The file system on which `path`, or the nearest directory above it that exists, is; blocks.

    Raises:
        OSError: it cannot be looked at.
    """
    place = Path(path)
    while not place.exists() and place != place.parent:
        place = place.parent
    found = os.statvfs(place)
    return DiskSpace(place.stat().st_dev, found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)


def divide(available: int, wanted: Mapping[object, int]) -> dict[object, int]:
    """Divide `available` bytes: equal shares, but nobody gets more than he wants, and what he leaves is the others'."""
    shares: dict[object, int] = {}
    left, takers = max(0, available), len(wanted)
    for name, want in sorted(wanted.items(), key=lambda item: item[1]):
        shares[name] = min(want, left // takers)
        left -= shares[name]
        takers -= 1
    return shares


class DiskShares:
    """See the module; for any thread.

    Args:
        space: looks at a disk.
    """

    def __init__(self, space: Callable[[str], DiskSpace] = measure) -> None:
        self._space = space
        self._lock = threading.Lock()
        self._users: dict[str, tuple[int, int, int, int]] = {}
        """Name → device, bytes wanted, bytes used, bytes to stay free."""

    def grant(self, name: str, path: str, wanted: int, used: int, *, reserve: int | None = None) -> int:
        """How many bytes `name` may keep at `path` now; at most `wanted`. Blocks.

        Args:
            name: who asks.
            path: a file or directory, there or not.
            wanted: by him.
            used: by him now.
            reserve: bytes of the disk that stay free; None: `RESERVE` of it. The largest counts for everybody there.

        Raises:
            OSError: the disk cannot be looked at.
        """
        space = self._space(path)
        with self._lock:
            floor = int(space.total * RESERVE) if reserve is None else reserve
            self._users[name] = (space.device, wanted, used, floor)
            here = {user: figures for user, figures in self._users.items() if figures[0] == space.device}
            floor = max(figures[3] for figures in here.values())
            available = space.free + sum(figures[2] for figures in here.values()) - floor
            return divide(available, {user: figures[1] for user, figures in here.items()})[name]

    def forget(self, name: str) -> None:
        """`name` keeps nothing any more."""
        with self._lock:
            self._users.pop(name, None)
