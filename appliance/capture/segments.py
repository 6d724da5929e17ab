"""Segments: full PCAP blocks into files that appear by rename, in a task of their own, so that a slow disk never keeps
the socket from being read while a spare block is free.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import structlog
import trio

from appliance.config import Handler
from appliance.model import Segment
from appliance.native import PcapBlock, scan_pcap
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


def pattern_of(handler: Handler) -> PathPattern:
    """Where the handler's files go."""
    return PathPattern(f"{handler.log_dir}/{handler.file_name_pattern}", fields=FIELDS)


def repair_pcap(part: Path) -> Repair:
    """Cut a torn last record; a file without a whole packet is not worth keeping.

    Raises:
        OSError: cannot be opened or cut.
        ValueError: not a PCAP file.
    """
    fd = os.open(part, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        scan = scan_pcap(fd)
        keep = scan.good_bytes if scan.packets else 0
        if keep < size:
            os.ftruncate(fd, keep)
        return Repair(cut=size - keep, size=keep)
    finally:
        os.close(fd)


class Plan(msgspec.Struct, kw_only=True):
    """One segment: its name's parts, and what has gone into it so far. Made when its first packet arrives."""

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
        self._throttle = Throttle()
        self._finished = self._written = self._errors = self._recovered = 0
        self.in_hand = 0
        """Packets passed on and not yet in a file."""

    def set_name(self, handler: str) -> None:
        """Segments are this handler's from now on."""
        self._names = {**self._names, "name": handler}

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

    async def run(self, loads: trio.MemoryReceiveChannel[Load], free: trio.MemorySendChannel[PcapBlock]) -> None:
        """Write loads until the channel ends; each block goes back through `free`.

        Cancellation: the packets that are not in the file are dropped for ``shutdown``; the file is cut after its last
        whole record and finished.
        """
        load: Load | None = None
        try:
            async for load in loads:
                await self._write(load)
                self.in_hand -= load.packets
                self._account.delivered += load.packets
                if load.ends:
                    await self._finish(load.plan)
                free.send_nowait(load.block)
                load = None
        finally:
            self._account.drop("shutdown", self.in_hand)
            self.in_hand = 0
            if self._file is not None and load is not None:
                with trio.CancelScope(shield=True):
                    await trio.to_thread.run_sync(self._rescue, self._file)

    async def _write(self, load: Load) -> None:
        """Write one block; a full or failing disk is tried again, and nothing is torn or written twice."""
        backoff = Backoff(first_s=0.1, longest_s=5.0)
        while True:
            try:
                await trio.to_thread.run_sync(self._flush, load)
                return
            except OSError as exc:
                self._errors += 1
                if (held := self._throttle.admit(str(exc.errno))) is not None:
                    name = exc.filename or (self._file and str(self._file.path))
                    log.error("cannot write packets, trying again", door=self._source, file=name, error=exc.strerror,
                              more=held)  # fmt: skip
            await trio.sleep(backoff.next_s())

    def _flush(self, load: Load) -> None:
        if self._file is None:
            plan = load.plan
            final = plan.pattern.render(plan.opened_ns, {**self._names, "seq": str(plan.seq)})
            file = PartFile.create(Path(final))
            header = PcapBlock(FILE_HEADER)
            header.header(SNAPLEN, LINKTYPE_USER0)
            try:
                self._written += header.flush(file.fd)
            except OSError:
                file.discard()
                raise
            finally:
                header.close()
            self._file = file
        try:
            load.block.flush(self._file.fd)
        finally:
            self._written += load.block.last_written

    async def _finish(self, plan: Plan) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        try:
            final = await trio.to_thread.run_sync(file.finish)
        except OSError as exc:
            self._errors += 1
            log.error("cannot finish a file", door=self._source, file=str(file.path), error=str(exc))
            file.abandon()
            return
        self._finished += 1
        segment = Segment(
            handler=self._names["name"],
            source=self._source,
            path=str(final),
            packets=plan.packets,
            size=plan.size,
            first_ns=plan.first_ns,
            last_ns=plan.last_ns,
            linktype=LINKTYPE_USER0,
        )
        await self._report(segment)

    def _rescue(self, file: PartFile) -> None:
        try:
            repaired = repair_pcap(file.path)
            if repaired.size:
                file.finish()
            else:
                file.discard()
        except (OSError, ValueError) as exc:
            log.error("cannot finish a file", door=self._source, file=str(file.path), error=str(exc))
            file.abandon()
