"""Ended segments get their names, one after the other, are compressed if that is wanted, and are announced."""

from __future__ import annotations

import contextlib
import math
import queue
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import msgspec
import structlog
import trio

from appliance.model import Segment
from appliance.runtime.behind import run_behind
from appliance.runtime.compress import ZST, compress
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.ledger import Account
from appliance.runtime.logs import Throttle

from .catalogue import Catalogue
from .files import FileShelf
from .repair import Repaired
from .segment import Finished, GrowingSegment

__all__ = ["Finisher"]

log = structlog.get_logger("recorder")

PATIENCE_S = 1.0
"""For each consumer with ``queue = "block"``, when a segment is announced."""
COMPRESS_AT_END_S = 10.0
"""What is not compressed by then stays as it is until the next start."""


class Finisher:
    """See the module.

    Args:
        recorder: its name.
        account: of the segments.
        dispatcher: takes them.
        catalogue: of those that have their names.
        finished: called in the loop when a segment has come to its end.
        is_compressing: whether they are to be compressed now.
        throttle: for the log; with a clock for worker threads.
    """

    def __init__(
        self,
        recorder: str,
        *,
        account: Account,
        dispatcher: Dispatcher,
        catalogue: Catalogue,
        finished: Callable[[FileShelf, GrowingSegment, Finished], None],
        is_compressing: Callable[[], bool],
        throttle: Throttle,
    ) -> None:
        self._recorder, self._account, self._dispatcher = recorder, account, dispatcher
        self._catalogue, self._finished, self._is_compressing = catalogue, finished, is_compressing
        self._throttle = throttle
        self.segments = self.recovered = self.errors = self.index_errors = 0
        self._queue: queue.SimpleQueue[tuple[FileShelf, GrowingSegment] | Callable[[], None] | None] = (
            queue.SimpleQueue()
        )
        self._outcomes: trio.MemorySendChannel[tuple[GrowingSegment, Finished]]
        self._plain: trio.MemorySendChannel[tuple[Path, Segment | None]]

    def put(self, shelf: FileShelf, segment: GrowingSegment) -> None:
        """Finish that one. From the thread of its ring; there are never more than each shelf has pens."""
        self._queue.put((shelf, segment))

    async def drain(self) -> None:
        """Wait until all that were put are finished; nobody puts more meanwhile."""
        done = trio.Event()
        self._queue.put(done.set)
        await done.wait()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Work until `end`.

        Cancellation: goes on until `end` all the same, because what is written is to get its name; only compression
        stops.
        """
        self._outcomes, outcomes = trio.open_memory_channel[tuple[GrowingSegment, Finished]](math.inf)
        self._plain, plain = trio.open_memory_channel[tuple[Path, Segment | None]](math.inf)
        async with trio.open_nursery() as nursery:
            patience = trio.CancelScope()
            nursery.start_soon(self._compress_all, plain, patience)
            with trio.CancelScope(shield=True):
                async with trio.open_nursery() as inner:
                    inner.start_soon(self._run_thread)
                    task_status.started()
                    async for segment, outcome in outcomes:
                        await self._settle(segment, outcome)
            self._plain.close()
            patience.deadline = trio.current_time() + COMPRESS_AT_END_S

    def end(self) -> None:
        """Nothing more is put; `run` ends when all is done."""
        self._queue.put(None)

    async def _run_thread(self) -> None:
        soon = trio.lowlevel.current_trio_token().run_sync_soon
        await run_behind(partial(self._work, soon), name=f"finish {self._recorder}")
        self._outcomes.close()

    def _work(self, soon: Callable[..., object]) -> None:
        """Finish behind the rings' threads, and so that pens are free again also while the loop is busy."""
        while (job := self._queue.get()) is not None:
            if callable(job):
                soon(job)
                continue
            shelf, segment = job
            outcome = segment.finish()
            if outcome.path is not None:
                with contextlib.suppress(OSError):  # the next look at the disk finds it
                    self._catalogue.add(outcome.path)
            shelf.give_back(segment)
            soon(self._pass, shelf, segment, outcome)

    def _pass(self, shelf: FileShelf, segment: GrowingSegment, outcome: Finished) -> None:
        self._finished(shelf, segment, outcome)
        self._outcomes.send_nowait((segment, outcome))

    async def recover(self, repaired: Iterable[Repaired]) -> None:
        """Tell what was repaired, and go on with what an earlier run did not compress."""
        announced = set()
        for each in repaired:
            log.warning("found a segment of an earlier run", recorder=self._recorder, part=str(each.part),
                        path=str(each.path or ""), cut=each.cut, error=each.error)  # fmt: skip
            if each.path is None or each.scan is None:
                self.errors += bool(each.error)
                continue
            scan = each.scan
            self.segments += 1
            self.recovered += 1
            announced.add(each.path)
            await self._pass_on(
                Segment(
                    handler=self._recorder,
                    source=f"recorder.{self._recorder}",
                    path=str(each.path),
                    packets=scan.packets,
                    disk_size=scan.good_bytes,
                    first_ns=scan.first_ns,
                    last_ns=scan.last_ns,
                    linktype=scan.linktype,
                )
            )
        if self._is_compressing():
            for entry in self._catalogue.entries():
                if entry.path.suffix != ZST and entry.path not in announced:
                    self._plain.send_nowait((entry.path, None))

    async def _settle(self, segment: GrowingSegment, outcome: Finished) -> None:
        if outcome.error or outcome.reason:
            self.errors += 1
            self._complain("a segment lost packets", segment.path, outcome.error or outcome.reason)
        if outcome.index_error:
            self.index_errors += 1
            self._complain("a segment has no index", segment.path, outcome.index_error)
        if outcome.path is None:
            return
        self.segments += 1
        found = outcome.segment
        await self._pass_on(
            Segment(
                handler=self._recorder,
                source=f"recorder.{self._recorder}",
                path=str(outcome.path),
                packets=found.packets,
                disk_size=outcome.size,
                first_ns=found.first_ns,
                last_ns=found.last_ns,
                linktype=segment.linktype,
                drops=segment.drops + found.lost_packets,
            )
        )

    def _complain(self, event: str, path: Path, error: str) -> None:
        if (held := self._throttle.admit(event)) is not None:
            log.error(event, recorder=self._recorder, file=str(path), error=error, more=held)

    async def _pass_on(self, segment: Segment) -> None:
        if self._is_compressing():
            self._plain.send_nowait((Path(segment.path), segment))
        else:
            await self._announce(segment)

    async def _announce(self, segment: Segment) -> None:
        self._account.received += 1
        await self._dispatcher.dispatch(segment, self._account, patience_s=PATIENCE_S)

    async def _compress_all(
        self, plain: trio.MemoryReceiveChannel[tuple[Path, Segment | None]], patience: trio.CancelScope
    ) -> None:
        current: Segment | None = None
        try:
            with patience:
                async for path, segment in plain:
                    current = segment
                    packed = await trio.to_thread.run_sync(self._compress, path)
                    if segment is not None and packed is not None:
                        current = msgspec.structs.replace(segment, path=str(packed[0]), disk_size=packed[1])
                    if current is not None:
                        with trio.CancelScope(shield=True):
                            await self._announce(current)
                    current = None
        finally:
            with trio.CancelScope(shield=True):
                for segment in (current, *self._take_unpacked(plain)):
                    if segment is not None:
                        await self._announce(segment)

    def _take_unpacked(self, plain: trio.MemoryReceiveChannel[tuple[Path, Segment | None]]) -> Iterator[Segment | None]:
        with contextlib.suppress(trio.WouldBlock, trio.EndOfChannel):
            while True:
                yield plain.receive_nowait()[1]

    def _compress(self, path: Path) -> tuple[Path, int] | None:
        try:
            final = compress(path, pause=trio.from_thread.check_cancelled)
            self._catalogue.remove(path)
            entry = self._catalogue.add(final)
        except FileNotFoundError:  # it was deleted to make room
            return None
        except (OSError, ValueError) as exc:
            self.errors += 1
            self._complain("cannot compress a segment, it stays as it is", path, str(exc))
            return None
        return (final, final.stat().st_size) if entry is not None else None
