"""The work on pending jobs: stage by stage until the time that an alarm is about has passed, then the file."""

from __future__ import annotations

import heapq
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import structlog
import trio

from appliance.config import Evidence
from appliance.errors import ApplianceError
from appliance.model import Segment
from appliance.native import FlowKey
from appliance.runtime.ledger import Account
from appliance.runtime.logs import Throttle
from appliance.runtime.packets import PacketStore

from .files import Files
from .jobs import Desk, Job, Missing, Span, cover, merge_missing, uncovered
from .requests import Answer
from .room import Portion, next_portion
from .stages import HEADER, Taken, take
from .state import State, pack
from .surroundings import Surroundings
from .times import MARGIN_NS
from .uids import open_uids

__all__ = ["PATIENCE_NS", "Worker"]

log = structlog.get_logger("evidence")

AT_ONCE = 4
"""Jobs that are worked on at a time; two of them read or write."""
RECORDED_S = 10.0
"""How long packets may take from the interface into the recorder's segments; then the job waits its turn again."""
PATIENCE_NS = 600 * 10**9
"""How long a recorder that does not run, or is behind, is waited for after the end of a job's time."""
LOOK_EVERY_S = 60.0
"""Longest sleep: wall clocks are set."""
SHORTEST_NS = 10**9
"""Between two stages."""
MAX_OUTCOMES = 1000
PARTS = 256
"""Of a time that has too many packets, so small a part is taken whole or not at all."""
UID_EVERY_NS = 5 * 10**9
"""How often an unknown uid is looked up again, after some seconds of looking more often."""
PATIENCE_S = 5.0
"""How long a finished file waits for a consumer that does not move."""
LONGEST_DELAY_S = 30.0
"""Between attempts of one job."""
T = TypeVar("T")


class LaterError(ApplianceError):
    """Nothing can be done now."""


class Worker:
    """See the module.

    Args:
        config: the table.
        desk: the jobs.
        files: where they go.
        around: what it works with.
        segments: where finished files are booked.
        clock_ns: wall time.
        finished: is told of files that have their names.
    """

    def __init__(
        self,
        config: Evidence,
        *,
        desk: Desk,
        files: Files,
        around: Surroundings,
        segments: Account,
        clock_ns: Callable[[], int],
        finished: Callable[[list[Path]], None],
    ) -> None:
        self.config = config
        self._desk, self._files, self._around = desk, files, around
        self._segments, self._clock_ns, self._told_finished = segments, clock_ns, finished
        self._log = log.bind(evidence=config.name)
        self._throttle = Throttle(clock=time.monotonic)
        self._uids = open_uids(around.state_dir)
        self._state: State | None = None
        self._disk = trio.CapacityLimiter(1)
        self._threads = trio.CapacityLimiter(2)
        self._due: list[tuple[int, int]] = []
        self._busy: set[int] = set()
        self._again: set[int] = set()
        """Jobs that changed while they were worked on."""
        self._changed = trio.Event()
        self.finished = self.incomplete = self.empty = self.packets = self.size = self.failures = 0
        self.last_error = ""
        self.outcomes: OrderedDict[int, dict[str, Any]] = OrderedDict()
        """Of the latest files, by the number of their jobs."""
        self.is_finished = trio.lowlevel.ParkingLot()

    # ── what others call ──

    async def recover(self, state: State) -> None:
        """Go on with the jobs of an earlier run."""
        self._state = state
        self._busy.clear()
        self._due = []
        jobs = await self.on_disk(state.load)
        self._desk.restore(jobs)
        await self.on_disk(partial(self._files.sweep, jobs))
        for job in jobs:
            path = await self.on_disk(partial(self._files.find_finished, job))
            if path is not None:
                await self._announce(job, path, self._files.path(job, "json"), (await trio.Path(path).stat()).st_size)
                continue
            await self._forget_lost(job)
            self.look_at(job)

    async def _forget_lost(self, job: Job) -> None:
        """What is no more on the disk is to be taken again."""
        for piece in await self.on_disk(partial(self._files.lost, job)):
            job.pieces.remove(piece)
            job.covered = [part for begin, end in job.covered
                           for part in uncovered(begin, end, [(piece.from_ns, piece.to_ns)])]  # fmt: skip

    async def on_disk(self, work: Callable[[], T]) -> T:
        """Do something with the state in a thread, one thing at a time."""
        return await trio.to_thread.run_sync(work, limiter=self._disk)

    def look_at(self, job: Job) -> None:
        """There is something new to do for a job."""
        if job.id in self._busy:
            self._again.add(job.id)
        else:
            self._put_off(job, self._clock_ns())

    def lift(self, flows: Iterable[FlowKey]) -> None:
        """Have what comes of these from now on recorded in full."""
        store = self._around.recorders.get(self.config.recorder)
        if store is None:
            return
        for key in flows:
            try:
                store.lift(key, self._clock_ns())
            except OSError as exc:
                self.complain("the cutoff of a connection cannot be lifted", exc)

    def answer(self, answer: Answer, topic: str) -> None:
        """Tell who asked."""
        outcome = self._around.outlet.publish(topic, [answer.encode()])
        if outcome.refused:
            self._log.debug("nobody took an answer", topic=topic, reason=outcome.refused)

    def complain(self, event: str, exc: BaseException) -> None:
        """Say what failed, at most once a minute."""
        self.last_error = str(exc)
        if (held := self._throttle.admit(event)) is not None:
            self._log.warning(event, error=str(exc), more=held)

    async def run(self) -> None:
        """Work until cancelled.

        Cancellation: what was taken stays; the next run goes on with it.
        """
        async with trio.open_nursery() as nursery:
            while True:
                self._changed = trio.Event()
                now_ns = self._clock_ns()
                while self._due and self._due[0][0] <= now_ns and len(self._busy) < AT_ONCE:
                    job = self._desk.jobs.get(heapq.heappop(self._due)[1])
                    if job is not None and job.id not in self._busy:
                        self._busy.add(job.id)
                        nursery.start_soon(self._work, job)
                wait_s = LOOK_EVERY_S
                if self._due and len(self._busy) < AT_ONCE:
                    wait_s = min(wait_s, max(0.0, (self._due[0][0] - now_ns) / 1e9))
                with trio.move_on_after(wait_s):
                    await self._changed.wait()

    # ── one job ──

    def _put_off(self, job: Job, due_ns: int) -> None:
        heapq.heappush(self._due, (due_ns, job.id))
        self._changed.set()

    async def _work(self, job: Job) -> None:
        due_ns = None
        try:
            due_ns = await self._advance(job)
            job.failures = 0
        except (OSError, ValueError, ApplianceError) as exc:
            job.failures += 1
            self.failures += 1
            if job.failures > 1 or not isinstance(exc, LaterError):  # recorders start after us
                self.complain("evidence has to wait", exc)
            delay_s = min(LONGEST_DELAY_S, 2.0 ** min(job.failures - 1, 10))
            due_ns = self._clock_ns() + int(delay_s * 1e9)
        finally:
            self._busy.discard(job.id)
            if job.id in self._again:
                self._again.discard(job.id)
                due_ns = self._clock_ns()
            if due_ns is not None:
                self._put_off(job, due_ns)
            self._changed.set()

    async def _advance(self, job: Job) -> int | None:
        """Do what can be done now; returns when there is more to do, None: it is finished."""
        now_ns = self._clock_ns()
        is_over = now_ns >= job.to_ns
        if is_over:
            await self._forget_lost(job)
        await self._resolve(job)
        store = self._around.recorders.get(self.config.recorder)
        if job.selection.is_known:
            waited = await self._wait_recorded(
                store, min(now_ns, job.to_ns), is_hopeless=now_ns >= job.to_ns + PATIENCE_NS
            )
            while waited and store and (portion := next_portion(job, now_ns, int(self.config.max_size))):
                await self._take(job, store, portion)
        if not is_over or job.to_ns > now_ns:
            return self._next_ns(job, store)
        for begin, end in uncovered(job.from_ns, job.to_ns, job.covered):
            job.missing.append(Missing("not_recorded" if job.selection.is_known else "unknown_uid", begin, end))
        await self._finish(job)
        return None

    async def _resolve(self, job: Job) -> None:
        """Look the uid up: for the flow if only that is known, and for when its connection began."""
        if not job.selection.uid:
            return
        known = await self.on_disk(partial(self._uids.lookup, job.selection.uid))
        if known is None:
            return
        if known.key.proto and self._clock_ns() < job.to_ns:
            self.lift([known.key])
        if not job.selection.is_known:
            job.selection = job.selection.resolve(known.key)
        if job.selection.select == "conn":
            job.from_ns = max(0, min(job.from_ns, known.from_ns - MARGIN_NS))

    async def _wait_recorded(self, store: PacketStore | None, until_ns: int, *, is_hopeless: bool) -> bool:
        """Wait for packets on their way; whether they are there. It is an error if they will be, and are not yet."""
        if store is not None:
            with trio.move_on_after(RECORDED_S):
                await store.wait_recorded(until_ns)
                return True
        if is_hopeless:
            return store is not None
        state = "behind" if store is not None else "not running"
        raise LaterError(f"the recorder {self.config.recorder} is {state}")

    async def _take(self, job: Job, store: PacketStore, portion: Portion) -> None:
        span, room, _ = portion
        if room <= HEADER:
            job.missing.append(Missing("max_size", *span))
            job.covered = cover(job.covered, span)
        elif portion.is_latest_first:
            await self._take_latest(job, store, span, room)
        else:
            taken = await self._extract(job, store, span, room)
            if taken.is_capped:
                job.capped_ns = span[0]
            await self._add(job, span, taken)

    async def _take_latest(self, job: Job, store: PacketStore, span: Span, room: int) -> None:
        """Take the latest packets of a span: of what does not fit, the later half comes first."""
        left, shortest_ns = [span], max(SHORTEST_NS, (span[1] - span[0]) // PARTS)
        while left:
            begin, end = part = left.pop()
            taken = await self._extract(job, store, part, room)
            if not taken.is_capped:
                room -= taken.piece.size if taken.piece is not None else 0
                await self._add(job, part, taken)
                continue
            await self.on_disk(partial(self._files.remove, taken.piece))
            if end - begin > shortest_ns:
                left += [(begin, (begin + end) // 2), ((begin + end) // 2, end)]
            else:
                await self._add(job, (span[0], end), Taken.nothing("max_size", (span[0], end)))
                return

    async def _extract(self, job: Job, store: PacketStore, span: Span, room: int) -> Taken:
        target = self._files.stages / f"{job.id}-{span[0]}.pcap"
        return await trio.to_thread.run_sync(
            partial(take, store, job.selection, span, target, max_bytes=room, check=trio.from_thread.check_cancelled),
            limiter=self._threads,
        )

    async def _add(self, job: Job, span: Span, taken: Taken) -> None:
        job.missing += taken.missing
        job.covered = cover(job.covered, span)
        if taken.piece is not None:  # after a crash, nothing is looked for again at no loss
            job.pieces.append(taken.piece)
            await self._keep(job)

    def _next_ns(self, job: Job, store: PacketStore | None) -> int:
        """When the next stage is due: while the recorder still has what comes after the last one."""
        if not job.selection.is_known:
            now_ns = self._clock_ns()
            return min(job.to_ns, now_ns + min(UID_EVERY_NS, max(SHORTEST_NS, (now_ns - job.began_ns) // 2)))
        if store is None or not job.covered or store.oldest_ns is None:
            return job.to_ns
        until_ns = job.covered[-1][1]
        # Segments on the disk may be older than what has been forgotten in memory.
        forgotten = [gap.to_ns for gap in store.gaps(0, until_ns) if gap.reason == "memory"]
        oldest_ns = max(store.oldest_ns, *forgotten, 0)
        return min(job.to_ns, until_ns + max(SHORTEST_NS, (until_ns - oldest_ns) // 2))

    async def _keep(self, job: Job) -> None:
        assert self._state is not None
        await self.on_disk(partial(self._state.put, [pack(job)]))

    # ── the end ──

    async def _finish(self, job: Job) -> None:
        self._desk.close(job)
        if job.pieces:
            linktype = job.pieces[0].linktype
            others = [piece for piece in job.pieces if piece.linktype != linktype]
            job.missing += [Missing("link_type", piece.from_ns, piece.to_ns, piece.packets) for piece in others]
            job.pieces = [piece for piece in job.pieces if piece.linktype == linktype]
        if job.size > int(self.config.max_size):
            trim = partial(self._files.trim, job, int(self.config.max_size))
            await trio.to_thread.run_sync(trim, limiter=self._threads)
            await self._keep(job)
        job.missing = merge_missing(job.missing)
        path, note, size = await trio.to_thread.run_sync(
            partial(self._files.finish, job, self._clock_ns(), trio.from_thread.check_cancelled), limiter=self._threads
        )
        await self._announce(job, path, note, size)

    async def _announce(self, job: Job, path: Path | None, note: Path, size: int) -> None:
        """A job's files are there: tell everybody, then forget it. A crash in between tells it twice."""
        packets = sum(piece.packets for piece in job.pieces)
        if path is not None:
            segment = Segment(
                handler=self.config.name,
                source=f"evidence.{self.config.name}",
                path=str(path),
                packets=packets,
                disk_size=size,
                first_ns=min(piece.first_ns for piece in job.pieces),
                last_ns=max(piece.last_ns for piece in job.pieces),
                linktype=job.pieces[0].linktype,
                drops=sum(each.packets or 0 for each in job.missing),
            )
            self._segments.received += 1
            await self._around.dispatcher.dispatch(segment, self._segments, patience_s=PATIENCE_S)
        for asked in job.asked:
            answer = Answer(
                id=asked.id, recorder=self.config.recorder, path="" if path is None else str(path), packets=packets,
                size=size, is_complete=not job.missing, missing=tuple(map(str, job.missing)),
            )  # fmt: skip
            self.answer(answer, asked.topic)
        assert self._state is not None
        with trio.CancelScope(shield=True):  # or the next start would tell it again
            await self.on_disk(partial(self._state.remove, job.id))
            await self.on_disk(partial(self._files.forget, job))
        self._desk.remove(job)
        self.finished += 1
        self.incomplete += bool(job.missing)
        self.empty += path is None
        self.packets += packets
        self.size += size
        self.outcomes[job.id] = {
            "id": job.id, "evidence": self.config.name, "state": "finished", "note": str(note),
            "pcap": None if path is None else str(path), "packets": packets, "bytes": size, "alarms": job.alarms,
            "complete": not job.missing, "missing": [str(each) for each in job.missing],
        }  # fmt: skip
        if len(self.outcomes) > MAX_OUTCOMES:
            self.outcomes.popitem(last=False)
        self.is_finished.unpark_all()
        self._log.info("evidence", file=str(path or note), packets=packets, alarms=job.alarms, complete=not job.missing)
        self._told_finished([each for each in (path, note) if each is not None])
