"""The hook runner: leases records from the hook's queue and calls the hook for each one that `where` lets through.

A hook that raises, hangs or is slow costs its own records, booked by reason, and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import structlog
import trio

from appliance.config import Hook
from appliance.model import Item
from appliance.runtime.asking import PacketMaker
from appliance.runtime.histogram import Histogram
from appliance.runtime.intake import ConsumerQueue, Parcel
from appliance.runtime.outlet import Outlet

from .around import Around, commit_all
from .callables import Context, HookCallable
from .calling import make_some
from .effects import Effects
from .extracts import Extracts, sweep
from .failure import Outcome
from .filter import Filter
from .lanes import Lane, ProcessLane, TaskLane, ThreadLane
from .order import OrderedWork
from .plan import Call, Job, plan_by_key, plan_calls
from .progress import TURN_S
from .publish import EventPublisher
from .services import make_services
from .tally import HookFigures, Tally
from .thread import ThreadCaller

__all__ = ["HookFigures", "HookRunner"]

log = structlog.get_logger("hook")

MAX_SHARE = 256
"""Records for each lease: enough to spread the cost of a thread hop over the calls of a fast hook."""
MAX_CALLS = 4
"""Calls for each lease with more records than that."""


class HookRunner:
    """See the module. A service of the supervisor.

    Args:
        config: the table.
        target: what is called.
        where: chooses records.
        queue: of records.
        outlet: where the hook's events go.
        around: stores, and who takes what it emits.
        packets: gives what makes files of packets.
        folder: where they are.
    """

    def __init__(
        self,
        config: Hook,
        *,
        target: HookCallable,
        where: Filter,
        queue: ConsumerQueue,
        outlet: Outlet,
        around: Around | None = None,
        packets: Callable[[], PacketMaker] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.config = config
        self._target = target
        self._where = where
        self._queue = queue
        self._publisher = EventPublisher(outlet.via(config.via))
        self._around = around
        self._packets, self._folder = packets, folder
        self._durations = Histogram()
        self._threads = ThreadCaller(
            concurrency=config.concurrency, timeout_s=config.timeout.seconds, durations=self._durations
        )
        self._log = log.bind(hook=config.name)
        self._tally = Tally(self._log)
        self._stopping = trio.Event()
        self._processes: list[ProcessLane] = []

    def statistics(self) -> HookFigures:
        tally = self._tally
        return HookFigures(
            calls=tally.calls,
            done=tally.calls - tally.failed,
            failed=tally.failed,
            errors=tally.errors,
            timeouts=tally.timeouts,
            running=tally.running,
            hung=self._threads.hung,
            workers=sum(lane.is_running for lane in self._processes),
            workers_started=sum(lane.started for lane in self._processes),
            busy_s=round(tally.busy_s, 3),
            last_error=tally.last_error,
            durations=self._durations.statistics(),
        )

    def stop(self) -> None:
        self._stopping.set()
        self._queue.close()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self._publisher.attach()
        if self._around is not None:
            self._around.attach()
        if self._folder is not None:
            await trio.to_thread.run_sync(sweep, self._folder)
        await self._queue.open()
        self._processes = []
        async with trio.open_nursery() as nursery:
            lanes = [self._make_lane(nursery) for _ in range(self.config.concurrency)]
            if self.config.order_by and len(lanes) > 1:
                nursery.start_soon(self._make_ordered(lanes).run)
            else:
                for lane in lanes:
                    nursery.start_soon(self._work, lane)
            task_status.started()

    def _make_lane(self, nursery: trio.Nursery) -> Lane:
        timeout_s = self.config.timeout.seconds
        extracts = Extracts(self._packets, self._folder)
        extracts.attach()
        make_context = partial(self._make_context, extracts)
        if self._target.is_async:
            return TaskLane(
                self._target,
                is_batch=self.config.batch > 1,
                make_context=make_context,
                extracts=extracts,
                timeout_s=timeout_s,
                durations=self._durations,
            )
        if self.config.isolation == "thread":
            return ThreadLane(
                self._target, is_batch=self.config.batch > 1, make_context=make_context, extracts=extracts,
                threads=self._threads, log=self._log,
            )  # fmt: skip
        services = make_services(self._publisher, self._log, self._around, extracts)
        lane = ProcessLane(
            self.config, services=services, extracts=extracts, nursery=nursery, stopping=self._stopping,
            durations=self._durations, log=self._log,
        )  # fmt: skip
        self._processes.append(lane)
        return lane

    def _make_ordered(self, lanes: Sequence[Lane]) -> OrderedWork:
        config, count = self.config, len(lanes)

        def plan(parcel: Parcel, undecodable: set[int]) -> dict[int, list[Call]]:
            return plan_by_key(
                parcel.items, self._where, config.order_by, count, batch=config.batch, undecodable=undecodable
            )

        least = config.batch * count
        return OrderedWork(
            self._queue,
            lanes,
            plan=plan,
            tally=self._tally,
            around=self._around,
            least=least,
            most=max(MAX_SHARE, least),
        )

    async def _work(self, lane: Lane) -> None:
        share = self.config.batch
        most = max(MAX_SHARE, MAX_CALLS * self.config.batch)
        try:
            while True:
                await lane.wait_ready()
                async with self._queue.lease(min(share, lane.room)) as parcel:
                    began = trio.current_time()
                    await self._work_off(lane, parcel, until=began + TURN_S)
                    pace = parcel.settled / max(trio.current_time() - began, 1e-6)
                # Of a slow hook's records the other lanes get theirs, and the queue sees that it moves.
                calls = min(most, share * 4, int(pace * TURN_S)) // self.config.batch
                share = self.config.batch * max(1, calls)
        except trio.EndOfChannel:
            await lane.aclose()

    async def _work_off(self, lane: Lane, parcel: Parcel, *, until: float) -> None:
        """Settle the records of `parcel` in order, until the turn is over or the lane is."""
        undecodable: set[int] = set()
        calls: Sequence[Call] = plan_calls(
            parcel.items, self._where, batch=self.config.batch, is_decoded=not isinstance(lane, ProcessLane),
            undecodable=undecodable,
        )  # fmt: skip
        while calls:
            job = Job(items=parcel.items, attempt=parcel.attempt, calls=calls, undecodable=undecodable)
            made = await self._call_some(lane, parcel, job)
            calls = calls[made:]
            if calls and (not made or trio.current_time() >= until or isinstance(lane, ProcessLane)):
                return
        parcel.drop("where", parcel.left)

    async def _call_some(self, lane: Lane, parcel: Parcel, job: Job) -> int:
        def settle(job: Job, outcomes: Sequence[Outcome]) -> None:
            commit_all(self._around, job, outcomes)
            self._tally.settle(parcel, job, outcomes)

        return await make_some(lane, job, tally=self._tally, around=self._around, settle=settle)

    def _make_context(
        self, extracts: Extracts, items: Sequence[Item], records: Sequence[Any], attempt: int, effects: Effects
    ) -> Context:
        around, is_async = self._around, self._target.is_async
        reader = find_store = None
        if around is not None:
            find_store = around.awaited_store if is_async else around.waiting_store
            reader = around.awaited_reader if is_async else around.waiting_reader
        return Context(
            item=items[0],
            attempt=attempt,
            deadline=time.monotonic() + self.config.timeout.seconds,
            log=self._log,
            config=self.config.options,
            publish_event=self._publisher.publish_event,
            publish_to_pool=self._publisher.publish_to_pool,
            effects=effects,
            reader=reader,
            is_async=is_async,
            find_store=find_store,
            records=records,
            extract=extracts.extract if is_async else extracts.waiting,
        )
