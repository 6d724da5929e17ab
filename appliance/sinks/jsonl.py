"""The ``jsonl`` sink: log records into files, one JSON object a line, byte for byte as they came.

The queue is the buffer: records wait there until a block is worth a write or `flush_every` has passed, and what is
written is what the ledger calls delivered. Files are written in a worker thread, because a disk may stall and the loop
must not.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

import msgspec
import structlog
import trio

from appliance.config import Sink
from appliance.model import Item, LogBatch
from appliance.runtime.partfile import PartFile, finish_leftovers, repair_lines
from appliance.runtime.pattern import PathPattern
from appliance.runtime.queue import ItemQueue, Parcel
from appliance.runtime.rotation import Rotation

__all__ = ["FIELDS", "JsonlSink", "SinkFigures"]

log = structlog.get_logger("sink")

FIELDS = frozenset({"path", "node", "source"})
BLOCK = 256 << 10
"""Bytes that are worth a write before `flush_every` has passed."""
LEASE = 50_000
MAX_OPEN = 256
"""Files open at a time; log paths come from the network. The one that was idle longest is finished for a new one."""
FINISH_TIMEOUT_S = 10.0

Key = tuple[str, str, str]


class SinkFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One sink at one moment."""

    open_files: int
    finished_files: int
    written_bytes: int
    recovered_files: int
    """Files of an earlier run that were finished at the start."""


class _Output:
    """One open file and when it is due."""

    def __init__(self, file: PartFile, due_s: float | None) -> None:
        self.file = file
        self.due_s = due_s


def _key(item: Item) -> Key:
    return (item.name, getattr(item, "node", ""), item.source)


class JsonlSink:
    """See the module. A service of the supervisor; `clock_ns` is wall time."""

    def __init__(self, config: Sink, *, queue: ItemQueue, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self.config = config
        self._queue = queue
        self._clock_ns = clock_ns
        self._pattern = PathPattern(config.path, fields=FIELDS)
        self._rotation = Rotation.every(
            int(config.rotate_every),
            aligned=True,
            max_bytes=None if config.rotate_size is None else int(config.rotate_size),
        )
        self._outputs: OrderedDict[Key, _Output] = OrderedDict()
        self._finished = self._written = self._recovered = 0

    def statistics(self) -> SinkFigures:
        return SinkFigures(
            open_files=len(self._outputs),
            finished_files=self._finished,
            written_bytes=self._written,
            recovered_files=self._recovered,
        )

    def stop(self) -> None:
        self._queue.close()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        await trio.to_thread.run_sync(self._recover)
        task_status.started()
        try:
            while True:
                await self._wait()
                if self._queue.waiting or self._queue.is_closed:
                    async with self._queue.lease(LEASE) as parcel:
                        await self._write(parcel)
                await self._finish_due()
        except trio.EndOfChannel:
            return
        finally:
            with trio.move_on_after(FINISH_TIMEOUT_S) as scope:
                scope.shield = True
                await trio.to_thread.run_sync(self._finish, list(self._outputs), abandon_on_cancel=True)

    async def _wait(self) -> None:
        """Wait until there is something worth writing, or a file is due: nothing crosses a boundary."""
        due_s = min((o.due_s for o in self._outputs.values() if o.due_s is not None), default=math.inf)
        with trio.move_on_at(due_s):
            await self._queue.wait_any()
            with trio.move_on_after(self.config.flush_every.seconds):
                await self._queue.wait_filled(BLOCK)

    async def _write(self, parcel: Parcel) -> None:
        """Write and settle the parcel, file by file; the order within a path stays."""
        parcel.items.sort(key=_key)
        groups = [(key, list(items)) for key, items in groupby(parcel.items, key=_key)]
        now_s, now_ns = trio.current_time(), self._clock_ns()
        written: list[int] = []
        try:
            await trio.to_thread.run_sync(self._write_groups, groups, now_s, now_ns, written)
        finally:
            parcel.deliver(sum(written))

    async def _finish_due(self) -> None:
        now_s = trio.current_time()
        due = [key for key, output in self._outputs.items() if output.due_s is not None and output.due_s <= now_s]
        if due:
            await trio.to_thread.run_sync(self._finish, due)

    # ── in a worker thread, one at a time ──

    def _recover(self) -> None:
        """Finish what an earlier run left behind, a torn last line cut off."""
        for leftover in finish_leftovers(self._pattern, repair_lines):
            self._recovered += leftover.outcome == "finished"
            found = {name: str(value) for name, value in msgspec.structs.asdict(leftover).items() if value}
            log.warning("found a file of an earlier run", sink=self.config.name, **found)

    def _write_groups(
        self, groups: Sequence[tuple[Key, list[Item]]], now_s: float, now_ns: int, written: list[int]
    ) -> None:
        """Write each group to its file and append to `written` how many records have reached the disk, step by step."""
        for key, items in groups:
            blocks = [item.data for item in items if isinstance(item, LogBatch)]
            if self._rotation.max_bytes is None:
                self._output(key, now_s, now_ns).write(blocks)
                written.append(sum(item.count for item in items))
                self._written += sum(map(len, blocks))
            else:
                for block in blocks:
                    self._write_limited(key, block, now_s, now_ns, written)

    def _write_limited(self, key: Key, block: bytes, now_s: float, now_ns: int, written: list[int]) -> None:
        """Write a block so that no file exceeds the limit; a row that does so alone has a file of its own."""
        limit = self._rotation.max_bytes or 0
        while block:
            file = self._output(key, now_s, now_ns)
            end = block.rfind(b"\n", 0, max(0, limit - file.size)) + 1
            if not end and file.size:
                self._finish([key])
                continue
            part, block = block[: end or block.index(b"\n") + 1], block[end or block.index(b"\n") + 1 :]
            file.write([part])
            written.append(part.count(b"\n"))
            self._written += len(part)

    def _output(self, key: Key, now_s: float, now_ns: int) -> PartFile:
        """The open file for `key`, opened if there is none."""
        output = self._outputs.get(key)
        if output is None:
            if len(self._outputs) >= MAX_OPEN:
                self._finish([next(iter(self._outputs))])
            path, node, source = key
            name = self._pattern.render(now_ns, {"path": path, "node": node, "source": source})
            mono_ns = int(now_s * 1e9)
            due_ns = self._rotation.monotonic_deadline_ns(wall_ns=now_ns, mono_ns=mono_ns)
            output = _Output(PartFile.create(Path(name)), None if due_ns is None else due_ns / 1e9)
            self._outputs[key] = output
        self._outputs.move_to_end(key)
        return output.file

    def _finish(self, keys: Sequence[Key]) -> None:
        """Give files their final names. One that cannot be finished stays a ``.part``; the next start tries again."""
        for key in keys:
            file = self._outputs.pop(key).file
            try:
                self._finished += file.finish() is not None
            except OSError as exc:
                log.error("cannot finish a file", sink=self.config.name, file=str(file.path), error=str(exc))
                file.abandon()
