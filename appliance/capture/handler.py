"""One handler at work: packets of its socket through its transforms into its files, at its own speed.

The socket's task only offers (`begin`, `proceed`, `skip`), and never waits for a handler; everything that can take
time is in tasks of the handler's own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec
import structlog
import trio

from appliance.config import Capture, Handler
from appliance.model import Segment
from appliance.native.pcap import PcapBlock
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.held_accounts import HeldAccounts
from appliance.runtime.ledger import Ledger
from appliance.runtime.quarantine import Quarantine
from appliance.runtime.tidy import Tidier

from .batch import Batch, Record, RecordView, View
from .disks import Disks
from .feed import Feed
from .figures import HandlerFigures, Meter
from .finished import FinishedSegments
from .plan import Load, Plan, Style, pattern_of, rotation_of
from .refine import Refinery
from .repair import recover_segments
from .segments import FINISH_TIMEOUT_S, SegmentWriter
from .transform import load_chain

__all__ = ["HandlerTask", "Surroundings"]

log = structlog.get_logger("capture")

DRAWN_MIN, DRAWN_MAX = 64, 1024
"""Packets that come from a socket straight into a block: fewer are not worth it, with more it would take longer than a
millisecond.
"""


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What a handler finds around it."""

    ledger: Ledger
    dispatcher: Dispatcher
    disks: Disks
    host: str
    """Value of ``{host}``."""
    state_dir: Path
    clock_ns: Callable[[], int]
    """Wall time."""


class HandlerTask:
    """See the module.

    Args:
        capture: whose handler it is.
        handler: its table.
        around: what is around it.
        kernel_drops: how many packets the kernel has dropped so far.
        room: called when there may be room again after `begin` or `proceed` said that there is none.
        capacity: bytes of a block.
        is_runtime: it is not in the file.

    Raises:
        ValueError: its pattern or a transform is wrong; the text says how.
    """

    def __init__(
        self,
        capture: Capture,
        handler: Handler,
        *,
        around: Surroundings,
        kernel_drops: Callable[[], int],
        room: Callable[[HandlerTask], None],
        capacity: int,
        is_runtime: bool = False,
    ) -> None:
        self.capture, self.handler, self.is_runtime = capture.name, handler, is_runtime
        self.source = f"capture.{capture.name}"
        self.is_stalled = False
        """It has been waited for, and was not waited for long enough."""
        self._around = around
        self._kernel_drops, self._kernel_drops_before = kernel_drops, kernel_drops()
        self._tell_room = partial(room, self)
        self.pattern = pattern_of(handler)
        style = Style.of(capture, handler)
        chain = load_chain(handler.pre_write_transforms)
        self.with_headers = style.with_headers
        """Its packets get the headers of their network."""
        self.account = around.ledger.account(f"handler.{capture.name}/{handler.name}", unit="packets")
        self._finished = FinishedSegments(
            around.ledger.account(f"{self.source}.segments", unit="segments"),
            around.dispatcher,
            is_compressed=handler.compress != "none",
        )
        self._held = HeldAccounts(around.ledger, self.account, self._finished.account)
        self._own_drops = 0
        owner = f"{capture.name}/{handler.name}"
        self._tidier = Tidier(
            self.pattern,
            compress=handler.compress,
            keep=handler.keep,
            owner={"handler": owner},
            clock_ns=around.clock_ns,
            budget=partial(around.disks.shares.grant, owner, self.pattern.static_root),
            limiter=around.disks.tidying,
            tidied=self._finished.rename if handler.compress != "none" else None,
        )
        self._limiter = around.disks.writing(self.pattern)
        self._writer = SegmentWriter(
            style=style,
            source=self.source,
            account=self.account,
            limiter=self._limiter,
            finished=self._finish,
            disk_full=self._tidier.look_soon,
            clock_ns=around.clock_ns,
        )
        names = {"name": handler.name, "capture": capture.name, "host": around.host, "pid": str(os.getpid())}
        self._feed = Feed(
            handler.name,
            style=style,
            pattern=self.pattern,
            rotation=rotation_of(handler),
            fields=names,
            capacity=capacity,
            missing=lambda: self._kernel_drops() + self._own_drops,
            clock_ns=around.clock_ns,
        )
        self._refinery: Refinery | None = None
        if chain:
            self._refinery = Refinery(
                chain,
                on_error=handler.on_transform_error,
                with_headers=style.with_headers,
                account=self.account,
                quarantine=Quarantine(around.state_dir / "quarantine" / self.source / handler.name),
                write=self._write,
                door=self.source,
                handler=handler.name,
            )
            self._refinery.on_room(self._tell_room)
        self._meter = Meter(trio.current_time())
        self._loads: trio.MemoryReceiveChannel[Load] | None = None
        self._batch: Batch | None = None
        self._view: View | None = None
        self._at = 0
        self._block_came = trio.lowlevel.ParkingLot()
        self._rotating: set[Plan] = set()

    # ── what the socket's task calls: nothing here waits ──

    def open(self) -> None:
        """Begin to take packets; `run` must follow.

        Raises:
            MemoryError: there is not enough memory.
        """
        self._loads = self._feed.open()
        if self._refinery is not None:
            self._refinery.open()
        self.account.add_holder(self._count_queued)
        self._held.hold()

    def release(self) -> None:
        """It does not run, and will not run again: its accounts have their last figures."""
        self._held.release()

    def begin(self, batch: Batch) -> bool:
        """Offer packets; False if some of them have to wait: call `proceed` later, or `skip`."""
        if self._refinery is not None:
            self._batch = batch
        else:
            self._feed.check(trio.current_time())
            self._view, self._at = batch.view(with_headers=self.with_headers), 0
        return self.proceed()

    def proceed(self) -> bool:
        """Go on with what was offered; the same."""
        if self._refinery is not None:
            return self._refine(self._refinery)
        assert self._view is not None
        before, self._at = self._at, self._feed.put(self._view, self._at)
        self.account.received += self._at - before
        if self._at < len(self._view):
            return False
        self._view = None
        self.is_stalled = False
        return True

    def _refine(self, refinery: Refinery) -> bool:
        assert self._batch is not None
        if not refinery.put(self._batch.packets()):
            return False
        self.account.received += len(self._batch)
        self._batch = None
        self.is_stalled = False
        return True

    def draws(self, longest: int) -> int:
        """How many packets of at most `longest` bytes may come from a socket straight into its block; 0: none."""
        room = 0 if self._refinery is not None else self._feed.surely_takes(longest)
        return int(min(room, DRAWN_MAX)) if room >= DRAWN_MIN else 0

    def draw(self, view: View) -> int:
        """Take packets from the socket, as many as `draws` said; returns how many came. Less than the view says it has:
        the others have to wait for a block.
        """
        self._feed.check(trio.current_time())
        count = self._feed.put(view, 0)
        self.account.received += count
        return count

    def skip(self) -> None:
        """Drop the rest of what was offered."""
        self.is_stalled = True
        if self._batch is not None:
            count, reason = len(self._batch), "transform_queue"
        else:
            assert self._view is not None
            count, reason = len(self._view) - self._at, "disk"
        self._batch = self._view = None
        self._own_drops += count
        self.account.received += count
        self.account.drop(reason, count)

    def check(self, now_s: float) -> float:
        """End what is due; returns when there is something to do again, on Trio's clock."""
        return self._feed.check(now_s)

    def end_segment(self) -> None:
        """The stream is over for now."""
        self._feed.end()

    def close(self) -> None:
        """Nothing more comes; `run` ends when everything is in its file."""
        if self._refinery is not None:
            self._refinery.close()
        else:
            self._feed.finish()

    def sample(self, now_s: float) -> None:
        self._meter.sample(now_s, self._feed.packets, self._feed.bytes)

    # ── what others call ──

    async def rotate(self) -> Segment | None:
        """End the segment and wait until it is finished, and compressed if that is asked for.

        Returns:
            What became of it; None if none is open.

        Raises:
            OSError: it cannot be finished and stays a ``.part``.

        Cancellation: the segment ends all the same.
        """
        plan = self._feed.end()
        if plan is None:
            await trio.lowlevel.checkpoint()
            return None
        self._rotating.add(plan)
        try:
            await plan.done.wait()
        finally:
            self._rotating.discard(plan)
        if isinstance(plan.outcome, Exception):
            raise plan.outcome
        return plan.outcome

    def statistics(self) -> HandlerFigures:
        feed, writer, now_s = self._feed, self._writer.statistics(), trio.current_time()
        packets_per_s, bytes_per_s = self._meter.rates(now_s, feed.packets, feed.bytes)
        return HandlerFigures(
            name=self.handler.name,
            capture=self.capture,
            path=self.pattern.template,
            is_runtime=self.is_runtime,
            open_file=writer.open_file,
            packets=feed.packets,
            bytes=feed.bytes,
            packets_per_s=packets_per_s,
            bytes_per_s=bytes_per_s,
            kernel_drops=self._kernel_drops() - self._kernel_drops_before,
            handler_drops=self._own_drops,
            truncated=feed.truncated,
            transformed_away=self._refinery.left_out if self._refinery else 0,
            transform_errors=self._refinery.errors if self._refinery else 0,
            write_errors=writer.write_errors,
            queued=self._count_queued(),
            last_packet_ns=feed.last_ns,
            age_s=round(now_s - self._meter.began_s, 3),
            segments=writer.finished,
            writer=writer,
            tidied=self._tidier.statistics(),
        )

    def _count_queued(self) -> int:
        feed = self._feed
        return feed.in_block + feed.passed_on - self._writer.done + (self._refinery.queued if self._refinery else 0)

    # ── its tasks ──

    async def recover(self) -> None:
        """Finish what an earlier run left behind, and announce it as it would have been."""
        for segment in await trio.to_thread.run_sync(self._recover, limiter=self._limiter):
            await self._finish(Plan(handler=segment.handler, path=segment.path, due_s=None, size=0), segment)

    def _recover(self) -> list[Segment]:
        self._tidier.recover()
        segments, finished = recover_segments(self.pattern, handler=self.handler.name, source=self.source)
        self._writer.recovered += finished
        return segments

    async def run(self) -> None:
        """Write until `close`, and finish.

        Cancellation: what is in no file is dropped for ``shutdown``.
        """
        assert self._loads is not None
        tidying = trio.CancelScope()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._tidier.run, tidying)
                nursery.start_soon(self._run_writer, self._loads, tidying)
                if self._refinery is not None:
                    nursery.start_soon(self._run_refinery, self._refinery)
        finally:
            self._let_go()
            await self._finished.flush()

    async def _run_writer(self, loads: trio.MemoryReceiveChannel[Load], tidying: trio.CancelScope) -> None:
        try:
            await self._writer.run(loads, self._give_back)
        finally:
            self._tidier.end()
            tidying.deadline = trio.current_time() + FINISH_TIMEOUT_S

    async def _run_refinery(self, refinery: Refinery) -> None:
        await refinery.run()
        self._feed.finish()

    def _let_go(self) -> None:
        """Free what it holds; what is in no file is lost."""
        feed, writer = self._feed, self._writer
        lost = feed.close() + feed.passed_on - writer.done + (self._refinery.clear() if self._refinery else 0)
        writer.done = feed.passed_on
        self.account.drop("shutdown", lost)
        self.account.remove_holder(self._count_queued)
        self._around.disks.shares.forget(f"{self.capture}/{self.handler.name}")
        for plan in self._rotating:
            plan.settle(None)

    def _give_back(self, block: PcapBlock) -> None:
        self._feed.give_back(block)
        self._block_came.unpark_all()
        if self._refinery is None:
            self._tell_room()

    async def _write(self, records: Sequence[Record], wrote: Callable[[int], None]) -> None:
        """Put transformed packets into blocks."""
        view, at = RecordView(records), 0
        self._feed.check(trio.current_time())
        while True:
            before, at = at, self._feed.put(view, at)
            wrote(at - before)
            if at == len(view):
                break
            await self._block_came.park()
        self._tell_room()

    async def _finish(self, plan: Plan, segment: Segment) -> None:
        await self._finished.add(plan, segment)
        self._tidier.add(Path(segment.path))
        self._tidier.wake()
