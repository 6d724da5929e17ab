"""Calling a synchronous hook in a worker thread, many records for each hop, with a deadline for each record.

A thread cannot be killed. One that hangs is left behind and counted; when too many hang, the hook gets no more calls
until one of them comes back. Nothing else waits for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import trio

__all__ = ["MAX_HUNG", "Overdue", "ThreadCaller"]

MAX_HUNG = 4
"""Threads that one hook may leave hanging, besides its working ones."""


class Overdue(TimeoutError):
    """A call was not finished in its time."""


class _Round:
    """The calls of one hop. Written by the thread, read by the loop."""

    def __init__(self, calls: Sequence[Callable[[], object]]) -> None:
        self.calls = calls
        self.outcomes: list[BaseException | None] = []
        self.began = time.monotonic()
        self.is_abandoned = self.is_finished = False
        self._lock = threading.Lock()

    def leave(self) -> bool:
        """Tell the thread to make no more calls; False if it has finished already."""
        with self._lock:
            self.is_abandoned = not self.is_finished
            return self.is_abandoned

    def finish(self) -> bool:
        """Said by the thread when it is done; returns whether it had been left behind."""
        with self._lock:
            self.is_finished = True
            return self.is_abandoned

    def work(self) -> None:
        for call in self.calls:
            if self.is_abandoned:
                return
            self.began = time.monotonic()
            outcome: BaseException | None = None
            try:
                call()
            except (Exception, SystemExit) as exc:  # noqa: BLE001 - whatever a hook raises is an outcome
                outcome = exc
            self.outcomes.append(outcome)


class ThreadCaller:
    """Runs calls in worker threads for one hook.

    Args:
        concurrency: rounds that may run at the same time.
        timeout_s: for each call.
    """

    def __init__(self, *, concurrency: int, timeout_s: float) -> None:
        self._limiter = trio.CapacityLimiter(concurrency + MAX_HUNG)
        self._timeout_s = timeout_s
        self.hung = 0
        """Threads that were left behind and have not come back."""
        self._returned = trio.lowlevel.ParkingLot()

    async def run(self, calls: Sequence[Callable[[], object]]) -> list[BaseException | None]:
        """Make `calls` one after the other.

        Returns:
            The outcome of the first ones: None or the exception. The list is shorter than `calls` if one exceeded its
            time; its outcome, the last, is then `Overdue`, and the others were not called.

        Cancellation: at once; a running call is left behind, and what it does is not known.
        """
        while self.hung >= MAX_HUNG:
            await self._returned.park()
        current = _Round(calls)
        token = trio.lowlevel.current_trio_token()

        def work() -> None:
            try:
                current.work()
            finally:
                if current.finish():
                    token.run_sync_soon(self._came_back)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, current, nursery.cancel_scope)
            try:
                await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._limiter)
            except trio.Cancelled:
                self.hung += current.leave()
                raise
            nursery.cancel_scope.cancel()
        outcomes = current.outcomes[: len(calls)]
        if len(outcomes) < len(calls):
            outcomes.append(Overdue(f"not finished within {self._timeout_s:g} s"))
        return outcomes

    async def _watch(self, current: _Round, scope: trio.CancelScope) -> None:
        while True:
            left_s = current.began + self._timeout_s - time.monotonic()
            if left_s <= 0:
                scope.cancel()
                return
            await trio.sleep(left_s)

    def _came_back(self) -> None:
        self.hung -= 1
        self._returned.unpark_all()
