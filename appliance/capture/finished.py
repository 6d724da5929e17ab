"""What becomes of a handler's finished segments: consumers hear of them when they have their last names."""

from __future__ import annotations

from pathlib import Path

import msgspec
import trio

from appliance.model import Segment
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.ledger import Account

from .plan import Plan

__all__ = ["FinishedSegments"]

PATIENCE_S = 1.0
"""For each consumer with ``queue = "block"``, when a segment is announced."""


class FinishedSegments:
    """See the module.

    Args:
        account: books them.
        dispatcher: hands them on.
        is_compressed: they get another name before anybody hears of them.
    """

    def __init__(self, account: Account, dispatcher: Dispatcher, *, is_compressed: bool) -> None:
        self.account = account
        self._dispatcher, self._is_compressed = dispatcher, is_compressed
        self._unnamed: dict[Path, tuple[Plan, Segment]] = {}
        """Those that are about to get their last name."""

    async def add(self, plan: Plan, segment: Segment) -> None:
        """One is finished."""
        if self._is_compressed:
            self._unnamed[Path(segment.path)] = plan, segment
        else:
            await self._announce(plan, segment)

    async def rename(self, path: Path, last: Path) -> None:
        """The one at `path` has its last name."""
        plan, segment = self._unnamed.pop(path, (None, None))
        if plan is None or segment is None:
            return
        size = await trio.to_thread.run_sync(_size_of, last, segment.disk_size)
        await self._announce(plan, msgspec.structs.replace(segment, path=str(last), disk_size=size))

    async def flush(self) -> None:
        """There will be no other names: announce the rest as it is, whoever cancels."""
        with trio.CancelScope(shield=True):
            for plan, segment in list(self._unnamed.values()):
                await self._announce(plan, segment)
        self._unnamed.clear()

    async def _announce(self, plan: Plan, segment: Segment) -> None:
        plan.settle(segment)
        self.account.received += 1
        await self._dispatcher.dispatch(segment, self.account, patience_s=PATIENCE_S)


def _size_of(path: Path, default: int) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return default
