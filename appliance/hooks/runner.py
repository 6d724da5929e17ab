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
from appliance.runtime.histogram import Histogram, HistogramFigures
from appliance.runtime.intake import ConsumerQueue, Parcel
from appliance.runtime.journal.entries import Failure
from appliance.runtime.logs import Throttle
from appliance.runtime.outlet import Outlet

from .callables import Context, HookCallable
from .filter import Filter
from .publish import EventPublisher
from .steer import Failed, Reject, Retry
from .thread import TURN_S, Outcome, OverdueError, ThreadCaller

__all__ = ["HookFigures", "HookRunner"]

log = structlog.get_logger("hook")

MAX_SHARE = 256
"""Records for each lease: enough to spread the cost of a thread hop over the calls of a fast hook."""
MAX_ERROR = 500
"""Characters of an exception that are kept."""
MAX_TRACE = 16_384
"""The same of a traceback, the end of it."""
MAX_FRAMES = 50

_Call = tuple[int, Item, dict[str, Any] | None]
"""Position of a record in its parcel, the item that it is in, and what it is; None if it cannot be decoded."""


class HookFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One hook at one moment."""

    calls: int
    done: int
    """Calls that returned."""
    failed: int
    """Calls that did not, for whatever reason."""
    errors: int
    timeouts: int
    running: int
    """Workers that are in calls."""
    hung: int
    """Threads that exceeded their time and still run."""
    busy_s: float
    """Time spent in calls, all workers together."""
    last_error: str
    durations: HistogramFigures
    """Of the calls."""


class HookRunner:
    """See the module. A service of the supervisor; `outlet` is where the hook's events go."""

    def __init__(
        self, config: Hook, *, target: HookCallable, where: Filter, queue: ConsumerQueue, outlet: Outlet
    ) -> None:
        self.config = config
        self._target = target
        self._where = where
        self._queue = queue
        self._publisher = EventPublisher(outlet)
        self._durations = Histogram()
        self._threads = ThreadCaller(
            concurrency=config.concurrency, timeout_s=config.timeout.seconds, durations=self._durations
        )
        self._log = log.bind(hook=config.name)
        self._throttle = Throttle()
        self._calls = self._failed = self._errors = self._timeouts = self._running = 0
        self._busy_s = 0.0
        self._last_error = ""

    def statistics(self) -> HookFigures:
        return HookFigures(
            calls=self._calls,
            done=self._calls - self._failed,
            failed=self._failed,
            errors=self._errors,
            timeouts=self._timeouts,
            running=self._running,
            hung=self._threads.hung,
            busy_s=round(self._busy_s, 3),
            last_error=self._last_error,
            durations=self._durations.statistics(),
        )

    def stop(self) -> None:
        self._queue.close()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self._publisher.attach()
        await self._queue.open()
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
                    await self._work_off(parcel, until=began + TURN_S)
                    pace = parcel.settled / max(trio.current_time() - began, 1e-6)
                # Of a slow hook's records the other workers get theirs, and the queue sees that it moves.
                share = max(1, min(MAX_SHARE, share * 4, int(pace * TURN_S)))
        except trio.EndOfChannel:
            return

    async def _work_off(self, parcel: Parcel, *, until: float) -> None:
        """Settle the records of `parcel` in order, until the turn is over."""
        calls: list[_Call] = []
        offset = 0
        for item in parcel.items:
            calls += [(offset + position, item, record) for position, record in self._where.select(item)]
            offset += item.count
        while calls:
            calls = await self._call_some(parcel, calls)
            if calls and trio.current_time() >= until:
                return
        parcel.drop("where", parcel.left)

    async def _call_some(self, parcel: Parcel, calls: list[_Call]) -> list[_Call]:
        """Make the first of `calls`, settle their records; returns the others.

        Cancellation: what was called to its end is settled.
        """
        outcomes: list[Outcome] = []
        began = time.monotonic()
        self._running += 1
        try:
            if self._target.is_async:
                await self._await(partial(self._call, parcel, *calls[0][1:]), outcomes)
            else:
                if self._threads.is_exhausted and self._throttle.admit("exhausted") is not None:
                    self._log.error("too many calls hang, making no more until one returns", hung=self._threads.hung)
                await self._threads.run([partial(self._call, parcel, *call[1:]) for call in calls], outcomes)
        finally:
            self._running -= 1
            self._busy_s += time.monotonic() - began
            self._settle(parcel, calls, outcomes)
        return calls[len(outcomes) :]

    def _call(self, parcel: Parcel, item: Item, record: dict[str, Any] | None) -> Any:
        if record is None:
            return None
        context = self._make_context(item, parcel.attempt) if self._target.takes_context else None
        return self._target.call(record, context)

    def _make_context(self, item: Item, attempt: int) -> Context:
        return Context(
            item=item,
            attempt=attempt,
            deadline=time.monotonic() + self.config.timeout.seconds,
            log=self._log,
            config=self.config.options,
            publish_event=self._publisher.publish_event,
        )

    async def _await(self, call: Callable[[], Any], outcomes: list[Outcome]) -> None:
        """Make one asynchronous call and append its outcome, as `ThreadCaller.run` does."""
        await trio.lowlevel.checkpoint()
        outcome: Outcome = None
        began = time.monotonic()
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
        self._durations.add(time.monotonic() - began)

    def _settle(self, parcel: Parcel, calls: list[_Call], outcomes: list[Outcome]) -> None:
        """Book the outcomes of the first of `calls` in their order."""
        good = 0
        for (position, _, record), outcome in zip(calls, outcomes, strict=False):
            skipped = position - parcel.settled - good
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
        failure = _failure_of(outcome)
        parcel.fail(failure)
        self._failed += 1
        self._timeouts += failure.reason == "timeout"
        self._errors += failure.reason == "hook_error"
        self._last_error = failure.error
        if failure.reason in ("retry", "rejected"):
            self._log.debug("hook gave a record back", reason=failure.reason, error=failure.error)
        elif (held := self._throttle.admit(self._last_error[:80])) is not None:
            self._log.warning(
                "hook failed", reason=failure.reason, error=self._last_error, more=held,
                exc_info=outcome if failure.reason == "hook_error" and not isinstance(outcome, Failed) else None,
            )  # fmt: skip


def _failure_of(outcome: BaseException) -> Failure:
    """What a hook raised, as the journal keeps it."""
    wish = isinstance(outcome, Retry | Reject | Failed)
    text = str(outcome) if wish else "".join(traceback.format_exception_only(outcome)).strip()
    error = text.encode("utf-8", "backslashreplace").decode()[:MAX_ERROR]  # it is shown, and kept, as JSON
    if isinstance(outcome, Retry):
        return Failure(reason="retry", error=error, retry_after_s=outcome.after_s)
    if isinstance(outcome, Reject):
        return Failure(reason="rejected", error=error, is_final=True)
    if isinstance(outcome, OverdueError):
        return Failure(reason="timeout", error=error)
    if isinstance(outcome, Failed):
        return Failure(reason="hook_error", error=error, trace=outcome.trace[-MAX_TRACE:])
    trace = "".join(traceback.format_exception(outcome, limit=-MAX_FRAMES))
    return Failure(reason="hook_error", error=error, trace=trace[-MAX_TRACE:])


def _is_ours(exc: BaseException) -> bool:
    """Whether an exception that came out of a hook is not about the hook: we are cancelled, or interrupted."""
    if isinstance(exc, BaseExceptionGroup):
        return any(map(_is_ours, exc.exceptions))
    return isinstance(exc, trio.Cancelled | KeyboardInterrupt)
