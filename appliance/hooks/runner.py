"""The hook runner: leases records from the hook's queue and calls the hook for each one that `where` lets through.

A hook that raises, hangs or is slow costs its own records, booked by reason, and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
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
from .failure import Outcome, failure_of
from .filter import Filter
from .lanes import Call, Job, Lane, ProcessLane, TaskLane, ThreadLane
from .progress import TURN_S
from .publish import EventPublisher
from .services import make_services
from .steer import Failed
from .thread import ThreadCaller

__all__ = ["HookFigures", "HookRunner"]

log = structlog.get_logger("hook")

MAX_SHARE = 256
"""Records for each lease: enough to spread the cost of a thread hop over the calls of a fast hook."""


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
    workers: int
    """Worker processes that run."""
    workers_started: int
    busy_s: float
    """Time spent in calls, all lanes together."""
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
        self._stopping = trio.Event()
        self._processes: list[ProcessLane] = []
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
            workers=sum(lane.is_running for lane in self._processes),
            workers_started=sum(lane.started for lane in self._processes),
            busy_s=round(self._busy_s, 3),
            last_error=self._last_error,
            durations=self._durations.statistics(),
        )

    def stop(self) -> None:
        self._stopping.set()
        self._queue.close()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self._publisher.attach()
        await self._queue.open()
        self._processes = []
        async with trio.open_nursery() as nursery:
            for _ in range(self.config.concurrency):
                nursery.start_soon(self._work, self._make_lane(nursery))
            task_status.started()

    def _make_lane(self, nursery: trio.Nursery) -> Lane:
        timeout_s = self.config.timeout.seconds
        if self._target.is_async:
            return TaskLane(
                self._target,
                is_batch=self.config.batch > 1,
                make_context=self._make_context,
                timeout_s=timeout_s,
                durations=self._durations,
            )
        if self.config.isolation == "thread":
            return ThreadLane(
                self._target, is_batch=self.config.batch > 1, make_context=self._make_context, threads=self._threads,
                log=self._log,
            )  # fmt: skip
        lane = ProcessLane(
            self.config, services=make_services(self._publisher, self._log), nursery=nursery, stopping=self._stopping,
            durations=self._durations, log=self._log,
        )  # fmt: skip
        self._processes.append(lane)
        return lane

    async def _work(self, lane: Lane) -> None:
        share = self.config.batch
        most = max(MAX_SHARE, self.config.batch)
        try:
            while True:
                await lane.wait_ready()
                async with self._queue.lease(min(share, lane.room)) as parcel:
                    began = trio.current_time()
                    await self._work_off(lane, parcel, until=began + TURN_S)
                    pace = parcel.settled / max(trio.current_time() - began, 1e-6)
                # Of a slow hook's records the other lanes get theirs, and the queue sees that it moves.
                share = max(self.config.batch, min(most, share * 4, int(pace * TURN_S)))
        except trio.EndOfChannel:
            await lane.aclose()

    async def _work_off(self, lane: Lane, parcel: Parcel, *, until: float) -> None:
        """Settle the records of `parcel` in order, until the turn is over or the lane is."""
        undecodable: set[int] = set()
        calls: Sequence[Call] = self._plan(parcel, undecodable, is_decoded=not isinstance(lane, ProcessLane))
        while calls:
            job = Job(items=parcel.items, attempt=parcel.attempt, calls=calls, undecodable=undecodable)
            made = await self._call_some(lane, parcel, job)
            calls = calls[made:]
            if calls and (not made or trio.current_time() >= until or isinstance(lane, ProcessLane)):
                return
        parcel.drop("where", parcel.left)

    def _plan(self, parcel: Parcel, undecodable: set[int], *, is_decoded: bool) -> list[Call]:
        """The calls for `parcel`, with their records if the lane does not decode them."""
        batch = self.config.batch
        if not is_decoded:
            positions = _all_positions(parcel.items, self._where)
            return [Call(positions=positions[at : at + batch]) for at in range(0, len(positions), batch)]
        found: list[tuple[int, Item, Any]] = []
        offset = 0
        for item in parcel.items:
            found += [(offset + position, item, record) for position, record in self._where.select(item)]
            offset += item.count
        undecodable.update(position for position, _, record in found if record is None)
        return [_make_call(found[at : at + batch]) for at in range(0, len(found), batch)]

    async def _call_some(self, lane: Lane, parcel: Parcel, job: Job) -> int:
        """Make the first of the calls, settle their records; returns how many.

        Cancellation: what was called to its end is settled.
        """
        outcomes: list[Outcome] = []
        began = time.monotonic()
        self._running += 1
        try:
            await lane.run(job, outcomes)
        finally:
            self._running -= 1
            self._busy_s += time.monotonic() - began
            self._settle(parcel, job, outcomes)
        return len(outcomes)

    def _settle(self, parcel: Parcel, job: Job, outcomes: Sequence[Outcome]) -> None:
        """Book the outcomes of the first calls in their order."""
        good = 0
        for call, outcome in zip(job.calls, outcomes, strict=False):
            count = len(call.positions)
            is_whole = call.positions[0] == parcel.settled + good and call.positions[-1] - call.positions[0] < count
            if outcome is None and is_whole and not job.undecodable:
                good += count
                self._calls += 1
                continue
            parcel.deliver(good)
            good = 0
            self._settle_singly(parcel, call, outcome, job.undecodable)
        parcel.deliver(good)

    def _settle_singly(self, parcel: Parcel, call: Call, outcome: Outcome, undecodable: set[int]) -> None:
        failure = None if outcome is None else failure_of(outcome)
        self._calls += not undecodable.issuperset(call.positions)
        for position in call.positions:
            parcel.drop("where", position - parcel.settled)
            if position in undecodable:
                parcel.drop("undecodable", 1)
            elif failure is None:
                parcel.deliver(1)
            else:
                parcel.fail(failure)
        if failure is not None:
            self._note(failure, outcome)

    def _make_context(self, items: Sequence[Item], attempt: int) -> Context:
        return Context(
            item=items[0],
            attempt=attempt,
            deadline=time.monotonic() + self.config.timeout.seconds,
            log=self._log,
            config=self.config.options,
            publish_event=self._publisher.publish_event,
        )

    def _note(self, failure: Failure, outcome: Outcome) -> None:
        self._failed += 1
        self._timeouts += failure.reason == "timeout"
        self._errors += failure.reason in ("hook_error", "crash")
        self._last_error = failure.error
        if failure.reason in ("retry", "rejected"):
            self._log.debug("hook gave a record back", reason=failure.reason, error=failure.error)
        elif (held := self._throttle.admit(self._last_error[:80])) is not None:
            more: dict[str, Any] = {"traceback": failure.trace} if failure.trace else {}
            if (
                isinstance(outcome, BaseException)
                and failure.reason == "hook_error"
                and not isinstance(outcome, Failed)
            ):
                more = {"exc_info": outcome}
            self._log.warning("hook failed", reason=failure.reason, error=self._last_error, more=held, **more)


def _all_positions(items: Iterable[Item], where: Filter) -> Sequence[int]:
    """Where the matches are in a parcel; a range if they are all of it."""
    found: list[Sequence[int]] = []
    offset = 0
    for item in items:
        positions = where.positions(item)
        found.append(
            range(offset, offset + item.count) if isinstance(positions, range) else [offset + p for p in positions]
        )
        offset += item.count
    if all(isinstance(positions, range) for positions in found):
        return range(offset)
    return [position for positions in found for position in positions]


def _make_call(found: Sequence[tuple[int, Item, Any]]) -> Call:
    kept = [each for each in found if each[2] is not None]
    return Call(
        positions=[position for position, _, _ in found],
        records=[record for _, _, record in kept],
        items=[item for _, item, _ in kept],
    )
