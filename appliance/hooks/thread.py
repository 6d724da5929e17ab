"""Calling a synchronous hook in a worker thread, many records for each hop, with a deadline for each record.

A thread cannot be killed. One that hangs is left behind and counted; when too many hang, the hook gets no more calls
until one of them comes back. Nothing else waits for it, not even the end of the process.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence

import trio

from appliance.runtime.histogram import Histogram

from .failure import Outcome, OverdueError
from .progress import TURN_S

__all__ = ["MAX_HUNG", "ThreadCaller"]

MAX_HUNG = 4
"""Threads that one hook may leave hanging, besides its working ones."""


class _Round:
    """The calls of one hop: the thread begins and ends them, the loop may leave at any moment. The lock keeps the two
    of one mind about which calls were made.
    """

    def __init__(self, calls: Sequence[Callable[[], object]]) -> None:
        self.outcomes: list[Outcome] = []
        self.durations_s: list[float] = []
        """For each outcome."""
        self._calls = calls
        self._lock = threading.Lock()
        self._began: float | None = None
        """When the call that is being made began."""
        self._is_started = self._is_finished = self._is_left = self._is_hung = False

    # ── in the thread ──

    def work(self) -> None:
        with self._lock:
            self._is_started = True
        until = time.monotonic() + TURN_S
        for call in self._calls:
            if not self._begin():
                return
            outcome: Outcome = None
            try:
                call()
            except BaseException as exc:  # noqa: BLE001 - whatever a hook raises is an outcome; no cancellation comes here
                outcome = exc
            if self._end(outcome) >= until:
                return

    def _begin(self) -> bool:
        with self._lock:
            if self._is_left:
                return False
            self._began = time.monotonic()
            return True

    def _end(self, outcome: Outcome) -> float:
        """Returns when the call ended."""
        with self._lock:
            now = time.monotonic()
            if not self._is_left and self._began is not None:
                self.outcomes.append(outcome)
                self.durations_s.append(now - self._began)
            self._began = None
            return now

    def finish(self) -> bool:
        """Returns whether the thread had been left hanging."""
        with self._lock:
            self._is_finished = True
            return self._is_hung

    # ── in the loop ──

    def leave_overdue(self, timeout_s: float) -> float:
        """Leave if the call that is being made has had its time; else returns for how long it may go on."""
        with self._lock:
            if self._began is None:
                return timeout_s
            left_s = self._began + timeout_s - time.monotonic()
            if left_s <= 0:
                self._is_left = True
                self.outcomes.append(OverdueError(f"not finished within {timeout_s:g} s"))
                self.durations_s.append(timeout_s - left_s)
            return left_s

    def leave(self) -> bool:
        """Tell the thread to begin no more calls; returns whether it is in the middle of one."""
        with self._lock:
            self._is_left = True
            self._is_hung = self._is_started and not self._is_finished
            return self._is_hung


class ThreadCaller:
    """Runs calls in worker threads for one hook.

    Args:
        concurrency: how often `run` is called at the same time.
        timeout_s: for each call.
        durations: where each call is counted; one of its own if it is left out.
    """

    def __init__(self, *, concurrency: int, timeout_s: float, durations: Histogram | None = None) -> None:
        self._limiter = trio.CapacityLimiter(concurrency + MAX_HUNG)
        self._timeout_s = timeout_s
        self.hung = 0
        """Threads that were left behind and have not come back."""
        self._durations = durations or Histogram()
        self._returned = trio.lowlevel.ParkingLot()

    @property
    def is_exhausted(self) -> bool:
        """Too many threads hang: no calls are made until one comes back."""
        return self.hung >= MAX_HUNG

    async def run(self, calls: Sequence[Callable[[], object]], outcomes: list[Outcome]) -> None:
        """Make some of `calls`, one after the other, and append their outcomes to `outcomes`: at least one.

        If one exceeds its time its outcome, the last, is an `OverdueError`. The calls without an outcome were not made.

        Cancellation: at once. A running call is left behind without an outcome; those of the calls before it are there.
        """
        while self.is_exhausted:
            await self._returned.park()
        current = _Round(calls)
        token = trio.lowlevel.current_trio_token()

        def work() -> None:
            try:
                current.work()
            finally:
                if current.finish():
                    with contextlib.suppress(trio.RunFinishedError):
                        token.run_sync_soon(self._came_back)

        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch, current, nursery.cancel_scope)
                await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._limiter)
                nursery.cancel_scope.cancel()
        finally:
            self.hung += current.leave()
            outcomes += current.outcomes
            for seconds in current.durations_s:
                self._durations.add(seconds)

    async def _watch(self, current: _Round, scope: trio.CancelScope) -> None:
        left_s = self._timeout_s
        while left_s > 0:
            await trio.sleep(left_s)
            left_s = current.leave_overdue(self._timeout_s)
        scope.cancel()

    def _came_back(self) -> None:
        self.hung -= 1
        self._returned.unpark_all()
