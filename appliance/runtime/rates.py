"""Rates over the last seconds from counters that only grow."""

from __future__ import annotations

from collections import deque

import msgspec

__all__ = ["RateMeter", "Rates"]

WINDOWS_S = (1, 10, 60)


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """Items per second over the last 1, 10 and 60 seconds, or over the life of the counter if that is shorter."""

    last_1s: float
    last_10s: float
    last_60s: float


class RateMeter:
    """Remembers samples of one counter; call `sample` about once a second."""

    def __init__(self, now_s: float, total: int = 0) -> None:
        self._samples: deque[tuple[float, int]] = deque([(now_s, total)], maxlen=WINDOWS_S[-1] + 2)

    def sample(self, now_s: float, total: int) -> None:
        self._samples.append((now_s, total))

    def rates(self, now_s: float | None = None, total: int = 0) -> Rates:
        """The rates at the last sample, or at `now_s` with that `total`, which is not remembered."""
        last = self._samples[-1] if now_s is None else (now_s, total)
        return Rates(last_1s=self._over(1, last), last_10s=self._over(10, last), last_60s=self._over(60, last))

    def _over(self, window_s: float, sample: tuple[float, int]) -> float:
        last_s, last = sample
        # The sample at the far end of the window; half a second of slack, because samples are never quite punctual.
        then_s, then = next((s for s in self._samples if s[0] >= last_s - window_s - 0.5), self._samples[-1])
        return round((last - then) / (last_s - then_s), 1) if last_s > then_s else 0.0
