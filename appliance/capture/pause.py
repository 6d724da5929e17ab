"""How long the kernel may collect packets before they are received.

At high rates one wake-up for each packet would cost more than the packets. The kernel holds them meanwhile, and must
not have to drop any: the pause is as long as a small part of the receive buffer lasts at the rate that is seen, and
grows from nothing, so that neither the start of a stream nor one that gets several times faster overflows it.
"""

from __future__ import annotations

import math

__all__ = ["LONGEST_S", "SHARE", "SHORTEST_S", "Pause"]

SHORTEST_S, LONGEST_S = 0.0005, 0.025
SHARE = 0.2
"""Part of the buffer that may be filled in a pause."""
CACHED = 1 << 20
"""Bytes of the buffer that a processor still has in its cache when they are received: with twice as much a packet of
1000 bytes takes a third longer.
"""
PER_PAUSE = 16
"""Packets in the longest pause; if there are less, they are received as they come."""


class Pause:
    """See the module. Times are of one clock, in seconds."""

    def __init__(self) -> None:
        self._pause_s = self._fair_s = 0.0
        self._emptied_s = math.inf
        self._packets = 0

    def next_s(self, now_s: float, packets: int) -> float:
        """The socket is empty, and `packets` have come so far: how long to leave it alone."""
        span_s, more = now_s - self._emptied_s, packets - self._packets
        self._emptied_s, self._packets = now_s, packets
        if more * LONGEST_S < PER_PAUSE * span_s:
            self._pause_s = 0.0
        else:
            self._pause_s = min(LONGEST_S, self._fair_s, max(SHORTEST_S, 2 * self._pause_s))
        return self._pause_s if self._pause_s >= SHORTEST_S else 0.0

    def look(self, now_s: float, used: int, limit: int) -> None:
        """Packets have come after that: how much of the buffer they use, in bytes as the kernel counts them."""
        self._fair_s = min(SHARE * limit, CACHED) * (now_s - self._emptied_s) / used if used else 0.0
