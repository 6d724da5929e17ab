"""`order_by`: records with the same value of a field go through the same lane, in their order, while other lanes work
on others. What is leased is shared out between the lanes, and settled from the front on as they get on with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio

from appliance.runtime.intake import ConsumerQueue, Parcel
from appliance.runtime.journal.entries import Failure

from .around import Around
from .calling import make_some
from .effects import Effects
from .failure import Outcome
from .lanes import Lane
from .plan import Call, Job
from .progress import TURN_S
from .tally import Tally, book

__all__ = ["OrderedWork"]

MAX_LEASES = 2
"""At the same time: while one waits for its slowest lane the others have something to do."""

Plan = Callable[[Parcel, set[int]], dict[int, list[Call]]]
"""Calls for each lane that gets some; the set hears of positions that are no records."""


class _Leased:
    """A parcel in the hands of lanes."""

    def __init__(
        self,
        parcel: Parcel,
        calls: dict[int, list[Call]],
        undecodable: set[int],
        *,
        tally: Tally,
        around: Around | None,
    ) -> None:
        self.parcel = parcel
        self.over = trio.Event()
        self.undecodable = undecodable
        self._tally, self._around = tally, around
        self._effects: dict[int, Effects] = {}
        """Of calls that ended well, at the first of their positions."""
        self._planned = {position for each in calls.values() for call in each for position in call.positions}
        self._known: dict[int, Failure | None] = {}
        self._advance()

    def make_job(self, calls: Sequence[Call]) -> Job:
        parcel = self.parcel
        return Job(items=parcel.items, attempt=parcel.attempt, calls=calls, undecodable=self.undecodable)

    def take(self, job: Job, outcomes: Sequence[Outcome]) -> None:
        """The first of its calls ended so."""
        for number, (call, outcome) in enumerate(zip(job.calls, outcomes, strict=False)):
            if outcome is None and number in job.effects:
                self._effects[call.positions[0]] = job.effects[number]
            failure = self._tally.count(call, outcome, self.undecodable)
            self._known.update(dict.fromkeys(call.positions, failure))
        self._advance()

    def _advance(self) -> None:
        parcel = self.parcel
        while parcel.left:
            position = parcel.settled
            if position not in self._planned:
                parcel.drop("where", 1)
            elif position in self._known:
                if self._around is not None and (effects := self._effects.pop(position, None)) is not None:
                    self._around.commit(effects)
                book(parcel, self._known.pop(position), is_undecodable=position in self.undecodable)
            else:
                return
        self.over.set()


def _within(calls: Sequence[Call], room: int) -> Sequence[Call]:
    """The first of `calls`, as many as have at most `room` records, but one at least."""
    for number, call in enumerate(calls):
        room -= len(call.positions)
        if room < 0 and number:
            return calls[:number]
    return calls


class OrderedWork:
    """See the module.

    Args:
        queue: of the hook.
        lanes: those it has.
        plan: shares out what was leased.
        tally: where calls are booked.
        around: where what they want is done.
        least: records that are leased at once, and most.
    """

    def __init__(
        self,
        queue: ConsumerQueue,
        lanes: Sequence[Lane],
        *,
        plan: Plan,
        tally: Tally,
        around: Around | None,
        least: int,
        most: int,
    ) -> None:
        self._queue, self._lanes, self._plan, self._tally, self._around = queue, lanes, plan, tally, around
        self._least, self._most = least, most
        self._share = least
        self._slots = trio.Semaphore(MAX_LEASES)
        self._ways: list[trio.MemorySendChannel[tuple[_Leased, list[Call]]]] = []

    async def run(self) -> None:
        """Work until the queue is closed and empty.

        Cancellation: what was called to its end is settled, as far as everything before it is.
        """
        async with trio.open_nursery() as nursery:
            for lane in self._lanes:
                send, receive = trio.open_memory_channel[tuple[_Leased, list[Call]]](MAX_LEASES)
                self._ways.append(send)
                nursery.start_soon(self._serve, lane, receive, nursery.cancel_scope)
            async with trio.open_nursery() as leases:
                try:
                    while True:
                        await self._slots.acquire()
                        await leases.start(self._lease)
                except trio.EndOfChannel:
                    pass
            for send in self._ways:
                send.close()

    async def _lease(self, *, task_status: trio.TaskStatus[None]) -> None:
        async with self._queue.lease(self._share) as parcel:
            began = trio.current_time()
            undecodable: set[int] = set()
            calls = self._plan(parcel, undecodable)
            leased = _Leased(parcel, calls, undecodable, tally=self._tally, around=self._around)
            for lane, share in calls.items():
                self._ways[lane].send_nowait((leased, share))
            task_status.started()
            await leased.over.wait()
            pace = parcel.settled / max(trio.current_time() - began, 1e-6)
        self._share = max(self._least, min(self._most, self._share * 4, int(pace * TURN_S)))
        self._slots.release()

    async def _serve(
        self, lane: Lane, receive: trio.MemoryReceiveChannel[tuple[_Leased, list[Call]]], scope: trio.CancelScope
    ) -> None:
        try:
            await lane.wait_ready()
            async for leased, calls in receive:
                rest: Sequence[Call] = calls
                while rest:
                    await lane.wait_ready()
                    rest = rest[await self._call_some(lane, leased, _within(rest, lane.room)) :]
        except trio.EndOfChannel:
            scope.cancel()  # without this lane the others are of no use, and the hook is to end
        await lane.aclose()

    async def _call_some(self, lane: Lane, leased: _Leased, calls: Sequence[Call]) -> int:
        job = leased.make_job(calls)
        return await make_some(lane, job, tally=self._tally, around=self._around, settle=leased.take)
