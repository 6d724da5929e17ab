"""The service of `[[evidence]]`: takes alarms in, works on what is pending, hands finished files on.

An alarm that was taken in is on the disk before its record is settled; what it becomes does not depend on the queue any
more. All of a table's generations share its folder, so one of them works at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import msgspec
import structlog
import trio

from appliance.config import Evidence
from appliance.errors import ApplianceError
from appliance.model import Item
from appliance.runtime.intake import ConsumerQueue, Parcel
from appliance.runtime.tidy import Tidier

from .alarms import Refused, make_alarm
from .files import Files
from .jobs import Alarm, Asked, Desk, Job, Limits
from .requests import REQUEST, REQUEST_TOPIC, Answer
from .state import LeftOut, State, pack
from .surroundings import Surroundings
from .window import Window
from .work import Worker

__all__ = ["EvidenceFigures", "EvidenceService", "Filter"]

log = structlog.get_logger("evidence")

LEASE = 1000
"""Records for each lease."""
NOTE_EVERY_S = 60.0
"""How long alarms that were left out are gathered for one note."""
TIDY_S = 5.0
"""How long removing old files may take at the end."""


class Filter(Protocol):
    """Chooses records."""

    def select(self, item: Item) -> Any:
        """Position and decoded record of each match in `item`, in order."""


class EvidenceFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One table at one moment."""

    recorder: str
    pending: int
    """Files that are not finished."""
    retrying: int
    """The part of `pending` whose latest attempts failed, as `last_error` says; more are made."""
    joined: int
    """Alarms that joined a file that was pending."""
    left_out: int
    finished: int
    incomplete: int
    """The part of `finished` that lacks something, as their notes say."""
    empty: int
    """Alarms, or several of the same packets, without any packet."""
    packets: int
    size: int
    """Bytes of finished files."""
    failures: int
    """Attempts that will be made again."""
    last_error: str
    deleted_files: int
    """Files that went because of `keep`."""


class EvidenceService:
    """See the module. A service of the supervisor.

    Args:
        config: the table.
        where: chooses records.
        queue: of records.
        around: what it works with.
        turn: shared by all generations of this table.
    """

    def __init__(
        self,
        config: Evidence,
        *,
        where: Filter,
        queue: ConsumerQueue,
        around: Surroundings,
        turn: trio.Lock,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.config = config
        self._where, self._queue, self._around, self._turn, self._clock_ns = where, queue, around, turn, clock_ns
        self._log = log.bind(evidence=config.name)
        self._desk = Desk(_limits(config))
        self._files = Files(config)
        self._tidier = Tidier(
            self._files.pattern, compress="none", keep=config.keep, owner={"evidence": config.name}, clock_ns=clock_ns
        )
        self._segments = around.ledger.account(f"evidence.{config.name}.segments", unit="segments")
        self._work = Worker(
            config, desk=self._desk, files=self._files, around=around, segments=self._segments, clock_ns=clock_ns,
            finished=self._finished,
        )  # fmt: skip
        self._joined = self._left_out = 0
        self._is_left = trio.Event()
        self._next_id = 1
        self._state: State | None = None
        self.window = Window(
            config, desk=self._desk, files=self._files, finished=self._work, admit=self._admit, clock_ns=clock_ns
        )
        """Where people ask."""

    def statistics(self) -> EvidenceFigures:
        work = self._work
        return EvidenceFigures(
            recorder=self.config.recorder,
            pending=len(self._desk.jobs),
            retrying=sum(job.failures > 1 for job in self._desk.jobs.values()),
            joined=self._joined,
            left_out=self._left_out,
            finished=work.finished,
            incomplete=work.incomplete,
            empty=work.empty,
            packets=work.packets,
            size=work.size,
            failures=work.failures,
            last_error=work.last_error,
            deleted_files=self._tidier.statistics().deleted_files,
        )

    def stop(self) -> None:
        self._queue.close()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        await self._queue.open()
        task_status.started()
        async with self._turn:
            state = await trio.to_thread.run_sync(State, self._around.state_dir / "pending" / f"{self.config.name}.db")
            try:
                await self._run(state)
            finally:
                self._state = None
                state.close()

    async def _run(self, state: State) -> None:
        tidying = trio.CancelScope()
        await self._work.recover(state)
        if self._desk.jobs:
            self._log.info("going on with evidence of an earlier run", pending=len(self._desk.jobs))
        async with trio.open_nursery() as tidiers:
            tidiers.start_soon(self._tidier.run, tidying)
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._work.run)
                    nursery.start_soon(self._tell_left_out, state)
                    with self._around.outlet.subscribed(self._topics()):
                        await self._take_in(state)
                    nursery.cancel_scope.cancel()
            finally:
                tidying.deadline = trio.current_time() + TIDY_S
                self._tidier.end()
        if self._desk.jobs:
            self._log.info("evidence waits for the next start", pending=len(self._desk.jobs))

    def _topics(self) -> list[str]:
        """Those of requests, if they are taken at all."""
        return [REQUEST_TOPIC] if f"event:{REQUEST}" in self.config.on else []

    # ── records ──

    async def _take_in(self, state: State) -> None:
        self._next_id = await self._work.on_disk(lambda: state.last_id) + 1
        self._state = state
        try:
            while True:
                async with self._queue.lease(LEASE) as parcel:
                    taken = _TakenIn(self._next_id)
                    for item in parcel.items:
                        for _, record in self._where.select(item):
                            self._take_record(taken, item, record)
                    self._next_id = taken.next_id
                    await self._keep(state, taken)
                    self._settle(parcel, taken)
        except trio.EndOfChannel:
            return

    def _take_record(self, taken: _TakenIn, item: Item, record: dict[str, Any] | None) -> None:
        now_ns = self._clock_ns()
        alarm = make_alarm(self.config, item, record, now_ns)
        if isinstance(alarm, Refused):
            taken.leave_out(LeftOut(alarm.reason, alarm.ts_ns, ""), alarm.asked)
            return
        job, outcome = self._desk.admit(alarm, now_ns, taken.next_id)
        if job is None:
            taken.leave_out(LeftOut(outcome, alarm.ts_ns, alarm.selection.key), alarm.asked)
            return
        taken.add(job, is_new=outcome == "begun")
        self._joined += outcome == "joined"
        self._work.lift(alarm.flows)

    async def _keep(self, state: State, taken: _TakenIn) -> None:
        """Write down what was taken in; nothing is settled before."""
        if taken.jobs or taken.left_out:
            jobs = [pack(job) for job in taken.jobs.values()]
            await self._work.on_disk(partial(state.put, jobs, [x for x in taken.left_out if x.query]))
        for job in taken.jobs.values():
            self._work.look_at(job)
        if any(x.query for x in taken.left_out):
            self._is_left.set()
        for left, asked in zip(taken.left_out, taken.asked, strict=True):
            if asked is not None:
                self._work.answer(Answer.refusal(asked.id, self.config.recorder, left.reason), asked.topic)

    async def _admit(self, alarm: Alarm) -> Job:
        """Take in what somebody asks for; it is on the disk when this returns.

        Raises:
            ApplianceError: refused, or there is nobody to do it.
        """
        if self._state is None:
            raise ApplianceError("it is not running yet, or not any more")
        account = self._around.ledger.account(f"evidence.{self.config.name}")
        account.received += 1
        taken = _TakenIn(self._next_id)
        job, outcome = self._desk.admit(alarm, self._clock_ns(), taken.next_id)
        if job is None:
            account.drop(outcome, 1)
            raise ApplianceError(f"refused: {outcome}")
        taken.add(job, is_new=outcome == "begun")
        self._next_id = taken.next_id
        account.delivered += 1
        self._joined += outcome == "joined"
        self._work.lift(alarm.flows)
        await self._keep(self._state, taken)
        return job

    def _settle(self, parcel: Parcel, taken: _TakenIn) -> None:
        for left in taken.left_out:
            parcel.drop(left.reason, 1)
        self._left_out += len(taken.left_out)
        parcel.deliver(taken.alarms)
        parcel.drop("where", parcel.left)

    # ── what was left out ──

    async def _tell_left_out(self, state: State) -> None:
        if (await self._work.on_disk(state.left_out))[0]:
            self._is_left.set()
        while True:
            await self._is_left.wait()
            self._is_left = trio.Event()
            await trio.sleep(NOTE_EVERY_S)
            try:
                path = await self._work.on_disk(partial(self._files.write_left_out, state, self._clock_ns()))
            except OSError as exc:
                self._work.complain("cannot tell which alarms were left out", exc)
                self._is_left.set()
                continue
            self._log.warning("alarms were left out", note=str(path))
            self._finished([path])

    def _finished(self, paths: list[Path]) -> None:
        for path in paths:
            self._tidier.add(path)
        self._tidier.wake()


class _TakenIn:
    """What came of one parcel."""

    def __init__(self, next_id: int) -> None:
        self.next_id = next_id
        self.jobs: dict[int, Job] = {}
        self.alarms = 0
        self.left_out: list[LeftOut] = []
        self.asked: list[Asked | None] = []

    def add(self, job: Job, *, is_new: bool) -> None:
        self.jobs[job.id] = job
        self.alarms += 1
        self.next_id += is_new

    def leave_out(self, left: LeftOut, asked: Asked | None) -> None:
        self.left_out.append(left)
        self.asked.append(asked)


def _limits(config: Evidence) -> Limits:
    return Limits(config.max_pending, config.max_rate, int(config.max_span))
