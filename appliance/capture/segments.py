"""Segments: full PCAP blocks into files that appear by rename, in a task of their own, so that a slow disk never keeps
the socket from being read while a spare block is free.
"""

from __future__ import annotations

import math
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec
import structlog
import trio

from appliance.config import Handler
from appliance.model import Segment
from appliance.native import PcapBlock, PcapScan, scan_pcap
from appliance.runtime.backoff import Backoff
from appliance.runtime.ledger import Account
from appliance.runtime.logs import Throttle
from appliance.runtime.partfile import PartFile, Repair, finish_leftovers
from appliance.runtime.pattern import PathPattern

__all__ = ["FIELDS", "FILE_HEADER", "LINKTYPE_USER0", "Plan", "SegmentFigures", "SegmentWriter", "pattern_of"]

log = structlog.get_logger("capture")

FIELDS = frozenset({"name", "capture", "host", "pid", "seq"})
LINKTYPE_USER0 = 147
"""DLT_USER0: the payload alone. Source: https://www.tcpdump.org/linktypes.html."""
SNAPLEN = 65535
FILE_HEADER = 24
BLOCK_BYTES = 4 << 20
"""Two of these: one is filled while the other is written. At 100 MB/s each lasts 40 ms."""
MAX_UNFINISHED = 16
"""Complete files that may wait for the disk."""
FINISH_TIMEOUT_S = 10.0
"""How long they may take at the end."""


def pattern_of(handler: Handler) -> PathPattern:
    """Where the handler's files go."""
    return PathPattern(f"{handler.log_dir}/{handler.file_name_pattern}", fields=FIELDS)


def _cut_torn(part: Path) -> tuple[PcapScan, int]:
    """Cut a torn last record, and the header if there is no packet; returns what is left and the bytes cut off."""
    fd = os.open(part, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        scan = scan_pcap(fd)
        if not scan.packets:
            scan = scan._replace(good_bytes=0)
        if scan.good_bytes < size:
            os.ftruncate(fd, scan.good_bytes)
        return scan, size - scan.good_bytes
    finally:
        os.close(fd)


def repair_pcap(part: Path) -> Repair:
    """Cut a torn last record; a file without a whole packet is not worth keeping.

    Raises:
        OSError: cannot be opened or cut.
        ValueError: not a PCAP file.
    """
    scan, cut = _cut_torn(part)
    return Repair(cut=cut, size=scan.good_bytes)


def _finish(files: Sequence[PartFile]) -> list[Path | OSError | None]:
    """Give each file its name; what stands in its place in the result says how that went."""
    finals: list[Path | OSError | None] = []
    for file in files:
        try:
            finals.append(file.finish())
        except OSError as exc:
            finals.append(exc)
    return finals


class Plan(msgspec.Struct, kw_only=True):
    """One segment: its name's parts, and what has gone into it so far. Made when its first packet arrives."""

    handler: str
    pattern: PathPattern
    opened_ns: int
    """Wall time, for the name."""
    due_s: float | None
    """When it must end, on Trio's clock; None: never."""
    seq: int
    packets: int = 0
    size: int = FILE_HEADER
    first_ns: int = 0
    last_ns: int = 0


class Load(msgspec.Struct, kw_only=True):
    """A block on its way to the file of `plan`."""

    plan: Plan
    block: PcapBlock
    packets: int
    ends: bool
    """It is the last one of its segment."""


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
        names: values of the pattern's fields but ``name`` and ``seq``.
        source: the door, for the segments' items.
        account: packets are delivered here when they are in the file.
        finished: called with each finished segment.
    """

    def __init__(
        self,
        *,
        names: dict[str, str],
        source: str,
        account: Account,
        finished: Callable[[Segment], Awaitable[None]],
    ) -> None:
        self._names = names
        self._source = source
        self._account = account
        self._report = finished
        self._file: PartFile | None = None
        self._file_packets = 0
        """Packets of whole blocks in the file."""
        self._some_finished = trio.lowlevel.ParkingLot()
        self._throttle = Throttle()
        self._finished = self._written = self._errors = self._recovered = 0
        self.in_hand = 0
        """Packets passed on and not yet in a file."""

    def statistics(self) -> SegmentFigures:
        return SegmentFigures(
            open_file=str(self._file.path) if self._file else "",
            finished=self._finished,
            written_bytes=self._written,
            write_errors=self._errors,
            recovered=self._recovered,
        )

    def recover(self, pattern: PathPattern) -> None:
        """Finish what an earlier run left behind; blocks."""
        for leftover in finish_leftovers(pattern, repair_pcap):
            self._recovered += leftover.outcome == "finished"
            found = {name: str(value) for name, value in msgspec.structs.asdict(leftover).items() if value}
            log.warning("found a file of an earlier run", door=self._source, **found)

    async def run(self, loads: trio.MemoryReceiveChannel[Load], give_back: Callable[[PcapBlock], None]) -> None:
        """Write loads until the channel ends; each block is given back when it is written.

        Cancellation: the file is cut after its last whole record and finished; the packets that are in none stay
        `in_hand`.
        """
        patience = trio.CancelScope(shield=True)
        load: Load | None = None
        async with trio.open_nursery() as nursery:
            complete, get_complete = trio.open_memory_channel[Complete](math.inf)
            nursery.start_soon(self._run_finisher, get_complete, patience)
            try:
                async for load in loads:
                    await self._write(load)
                    give_back(load.block)
                    if load.ends:
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
                await trio.to_thread.run_sync(self._flush, load)
                break
            except OSError as exc:
                self._errors += 1
                if (held := self._throttle.admit(str(exc.errno))) is not None:
                    name = exc.filename or (self._file and str(self._file.path))
                    log.error("cannot write packets, trying again", door=self._source, file=name, error=exc.strerror,
                              more=held)  # fmt: skip
            await trio.sleep(backoff.next_s())
        self._deliver(load.packets)

    def _deliver(self, packets: int) -> None:
        self._file_packets += packets
        self.in_hand -= packets
        self._account.delivered += packets

    def _flush(self, load: Load) -> None:
        if self._file is None:
            self._file = self._open(load.plan)
        try:
            load.block.flush(self._file.fd)
        finally:
            self._written += load.block.last_written

    def _open(self, plan: Plan) -> PartFile:
        fields = {**self._names, "name": plan.handler, "seq": str(plan.seq)}
        file = PartFile.create(Path(plan.pattern.render(plan.opened_ns, fields)))
        header = PcapBlock(FILE_HEADER)
        header.header(SNAPLEN, LINKTYPE_USER0)
        try:
            self._written += header.flush(file.fd)
        except OSError:
            file.discard()
            raise
        finally:
            header.close()
        return file

    # ── finishing: in a task of its own, because making a large file safe takes seconds ──

    def _complete(self, plan: Plan, complete: trio.MemorySendChannel[Complete]) -> None:
        assert self._file is not None
        complete.send_nowait((self._file, plan))
        self._file, self._file_packets = None, 0

    async def _rescue(self, file: PartFile, plan: Plan, complete: trio.MemorySendChannel[Complete]) -> None:
        """Complete a segment that did not come to its end; what is whole of a block that did not is delivered."""
        try:
            with trio.CancelScope(shield=True):
                scan, _ = await trio.to_thread.run_sync(_cut_torn, file.path)
        except (OSError, ValueError) as exc:
            self._give_up(file, exc)
            self._file = None
            return
        plan.packets, plan.size = scan.packets, scan.good_bytes
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
                finals = await trio.to_thread.run_sync(_finish, [file for file, _ in some], abandon_on_cancel=True)
                self._some_finished.unpark_all()
                for (file, plan), final in zip(some, finals, strict=True):
                    await self._announce(file, plan, final)

    async def _announce(self, file: PartFile, plan: Plan, final: Path | OSError | None) -> None:
        if isinstance(final, OSError):
            self._give_up(file, final)
        elif final is not None:
            self._finished += 1
            segment = Segment(
                handler=plan.handler,
                source=self._source,
                path=str(final),
                packets=plan.packets,
                size=plan.size,
                first_ns=plan.first_ns,
                last_ns=plan.last_ns,
                linktype=LINKTYPE_USER0,
            )
            await self._report(segment)

    def _give_up(self, file: PartFile, exc: Exception) -> None:
        """Leave a file as a ``.part``; the next start tries again."""
        self._errors += 1
        log.error("cannot finish a file", door=self._source, file=str(file.path), error=str(exc))
        file.abandon()
