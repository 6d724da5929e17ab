"""The hook runner: leases records from the hook's queue and calls the hook for each one that `where` lets through.

A hook that raises, hangs or is slow costs its own records, booked by reason, and nothing else.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import structlog
import trio

from appliance.config import Hook
from appliance.model import Item
from appliance.runtime.logs import Throttle
from appliance.runtime.outlet import Outlet
from appliance.runtime.queue import ItemQueue, Parcel

from .callables import Context, HookCallable
from .filter import Filter, Match
from .publish import EventPublisher
from .thread import TURN_S, Outcome, OverdueError, ThreadCaller

__all__ = ["HookFigures", "HookRunner"]

log = structlog.get_logger("hook")

MAX_SHARE = 256
"""Records for each lease: enough to spread the cost of a thread hop over the calls of a fast hook."""
MAX_ERROR = 500
"""Characters of an exception that are kept."""


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
    """See the module. A service of the supervisor; `outlet` is where the hook's events go."""

    def __init__(self, config: Hook, *, target: HookCallable, where: Filter, queue: ItemQueue, outlet: Outlet) -> None:
        self.config = config
        self._target = target
        self._where = where
        self._queue = queue
        self._publisher = EventPublisher(outlet)
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
        self._publisher.attach()
        async with trio.open_nursery() as nursery:
            for _ in range(self.config.concurrency):
                nursery.start_soon(self._work)
            task_status.started()

    async def _work(self) -> None:
        share = 1
        try:
            while True:
                async with self._queue.lease(share) as parcel:
                    began = trio.current_time()
                    for item in parcel.items:
                        if not await self._handle(item, parcel, until=began + TURN_S):
                            break
                    pace = parcel.settled / max(trio.current_time() - began, 1e-6)
                # Of a slow hook's records the other workers get theirs, and the queue sees that it moves.
                share = max(1, min(MAX_SHARE, share * 4, int(pace * TURN_S)))
        except trio.EndOfChannel:
            return

    async def _handle(self, item: Item, parcel: Parcel, *, until: float) -> bool:
        """Settle the records of `item` in order, until the turn is over; returns whether all are settled."""
        start = parcel.settled
        matches = list(self._where.select(item))
        while matches:
            matches = await self._call_some(item, parcel, start, matches)
            if matches and trio.current_time() >= until:
                return False
        parcel.drop("where", start + item.count - parcel.settled)
        return True

    async def _call_some(self, item: Item, parcel: Parcel, start: int, matches: list[Match]) -> list[Match]:
        """Call the hook for the first of `matches`, settle them; returns the others.

        Cancellation: what was called to its end is settled.
        """
        outcomes: list[Outcome] = []
        began = time.monotonic()
        try:
            if self._target.is_async:
                await self._await(partial(self._call, item, matches[0][1]), outcomes)
            else:
                if self._threads.is_exhausted and self._throttle.admit("exhausted") is not None:
                    self._log.error("too many calls hang, making no more until one returns", hung=self._threads.hung)
                await self._threads.run([partial(self._call, item, record) for _, record in matches], outcomes)
        finally:
            self._busy_s += time.monotonic() - began
            self._settle(parcel, start, matches, outcomes)
        return matches[len(outcomes) :]

    def _call(self, item: Item, record: dict[str, Any] | None) -> Any:
        if record is None:
            return None
        return self._target.call(record, self._make_context(item) if self._target.takes_context else None)

    def _make_context(self, item: Item) -> Context:
        return Context(
            item=item,
            attempt=1,
            deadline=time.monotonic() + self.config.timeout.seconds,
            log=self._log,
            config=self.config.options,
            publish_event=self._publisher.publish_event,
        )

    async def _await(self, call: Callable[[], Any], outcomes: list[Outcome]) -> None:
        """Make one asynchronous call and append its outcome, as `ThreadCaller.run` does."""
        await trio.lowlevel.checkpoint()
        outcome: Outcome = None
        try:
            with trio.move_on_after(self.config.timeout.seconds) as scope:
                awaitable = call()
                if awaitable is not None:
                    await awaitable
        except BaseException as exc:
            if _is_ours(exc):
                raise
            outcome = exc
        if scope.cancel_called:
            outcome = OverdueError(f"not finished within {self.config.timeout}")
        outcomes.append(outcome)

    def _settle(self, parcel: Parcel, start: int, matches: list[Match], outcomes: list[Outcome]) -> None:
        """Book the outcomes of the first of `matches`, whose positions count from `start`, in their order."""
        good = 0
        for (position, record), outcome in zip(matches, outcomes, strict=False):
            skipped = start + position - parcel.settled - good
            if skipped or record is None or outcome is not None:
                parcel.deliver(good)
                parcel.drop("where", skipped)
                good = 0
            if record is None:
                parcel.drop("undecodable", 1)
                continue
            self._calls += 1
            if outcome is None:
                good += 1
            else:
                self._fail(parcel, outcome)
        parcel.deliver(good)

    def _fail(self, parcel: Parcel, outcome: BaseException) -> None:
        reason = "timeout" if isinstance(outcome, OverdueError) else "hook_error"
        parcel.drop(reason, 1)
        self._timeouts += reason == "timeout"
        self._errors += reason == "hook_error"
        self._last_error = "".join(traceback.format_exception_only(outcome)).strip()[:MAX_ERROR]
        if (held := self._throttle.admit(self._last_error[:80])) is not None:
            self._log.warning(
                "hook failed", reason=reason, error=self._last_error, more=held,
                exc_info=outcome if reason == "hook_error" else None,
            )  # fmt: skip


def _is_ours(exc: BaseException) -> bool:
    """Whether an exception that came out of a hook is not about the hook: we are cancelled, or interrupted."""
    if isinstance(exc, BaseExceptionGroup):
        return any(map(_is_ours, exc.exceptions))
    return isinstance(exc, trio.Cancelled | KeyboardInterrupt)
