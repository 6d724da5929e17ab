"""Segments: full blocks into files that appear by rename, in a task of their own, so that a slow disk never keeps the
socket from being read while a spare block is free.
"""

from __future__ import annotations

import errno
import math
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec
import structlog
import trio

from appliance.model import Segment
from appliance.native.pcap import PcapBlock
from appliance.runtime.backoff import Backoff
from appliance.runtime.ledger import Account
from appliance.runtime.logs import Throttle
from appliance.runtime.outfile import OutFile
from appliance.runtime.partfile import PartFile
from appliance.runtime.torn import cut_torn

from .plan import Load, Plan, Style

__all__ = ["SegmentFigures", "SegmentWriter"]

log = structlog.get_logger("capture")

MAX_UNFINISHED = 16
"""Complete files that may wait for the disk."""
FINISH_TIMEOUT_S = 10.0
"""How long they may take at the end."""
TAIL = 256
"""Bytes; a block for the statistics at the end of a pcapng file."""
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

Complete = tuple[PartFile, Plan]


class SegmentFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the blocks so far."""

    open_file: str
    """The ``.part`` that is being written; empty if none."""
    finished: int
    written_bytes: int
    write_errors: int
    recovered: int
    """Files of an earlier run that were finished at the start."""


class SegmentWriter:
    """Writes the blocks of one handler.

    Args:
        style: what the files look like.
        source: the door, for the segments' items.
        account: packets are delivered here when they are in the file.
        limiter: bounds the threads that wait for this disk.
        finished: called with each finished segment.
        disk_full: called when there was no room for a block.
        clock_ns: wall time.
    """

    def __init__(
        self,
        *,
        style: Style,
        source: str,
        account: Account,
        limiter: trio.CapacityLimiter,
        finished: Callable[[Plan, Segment], Awaitable[None]],
        disk_full: Callable[[], None],
        clock_ns: Callable[[], int],
    ) -> None:
        self._style = style
        self._source = source
        self._account = account
        self._limiter = limiter
        self._report, self._disk_full = finished, disk_full
        self._clock_ns = clock_ns
        self._file: OutFile | None = None
        self._file_packets = 0
        """Packets of whole blocks in the file."""
        self._tail: PcapBlock | None = None
        self._some_finished = trio.lowlevel.ParkingLot()
        self._throttle = Throttle(clock=time.monotonic)  # used in worker threads
        self._is_failing = False
        self._vanished = 0
        """Packets that were delivered into files that are gone."""
        self._finished = self._written = self._errors = 0
        self.recovered = 0
        self.done = 0
        """Packets of all blocks that are in a file."""

    def statistics(self) -> SegmentFigures:
        return SegmentFigures(
            open_file=str(self._file.path) if self._file else "",
            finished=self._finished,
            written_bytes=self._written,
            write_errors=self._errors,
            recovered=self.recovered,
        )

    async def run(self, loads: trio.MemoryReceiveChannel[Load], give_back: Callable[[PcapBlock], None]) -> None:
        """Write loads until the channel ends; each block is given back when it is written.

        Cancellation: the file is cut after its last whole record and finished; the packets that are in none are not
        `done`.
        """
        patience = trio.CancelScope(shield=True)
        load: Load | None = None
        async with trio.open_nursery() as nursery:
            complete, get_complete = trio.open_memory_channel[Complete](math.inf)
            nursery.start_soon(self._run_finisher, get_complete, patience)
            try:
                async for load in loads:
                    await self._write(load)
                    if load.block is not None:
                        give_back(load.block)
                    if load.ends and self._file is None:
                        load.plan.settle(None)
                    elif load.ends:
                        self._complete(load.plan, complete)
                        while complete.statistics().current_buffer_used > MAX_UNFINISHED:
                            await self._some_finished.park()
            finally:
                patience.deadline = trio.current_time() + FINISH_TIMEOUT_S
                if self._file is not None and load is not None:
                    await self._rescue(self._file, load.plan, complete)
                complete.close()

    # ── writing ──

    async def _write(self, load: Load) -> None:
        """Write one block; a full or failing disk is tried again, and nothing is torn or written twice."""
        backoff = Backoff(first_s=0.1, longest_s=5.0)
        while True:
            try:
                await trio.to_thread.run_sync(self._flush, load, limiter=self._limiter)
                break
            except OSError as exc:
                self._fail(exc)
            finally:
                lost, self._vanished = self._vanished, 0
                self._account.delivered -= lost
                self._account.drop("vanished", lost)
            await trio.sleep(backoff.next_s())
        if self._is_failing:
            self._is_failing = False
            log.info("can write packets again", door=self._source, handler=load.plan.handler)
        self._deliver(load.packets)

    def _fail(self, exc: OSError) -> None:
        self._errors += 1
        self._is_failing = True
        if (held := self._throttle.admit(str(exc.errno))) is not None:
            name = exc.filename or (self._file and str(self._file.path))
            log.error("cannot write packets, trying again", door=self._source, file=name, error=exc.strerror,
                      more=held)  # fmt: skip
        if exc.errno in _FULL:
            self._disk_full()

    def _deliver(self, packets: int) -> None:
        self._file_packets += packets
        self.done += packets
        self._account.delivered += packets

    def _flush(self, load: Load) -> None:
        if self._file is not None and self._is_gone(self._file):
            self._lose(self._file)
            if load.block is not None:
                load.block.rewind()
        if load.block is not None:
            if self._file is None:
                self._file = self._open(load.plan)
            self._put(load.block, self._file.fd)
        if self._file is None:
            return  # there was nothing but what vanished
        if load.ends and self._style.has_tail:
            if self._tail is None:
                self._tail = self._make_tail(load.plan)
            self._put(self._tail, self._file.fd)

    def _put(self, block: PcapBlock, fd: int) -> None:
        try:
            block.flush(fd)
        finally:
            self._written += block.last_written

    def _open(self, plan: Plan) -> OutFile:
        file = OutFile.open_new(Path(plan.path))
        try:
            file.write([self._style.header])
        except OSError:
            file.discard()
            raise
        self._written += len(self._style.header)
        return file

    def _make_tail(self, plan: Plan) -> PcapBlock:
        tail = PcapBlock(TAIL, format=self._style.format)
        tail.statistics(
            ts_ns=self._clock_ns(),
            first_ns=plan.first_ns,
            last_ns=plan.last_ns,
            received=plan.packets + plan.drops,
            os_dropped=plan.drops,
        )
        return tail

    # ── files that vanish ──

    def _is_gone(self, file: PartFile) -> bool:
        """Whether somebody removed or moved the file that is being written."""
        try:
            return not os.path.samestat(os.fstat(file.fd), file.path.lstat())
        except FileNotFoundError:
            return True

    def _lose(self, file: PartFile) -> None:
        """Give up a file whose name is gone, so that the next packets get one; what was in it is no longer delivered,
        unless it still exists somewhere.
        """
        lost = 0 if os.fstat(file.fd).st_nlink else self._file_packets
        self._errors += 1
        if (held := self._throttle.admit("gone")) is not None:
            log.error("a file vanished while it was written, beginning another one", door=self._source,
                      file=str(file.path), lost=lost, more=held)  # fmt: skip
        self._vanished += lost
        self._file, self._file_packets = None, 0
        file.abandon()

    # ── finishing: in a task of its own, because making a large file safe takes seconds ──

    def _complete(self, plan: Plan, complete: trio.MemorySendChannel[Complete]) -> None:
        assert self._file is not None
        if self._tail is not None:
            self._tail.close()
            self._tail = None
        plan.size = os.fstat(self._file.fd).st_size
        plan.packets = self._file_packets
        complete.send_nowait((self._file, plan))
        self._file, self._file_packets = None, 0

    async def _rescue(self, file: OutFile, plan: Plan, complete: trio.MemorySendChannel[Complete]) -> None:
        """Complete a segment that did not come to its end; what is whole of a block that did not is delivered."""
        try:
            with trio.CancelScope(shield=True):
                scan, _ = await trio.to_thread.run_sync(cut_torn, file.path)
        except (OSError, ValueError) as exc:
            self._file = None
            self._give_up(file, plan, exc)
            return
        plan.first_ns, plan.last_ns = scan.first_ns, scan.last_ns
        self._deliver(scan.packets - self._file_packets)
        self._complete(plan, complete)

    async def _run_finisher(self, complete: trio.MemoryReceiveChannel[Complete], patience: trio.CancelScope) -> None:
        with patience:
            async for first in complete:
                # All that wait in one thread: the disk makes many files safe in little more time than one.
                some = [first]
                while complete.statistics().current_buffer_used:
                    some.append(complete.receive_nowait())
                finals = await trio.to_thread.run_sync(
                    _finish, [file for file, _ in some], limiter=self._limiter, abandon_on_cancel=True
                )
                self._some_finished.unpark_all()
                for (file, plan), final in zip(some, finals, strict=True):
                    await self._announce(file, plan, final)

    async def _announce(self, file: PartFile, plan: Plan, final: Path | OSError | None) -> None:
        if isinstance(final, OSError):
            self._give_up(file, plan, final)
        elif final is None:
            plan.settle(None)
        else:
            self._finished += 1
            segment = Segment(
                handler=plan.handler,
                source=self._source,
                path=str(final),
                packets=plan.packets,
                disk_size=plan.size,
                first_ns=plan.first_ns,
                last_ns=plan.last_ns,
                linktype=self._style.linktype,
                drops=plan.drops,
            )
            await self._report(plan, segment)

    def _give_up(self, file: PartFile, plan: Plan, exc: Exception) -> None:
        """Leave a file as a ``.part``; the next start tries again."""
        self._errors += 1
        log.error("cannot finish a file", door=self._source, file=str(file.path), error=str(exc))
        plan.settle(exc)
        file.abandon()


def _finish(files: Sequence[PartFile]) -> list[Path | OSError | None]:
    """Give each file its name; what stands in its place in the result says how that went."""
    finals: list[Path | OSError | None] = []
    for file in files:
        try:
            finals.append(file.finish())
        except OSError as exc:
            finals.append(exc)
    return finals
