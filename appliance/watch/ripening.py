"""When things are ready that nobody says are finished: when they have not changed for a while. Pure: the time comes as
an argument.
"""

from __future__ import annotations

import heapq

from .look import Seen

__all__ = ["Ripening"]


class Ripening:
    """Things that may still be written.

    Args:
        settle_s: how long a thing must stay as it is.
    """

    def __init__(self, settle_s: float) -> None:
        self.settle_s = settle_s
        self._things: dict[str, tuple[Seen, float]] = {}
        """What was seen last, and since when it is so."""
        self._times: list[tuple[float, str]] = []
        """When to look at them again; there may be more than one entry for each."""

    def __len__(self) -> int:
        return len(self._things)

    def __contains__(self, relative: str) -> bool:
        return relative in self._things

    @property
    def next_s(self) -> float | None:
        """When the next thing is to be looked at; None: there are none."""
        return self._times[0][0] if self._times else None

    def see(self, seen: Seen, now_s: float) -> None:
        """A thing as it is now."""
        before = self._things.get(seen.relative)
        if before is None or before[0] != seen:
            self._things[seen.relative] = (seen, now_s)
            heapq.heappush(self._times, (now_s + self.settle_s, seen.relative))

    def forget(self, relative: str) -> None:
        """It is gone, or it is somebody else's now."""
        self._things.pop(relative, None)

    def take_due(self, now_s: float, limit: int) -> list[str]:
        """Things that have had their time, at most `limit`: they are to be looked at, and told to `confirm`."""
        due: dict[str, None] = {}
        while self._times and self._times[0][0] <= now_s and len(due) < limit:
            _, relative = heapq.heappop(self._times)
            if relative in self._things:
                due[relative] = None
        return list(due)

    def confirm(self, relative: str, seen: Seen | None, now_s: float) -> Seen | None:
        """A thing that was due as it is now, None if it is gone; returned if it is ready, and forgotten then."""
        before = self._things.get(relative)
        if seen is None or before is None:
            self.forget(relative)
            return None
        if before[0] == seen and now_s >= before[1] + self.settle_s:
            self.forget(relative)
            return seen
        if before[0] == seen:
            heapq.heappush(self._times, (before[1] + self.settle_s, relative))
        else:
            self.see(seen, now_s)
        return None
