"""One kernel ring and the thread that records it. The thread is in C for 200 ms at a time, and then looks after its
segment; whoever wants something of it leaves an order and wakes it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from appliance.native import Ring, RingOutput, RingStatus
from appliance.runtime.packets import Gap

from .interface import RETIRE_MS

__all__ = ["TICK_S", "Member", "Shelf"]

RUN_MS = 200
TICK_S = 1.0
"""How often a segment is made visible to readers, and the books are read."""
DRAIN_MS = 20
_LATE_NS = 4 * RETIRE_MS * 10**6
"""The kernel hands a block over after one to two retire times; as much again for its timer."""


class Shelf(Protocol):
    """Where a member's packets go. All of it is called in the member's thread."""

    @property
    def output(self) -> RingOutput | None:
        """Where to now; None: nowhere, and what comes is lost."""

    @property
    def reason(self) -> str:
        """Why it is lost then."""

    def begin(self) -> None:
        """Before the first packet; afterwards there is an output, or it was told why not."""

    def next(self) -> None:
        """The output is full, or has failed: go on with another, or with none."""

    def tick(self, now_ns: int, *, drops: int) -> None:
        """About once a second, after `drops` packets were lost; if there is no output, try again."""

    def close(self) -> None:
        """Nothing more comes."""


class Member:
    """See the module.

    Args:
        number: its place in the fanout group.
        ring: that hears already, or will.
        shelf: where its packets go.
        clock_ns: wall time.
        noticed: called in its thread with what was lost.
        ticked: called in its thread when its figures are new.
        went: called in its thread when its interface is down, or gone.
    """

    def __init__(
        self,
        number: int,
        ring: Ring,
        shelf: Shelf,
        *,
        clock_ns: Callable[[], int],
        noticed: Callable[[Gap], None],
        ticked: Callable[[], None],
        went: Callable[[RingStatus], None],
    ) -> None:
        self.number, self.ring, self.shelf = number, ring, shelf
        self._clock_ns, self._noticed, self._ticked, self._went = clock_ns, noticed, ticked, went
        self._orders: deque[Callable[[], None]] = deque()
        self._is_stopping = threading.Event()
        self._is_over = False
        self._lock = threading.Lock()
        self._looked_ns = clock_ns()
        self._due_s = 0.0
        self._caught_up_ns = 0
        self._drops = 0
        self.counts = ring.counts()
        """At the last look; never behind what the segments say that they hold."""
        self.recorded_ns = 0
        """All packets with an earlier time are with the readers, or lost."""

    # ── from any thread ──

    def order(self, work: Callable[[], None]) -> bool:
        """Have something done in the ring's thread soon; False if it has ended."""
        with self._lock:
            if self._is_over:
                return False
            self._orders.append(work)
        self.ring.wake()
        return True

    def stop(self) -> None:
        """Hear no more, record what is in the ring, and end."""
        self._is_stopping.set()
        self.ring.wake()

    # ── the thread ──

    def run(self) -> None:
        """Record until `stop`, or until the interface is gone. Blocks; in a thread of its own.

        Raises:
            OSError: the socket is broken.
        """
        try:
            while not self._is_stopping.is_set():
                if not self._turn(RUN_MS):
                    return
            self.ring.deafen()
            while self.ring.pending and self._turn(DRAIN_MS):
                pass
        finally:
            with self._lock:
                self._is_over = True
            self._obey()
            self._tick(self._clock_ns())
            self.shelf.close()

    def _turn(self, run_ms: int) -> bool:
        """Some of the work; returns whether there may be more."""
        self._obey()
        output = self.shelf.output
        status = self.ring.run(output, run_ms=run_ms)
        now_ns = self._clock_ns()
        if status is RingStatus.IDLE:
            self._caught_up_ns = now_ns - _LATE_NS
        elif output is not None:
            # The ring may never be idle when there is much to do. It hands packets over in their order.
            self._caught_up_ns = max(self._caught_up_ns, min(now_ns, output.segment().last_ns) - _LATE_NS)
        if status in (RingStatus.FULL, RingStatus.FAILED):
            self._take_counts()
            self.shelf.next()
        elif status in (RingStatus.DOWN, RingStatus.GONE):
            self._went(status)
            if status is RingStatus.GONE:
                return False
        elif status is RingStatus.BROKEN:
            raise OSError(self.ring.error, "the ring's socket failed")
        if time.monotonic() >= self._due_s:
            self._due_s = time.monotonic() + TICK_S
            self._tick(now_ns)
        return True

    def _obey(self) -> None:
        while self._orders:
            self._orders.popleft()()

    def look_now(self) -> None:
        """Let the next turn be followed by a look at everything; an order."""
        self._due_s = 0.0

    def _tick(self, now_ns: int) -> None:
        caught_up_ns = self._caught_up_ns
        self._take_counts()
        drops, self._drops = self._drops, 0
        self.shelf.tick(now_ns, drops=drops)
        self.recorded_ns = max(self.recorded_ns, caught_up_ns)
        self._ticked()

    def _take_counts(self) -> None:
        before, now, now_ns = self.counts, self.ring.counts(), self._clock_ns()
        self.counts = now
        kernel, disk = now.kernel_drops - before.kernel_drops, now.discarded - before.discarded
        if kernel:
            self._noticed(Gap(self._looked_ns, now_ns, "kernel", kernel))
        if disk:
            bytes_lost = now.discarded_bytes - before.discarded_bytes
            self._noticed(Gap(self._looked_ns, now_ns, self.shelf.reason, disk, bytes_lost))
        self._looked_ns = now_ns
        self._drops += kernel + disk
