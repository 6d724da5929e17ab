"""Where the calls of a hook are made: lanes, as many as it has `concurrency`. What goes into one is called one after
the other.
"""

from __future__ import annotations

import logging
import pickle
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import structlog
import trio

from appliance.config import Hook
from appliance.model import Item
from appliance.runtime.backoff import Backoff
from appliance.runtime.children import Limits
from appliance.runtime.histogram import Histogram
from appliance.runtime.journal.codec import encode_items
from appliance.runtime.logs import Throttle

from .callables import Context, HookCallable
from .effects import Effects
from .extracts import Extracts
from .failure import Outcome, OverdueError
from .messages import Setup, Work
from .plan import Job, needed
from .printed import Allowance, OutputLog
from .process import Services, Worker, WorkerError, run_worker
from .thread import ThreadCaller

__all__ = ["Lane", "ProcessLane", "TaskLane", "ThreadLane", "is_ours"]


class Lane(Protocol):
    """See the module."""

    @property
    def room(self) -> int:
        """How many records it is good for."""

    async def wait_ready(self) -> None:
        """Wait until calls can be made.

        Raises:
            trio.EndOfChannel: they cannot, and the hook is to end.
        """

    async def run(self, job: Job, outcomes: list[Outcome]) -> None:
        """Make some of the calls, from the first on, and append their outcomes; none if it is not ready any more.

        Cancellation: what was called to its end has its outcome.
        """

    async def aclose(self) -> None:
        """There are no more calls."""


MakeContext = Callable[[Sequence[Item], Sequence[Any], int, Effects], Context]


class _LocalLane:
    """Calls in this process.

    Args:
        target: what to call.
        is_batch: it gets a list.
        make_context: from the items, the records, the number of the attempt, and where its effects go.
        extracts: files that calls have.
    """

    def __init__(self, target: HookCallable, *, is_batch: bool, make_context: MakeContext, extracts: Extracts) -> None:
        self._target, self._is_batch, self._make_context = target, is_batch, make_context
        self._extracts = extracts

    @property
    def room(self) -> int:
        return sys.maxsize

    async def wait_ready(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()

    def _call(self, job: Job, number: int) -> Any:
        call = job.calls[number]
        if not call.records:
            return None
        context = None
        if self._target.takes_context:
            effects = job.effects[number] = Effects()
            context = self._make_context(call.items, call.records, job.attempt, effects)
        return self._target.call(call.records if self._is_batch else call.records[0], context)


class TaskLane(_LocalLane):
    """Awaits asynchronous hooks; one call for each `run`.

    Args:
        timeout_s: for each call.
        durations: where each call is counted.
    """

    def __init__(
        self,
        target: HookCallable,
        *,
        is_batch: bool,
        make_context: MakeContext,
        extracts: Extracts,
        timeout_s: float,
        durations: Histogram,
    ) -> None:
        super().__init__(target, is_batch=is_batch, make_context=make_context, extracts=extracts)
        self._timeout_s, self._durations = timeout_s, durations

    async def run(self, job: Job, outcomes: list[Outcome]) -> None:
        await trio.lowlevel.checkpoint()
        outcome: Outcome = None
        began = trio.current_time()
        try:
            with trio.move_on_after(self._timeout_s) as scope:
                awaitable = self._call(job, 0)
                if awaitable is not None:
                    await awaitable
        except BaseException as exc:
            if is_ours(exc):
                raise
            outcome = exc
        finally:
            await self._extracts.clean()
        if scope.cancel_called:
            outcome = OverdueError(f"not finished within {self._timeout_s:g} s")
        outcomes.append(outcome)
        self._durations.add(trio.current_time() - began)


class ThreadLane(_LocalLane):
    """Calls in a thread.

    Args:
        threads: shared by the lanes of the hook.
        log: with the hook's name.
    """

    def __init__(
        self,
        target: HookCallable,
        *,
        is_batch: bool,
        make_context: MakeContext,
        extracts: Extracts,
        threads: ThreadCaller,
        log: Any,
    ) -> None:
        super().__init__(target, is_batch=is_batch, make_context=make_context, extracts=extracts)
        self._threads, self._log = threads, log
        self._throttle = Throttle()

    async def run(self, job: Job, outcomes: list[Outcome]) -> None:
        if self._threads.is_exhausted and self._throttle.admit("exhausted") is not None:
            self._log.error("too many calls hang, making no more until one returns", hung=self._threads.hung)
        try:
            await self._threads.run([partial(self._call, job, number) for number in range(len(job.calls))], outcomes)
        finally:
            await self._extracts.clean()


class ProcessLane:
    """Has calls made by a worker process, and another one when that is gone or has had its share.

    Args:
        config: of the hook.
        services: what workers may tell and ask.
        extracts: files that calls have.
        nursery: where they run.
        stopping: the hook is to end.
        durations: where each call is counted.
        log: with its name.
    """

    def __init__(
        self,
        config: Hook,
        *,
        services: Services,
        extracts: Extracts,
        nursery: trio.Nursery,
        stopping: trio.Event,
        durations: Histogram,
        log: Any,
    ) -> None:
        self._config, self._services, self._nursery, self._stopping = config, services, nursery, stopping
        self._extracts = extracts
        self._durations, self._log = durations, log
        self._throttle = Throttle()
        self._allowance = Allowance()
        self._backoff = Backoff(first_s=0.1)
        self._worker: Worker | None = None
        self._is_ill = self._is_broken = False
        self.started = 0

    @property
    def is_running(self) -> bool:
        return self._worker is not None and self._worker.is_usable

    @property
    def room(self) -> int:
        assert self._worker is not None
        most = self._config.max_items or sys.maxsize
        return max(0, most - self._worker.records)

    async def wait_ready(self) -> None:
        await trio.lowlevel.checkpoint()
        if self._worker is not None and self._worker.is_usable:
            if self.room:
                return
            await self._worker.finish()
        self._worker = None
        while self._worker is None:
            if self._is_ill:
                await self._wait_well()
            self._is_ill = True
            await self._start()

    async def _wait_well(self) -> None:
        """One that crashes is not started again and again without a pause, one that does not even start not any more
        when the hook is to end.
        """
        delay_s = self._backoff.next_s()
        if not self._is_broken:
            await trio.sleep(delay_s)
            return
        with trio.move_on_after(delay_s):
            await self._stopping.wait()
            raise trio.EndOfChannel

    async def _start(self) -> None:
        run = partial(
            run_worker, self._make_setup(), limits=Limits(memory=self._config.memory_limit), services=self._services,
            make_output=partial(OutputLog, log=self._log, allowance=self._allowance),
        )  # fmt: skip
        try:
            self._worker = await self._nursery.start(run)
        except (WorkerError, OSError) as exc:
            self._is_broken = True
            if (held := self._throttle.admit(str(exc)[:80])) is not None:
                self._log.error("cannot start a worker process, trying again", error=str(exc), more=held)
        else:
            self._is_broken = False
            self.started += 1

    def _make_setup(self) -> Setup:
        config, limit = self._config, self._config.cpu_limit
        return Setup(
            hook=config.name,
            run=config.run,
            import_path=sys.path,
            options=pickle.dumps(config.options),
            timeout_s=config.timeout.seconds,
            batch=config.batch,
            cpu_limit_s=0.0 if limit is None else limit.seconds,
            level=_level(),
        )

    async def run(self, job: Job, outcomes: list[Outcome]) -> None:
        await trio.lowlevel.checkpoint()
        assert self._worker is not None
        if not self._worker.is_usable:
            return
        positions = [position for call in job.calls for position in call.positions]
        items, moved = needed(job.items, positions)
        work = Work(job.attempt, encode_items(items), moved)
        self._worker.records += len(positions)
        try:
            await self._worker.work(
                work,
                calls=[call.positions for call in job.calls],
                outcomes=outcomes,
                undecodable=job.undecodable,
                durations=self._durations,
                effects=job.effects,
            )
        finally:
            await self._extracts.clean()
        if self._worker.is_usable:
            self._is_ill = False
            self._backoff.reset()
        elif not (outcomes and outcomes[-1]) and self._throttle.admit(self._worker.end) is not None:
            self._log.warning("worker process ended between two calls", why=self._worker.end)

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
        if self._worker is not None:
            await self._worker.finish()


def _level() -> int:
    """The least level of a line that the log takes."""
    logger: Any = structlog.get_logger().bind()
    return next((level for level in (10, 20, 30, 40) if logger.is_enabled_for(level)), logging.CRITICAL)


def is_ours(exc: BaseException) -> bool:
    """Whether an exception that came out of a hook is not about the hook: we are cancelled, or interrupted."""
    if isinstance(exc, BaseExceptionGroup):
        return any(map(is_ours, exc.exceptions))
    return isinstance(exc, trio.Cancelled | KeyboardInterrupt)
