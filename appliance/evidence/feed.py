"""The service behind `[uids]`: records of connections into the map of uids, a batch at a time, in a worker thread.

What is in the queue is worth nothing but time: the oldest go when it is full, and a crash loses what waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import structlog
import trio

from appliance.config import Uids
from appliance.model import LogBatch
from appliance.runtime.logs import Throttle
from appliance.runtime.queue import ItemQueue, Parcel

from .uids import FILE, UidMap, UidRow, decode_rows

__all__ = ["UidFeed", "UidFigures"]

log = structlog.get_logger("uids")

BLOCK = 1 << 20
"""Bytes of records that are worth a transaction before a second has passed."""
LEASE = 20_000
WAIT_S = 1.0


class UidFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The map at one moment."""

    flows: int
    max_flows: int
    failures: int
    """Batches that the disk did not take."""


class UidFeed:
    """See the module. A service of the supervisor.

    Args:
        config: the table.
        queue: of records.
        state_dir: where the map is.
        turn: shared by all generations, of which one has the map open.
        clock_ns: wall time.
    """

    def __init__(
        self,
        config: Uids,
        *,
        queue: ItemQueue,
        state_dir: Path,
        turn: trio.Lock,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.config = config
        self._queue, self._path, self._turn, self._clock_ns = queue, state_dir / FILE, turn, clock_ns
        self._throttle = Throttle()
        self._flows = self._failures = 0

    def statistics(self) -> UidFigures:
        return UidFigures(flows=self._flows, max_flows=self.config.max_flows, failures=self._failures)

    def stop(self) -> None:
        self._queue.close()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        async with self._turn:
            uids = await trio.to_thread.run_sync(self._open)
            try:
                while True:
                    await self._queue.wait_any()
                    with trio.move_on_after(WAIT_S):
                        await self._queue.wait_filled(BLOCK)
                    async with self._queue.lease(LEASE) as parcel:
                        await self._take_in(uids, parcel)
            except trio.EndOfChannel:
                pass
            finally:
                uids.close()

    def _open(self) -> UidMap:
        uids = UidMap(self._path, max_flows=self.config.max_flows, keep_ns=int(self.config.keep))
        self._flows = uids.count()
        return uids

    async def _take_in(self, uids: UidMap, parcel: Parcel) -> None:
        """Write one parcel and settle it.

        Cancellation: what is being written is written, and settled.
        """
        data = [item.data for item in parcel.items if isinstance(item, LogBatch)]
        try:
            kept, bad = await trio.to_thread.run_sync(partial(self._write, uids, data))
        except OSError as exc:
            self._failures += 1
            if (held := self._throttle.admit("disk")) is not None:
                log.error("cannot write the map of uids", error=str(exc), more=held)
            parcel.drop("disk", parcel.left)
            return
        parcel.deliver(kept)
        parcel.drop("undecodable", bad)
        parcel.drop("no_uid", parcel.left)

    def _write(self, uids: UidMap, data: list[bytes]) -> tuple[int, int]:
        rows: list[UidRow] = []
        bad = 0
        for block in data:
            found, unreadable = decode_rows(block)
            rows += found
            bad += unreadable
        uids.add(rows, self._clock_ns())
        self._flows = uids.count()
        return len(rows), bad
