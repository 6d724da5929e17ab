"""The small plots of all accounts, made anew when there is a new sample, and a few at a time: nobody waits for all."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from appliance.runtime.history import History, Point

from .markup import Html
from .plot import sparkline

__all__ = ["Gallery"]


class Gallery:
    """See the module."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._made: dict[str, tuple[int, Html]] = {}

    def points(self, name: str) -> list[Point]:
        """The last hour of an account."""
        return self._history.points(name)

    def spark(self, name: str) -> Html | None:
        """The small plot of an account that `refresh` was told of."""
        return self._made[name][1] if name in self._made else None

    async def refresh(self, names: Sequence[str]) -> None:
        """Make what is missing or old; forget other accounts. A checkpoint after each.

        Cancellation: what was made stays.
        """
        for name in names:
            samples = self._history.samples
            if name not in self._made or self._made[name][0] != samples:
                label = f"{name}: received per second over the last hour"
                self._made[name] = samples, sparkline(self._history.points(name), label)
            await trio.lowlevel.checkpoint()
        for name in self._made.keys() - set(names):
            del self._made[name]
