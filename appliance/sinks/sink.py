"""The file sink: log records into files that appear by rename, in one of several formats.

The queue is the buffer: records wait there until a block is worth a write or `flush_every` has passed, and what is
written is what the ledger calls delivered. Files are written in a worker thread, because a disk may stall and the loop
must not, and made safe and named in another, because that takes seconds for a large file.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial

import msgspec
import trio

from appliance.config import Sink
from appliance.runtime.outfile import OutFile
from appliance.runtime.pattern import PathPattern
from appliance.runtime.queue import ItemQueue, Parcel

from . import files
from .files import FIELDS, OutputFiles, Settled
from .finish import Finisher
from .format import LineFormat

__all__ = ["FileSink", "SinkFigures", "format_for"]

BLOCK = 256 << 10
"""Bytes that are worth a write before `flush_every` has passed."""
LEASE = 50_000
FINISH_TIMEOUT_S = 10.0


class SinkFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One sink at one moment."""

    open_files: int
    finished_files: int
    written_bytes: int
    """Before compression."""
    recovered_files: int
    """Files of an earlier run that were finished at the start."""
    failed_files: int
    """Files that could not be given their names; the next start tries again."""
    compressed_files: int
    failed_compressions: int
    """Each is tried again a minute later."""
    deleted_files: int
    """Files that went because of `keep`."""
    deleted_bytes: int


def format_for(config: Sink) -> LineFormat:
    if config.kind == "tsv":
        from .tsv import TsvFormat

        return TsvFormat()
    from .jsonl import JsonlFormat

    return JsonlFormat(config)


class FileSink:
    """See the module. A service of the supervisor; `clock_ns` is wall time."""

    def __init__(self, config: Sink, *, queue: ItemQueue, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self.config = config
        self._queue = queue
        self._clock_ns = clock_ns
        pattern = PathPattern(config.path, fields=frozenset(FIELDS))
        line_format = format_for(config)
        self._finisher = Finisher(config, pattern=pattern, line_format=line_format, clock_ns=clock_ns)
        self._files = OutputFiles(config, pattern=pattern, line_format=line_format, finish=self._finisher.finish)

    def statistics(self) -> SinkFigures:
        finisher, tidied = self._finisher, self._finisher.tidier.statistics()
        return SinkFigures(
            open_files=self._files.open_files,
            finished_files=finisher.finished_files,
            written_bytes=self._files.written_bytes + finisher.ending_bytes,
            recovered_files=finisher.recovered_files,
            failed_files=finisher.failed_files,
            compressed_files=tidied.compressed_files,
            failed_compressions=tidied.failed_compressions,
            deleted_files=tidied.deleted_files,
            deleted_bytes=tidied.deleted_bytes,
        )

    def stop(self) -> None:
        self._queue.close()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        await trio.to_thread.run_sync(self._finisher.recover)
        naming, tidying = trio.CancelScope(shield=True), trio.CancelScope()
        async with trio.open_nursery() as nursery:
            complete, get_complete = trio.open_memory_channel[OutFile](math.inf)
            nursery.start_soon(partial(self._finisher.run_naming, get_complete, patience=naming))
            nursery.start_soon(self._finisher.tidier.run, tidying)
            task_status.started()
            try:
                while True:
                    await self._wait()
                    if self._queue.waiting or self._queue.is_closed:
                        async with self._queue.lease(LEASE) as parcel:
                            await self._write(parcel)
                    self._files.end_due(trio.current_time())
                    await self._hand_over(complete)
            except trio.EndOfChannel:
                pass
            finally:
                self._files.end_all()
                for file in self._files.take_complete():
                    complete.send_nowait(file)
                complete.close()
                naming.deadline = tidying.deadline = trio.current_time() + FINISH_TIMEOUT_S

    async def _wait(self) -> None:
        """Wait until there is something worth writing, or a file is due: nothing crosses a boundary."""
        with trio.move_on_at(self._files.due_s):
            await self._queue.wait_any()
            with trio.move_on_after(self.config.flush_every.seconds):
                await self._queue.wait_filled(BLOCK)

    async def _write(self, parcel: Parcel) -> None:
        """Write and settle the parcel, file by file; the order within a path stays."""
        parcel.items.sort(key=self._files.key)
        now_ns = self._clock_ns()  # before the other clock, see `OutputFiles.write`
        now_s = trio.current_time()
        settled: list[Settled] = []
        try:
            await trio.to_thread.run_sync(self._files.write, parcel.items, now_s, now_ns, settled)
        finally:
            for step in settled:
                parcel.deliver(step.written)
                parcel.drop(step.reason, step.refused)

    async def _hand_over(self, complete: trio.MemorySendChannel[OutFile]) -> None:
        """Pass complete files on; waits while too many are unfinished, for each is an open file."""
        for file in self._files.take_complete():
            complete.send_nowait(file)
        while complete.statistics().current_buffer_used > files.MAX_OPEN:
            await self._finisher.wait_finished()
