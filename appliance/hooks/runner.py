"""The hook runner: leases records from the hook's queue and calls the hook for each one that `where` lets through.

A hook that raises, hangs or is slow costs its own records, booked by reason, and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import structlog
import trio

from appliance.config import Hook
from appliance.model import Item
from appliance.runtime.logs import Throttle
from appliance.runtime.queue import ItemQueue, Parcel

from .callables import Context, HookCallable
from .filter import Filter, Match
from .thread import Overdue, ThreadCaller

__all__ = ["HookFigures", "HookRunner"]

log = structlog.get_logger("hook")

LEASE = 256
"""Records for each lease: enough to spread the cost of a thread hop, few enough to share among workers."""


class HookFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One hook at one moment."""

    calls: int
    errors: int
    timeouts: int
    hung: int
    """Threads that exceeded their time and still run."""
    busy_s: float
    """Time spent in calls, all workers together."""
    last_error: str


class HookRunner:
    """See the module. A service of the supervisor."""

    def __init__(self, config: Hook, *, target: HookCallable, where: Filter, queue: ItemQueue) -> None:
        self.config = config
        self._target = target
        self._where = where
        self._queue = queue
        self._threads = ThreadCaller(concurrency=config.concurrency, timeout_s=config.timeout.seconds)
        self._log = log.bind(hook=config.name)
        self._throttle = Throttle()
        self._calls = self._errors = self._timeouts = 0
        self._busy_s = 0.0
        self._last_error = ""

    def statistics(self) -> HookFigures:
        return HookFigures(
            calls=self._calls,
            errors=self._errors,
            timeouts=self._timeouts,
            hung=self._threads.hung,
            busy_s=round(self._busy_s, 3),
            last_error=self._last_error,
        )

    def stop(self) -> None:
        self._queue.close()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(self.config.concurrency):
                nursery.start_soon(self._work)
            task_status.started()

    async def _work(self) -> None:
        try:
            while True:
                async with self._queue.lease(LEASE) as parcel:
                    for item in parcel.items:
                        await self._handle(item, parcel)
        except trio.EndOfChannel:
            return

    async def _handle(self, item: Item, parcel: Parcel) -> None:
        """Settle every record of `item`, in order."""
        start = parcel.settled
        matches = list(self._where.select(item))
        while matches:
            matches = await self._call_some(item, parcel, start, matches)
        parcel.drop("where", start + item.count - parcel.settled)

    async def _call_some(self, item: Item, parcel: Parcel, start: int, matches: list[Match]) -> list[Match]:
        """Call the hook for the first of `matches`, settle them; returns the others."""
        calls = [partial(self._call, item, record) for _, record in matches]
        began = time.monotonic()
        outcomes = await (self._await(calls[0]) if self._target.is_async else self._threads.run(calls))
        self._busy_s += time.monotonic() - began
        for (position, record), outcome in zip(matches, outcomes, strict=False):
            parcel.drop("where", start + position - parcel.settled)
            self._settle(parcel, record, outcome)
        return matches[len(outcomes) :]

    def _call(self, item: Item, record: dict[str, Any] | None) -> Any:
        if record is None:
            return None
        context = Context(
            item=item,
            attempt=1,
            deadline=time.monotonic() + self.config.timeout.seconds,
            log=self._log,
            config=self.config.options,
        )
        return self._target.call(record, context)

    async def _await(self, call: Callable[[], Any]) -> list[BaseException | None]:
        """Make one asynchronous call; its outcome as `ThreadCaller.run` gives it."""
        outcome: BaseException | None = None
        with trio.move_on_after(self.config.timeout.seconds) as scope:
            try:
                awaitable = call()
                if awaitable is not None:
                    await awaitable
            except (Exception, SystemExit) as exc:  # noqa: BLE001 - whatever a hook raises is an outcome
                outcome = exc
        if scope.cancelled_caught:
            outcome = Overdue(f"not finished within {self.config.timeout}")
        await trio.lowlevel.checkpoint()
        return [outcome]

    def _settle(self, parcel: Parcel, record: dict[str, Any] | None, outcome: BaseException | None) -> None:
        if record is None:
            parcel.drop("undecodable", 1)
            return
        self._calls += 1
        if outcome is None:
            parcel.deliver(1)
            return
        reason = "timeout" if isinstance(outcome, Overdue) else "hook_error"
        parcel.drop(reason, 1)
        self._timeouts += reason == "timeout"
        self._errors += reason == "hook_error"
        self._last_error = f"{type(outcome).__name__}: {outcome}"
        if (held := self._throttle.admit(self._last_error[:80])) is not None:
            self._log.warning(
                "hook failed", reason=reason, error=self._last_error, more=held,
                exc_info=outcome if reason == "hook_error" else None,
            )  # fmt: skip
