"""The thread that does a journal's work: one job after the other, in the order in which they were given."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

import trio

__all__ = ["Outcome", "Worker"]

T = TypeVar("T")


class Outcome(Generic[T]):
    """What a job returned, or what it raised."""

    __slots__ = ("_value", "error")

    def __init__(self, value: T | None, error: BaseException | None) -> None:
        self._value = value
        self.error = error

    def unwrap(self) -> T:
        if self.error is not None:
            raise self.error
        return self._value  # type: ignore[return-value]  # without an error it is a T


_Job = tuple[Callable[[], Any], Callable[[Outcome[Any]], None]]


class Worker:
    """See the module. Made and used in the loop, which hears of every outcome in the same order.

    The thread does not keep the process alive: a disk that hangs must not.
    """

    def __init__(self, name: str) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        """None: look at the alarm, or whether this is the end."""
        self._setting = threading.Lock()
        self._alarm: tuple[float, Callable[[], None]] | None = None
        self._is_stopped = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    # ── in the loop ──

    def submit(self, job: Callable[[], T], done: Callable[[Outcome[T]], None]) -> None:
        """Do `job` in the thread, then `done` in the loop."""
        self._jobs.put((job, done))

    def call_in(self, delay_s: float, wake: Callable[[], None]) -> None:
        """Do `wake` in the loop after that time, in the place of what was to be done later than that."""
        at = time.monotonic() + delay_s
        with self._setting:
            if self._alarm is not None and self._alarm[0] <= at:
                return
            self._alarm = (at, wake)
        self._jobs.put(None)

    async def stop(self, timeout_s: float) -> bool:
        """End after the jobs that were given; returns whether they were done in that time."""
        self._is_stopped = True
        self._jobs.put(None)
        await trio.to_thread.run_sync(self._thread.join, timeout_s, abandon_on_cancel=True)
        return not self._thread.is_alive()

    # ── in the thread ──

    def _work(self) -> None:
        while not (self._is_stopped and self._jobs.empty()):
            try:
                entry = self._jobs.get(timeout=self._ring_or_wait_s())
            except Empty:
                continue
            if entry is None:
                continue
            job, done = entry
            outcome: Outcome[Any]
            try:
                outcome = Outcome(job(), None)
            except BaseException as exc:  # noqa: BLE001 - whoever gave the job hears of it
                outcome = Outcome(None, exc)
            self._tell(lambda done=done, outcome=outcome: done(outcome))  # type: ignore[misc]

    def _ring_or_wait_s(self) -> float | None:
        """Let an alarm that is due ring; returns for how long there is none."""
        with self._setting:
            if self._alarm is None:
                return None
            at, wake = self._alarm
            if (left_s := at - time.monotonic()) > 0:
                return left_s
            self._alarm = None
        self._tell(wake)
        return None

    def _tell(self, news: Callable[[], None]) -> None:
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(news)
