"""The next segment of a ring is opened ahead of time, in a thread of its own: to change over to it costs the ring's
thread next to nothing, whatever the disk and the other threads are doing.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable

from appliance.extract.names import AHEAD, PART, SegmentName
from appliance.native import RingOutput, RingTap, SegmentIndexWriter

from .segment import GrowingSegment, Pen
from .settings import FileSettings

__all__ = ["PENS", "Opener"]

PENS = 4
"""One writes, one is open ahead of time, the others may wait for the disk to take their last bytes."""
PATIENCE_S = 2.0
"""How long the ring alone takes what comes when all pens wait for the disk."""


class Opener:
    """See the module.

    Args:
        number: of the ring.
        settings: see there; a segment that was opened before they changed is not used.
        tap: of the ring; None: there is no index.
        with_index: beside each segment.
        linktype: of the ring's packets.
        snaplen: of the ring.
        clock_ns: wall time.
    """

    def __init__(
        self,
        number: int,
        settings: FileSettings,
        *,
        tap: RingTap | None,
        with_index: bool,
        linktype: int,
        snaplen: int,
        clock_ns: Callable[[], int],
    ) -> None:
        self._number, self._settings = number, settings
        self._tap, self._with_index = tap, with_index and tap is not None
        self._linktype, self._snaplen, self._clock_ns = linktype, snaplen, clock_ns
        self._free: queue.SimpleQueue[Pen] = queue.SimpleQueue()
        self._pens, self._lock = 0, threading.Lock()
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self.spare: GrowingSegment | None = None
        """That is open ahead of time. The ring's thread takes it out, and only then does the other one put one in."""
        self._is_asked = False

    def give_back(self, pen: Pen) -> None:
        """That pen is free. From any thread."""
        self._free.put(pen)

    def end(self) -> None:
        """Let `run` end. From any thread; the ring's has ended."""
        self._jobs.put(None)

    # ── in the ring's thread ──

    def take(self) -> GrowingSegment | None:
        """A segment that is open already; None: there is none. Does not block."""
        segment, self.spare = self.spare, None
        if segment is not None and not self._fits(segment):
            self._discard_later(segment)
            segment = None
        self._ask()
        return segment

    def look(self) -> None:
        """See whether the segment that is open ahead of time is still there; if there is none, have one opened."""
        if self.spare is not None and (self.spare.is_deleted or not self._fits(self.spare)):
            segment, self.spare = self.spare, None
            self._discard_later(segment)
        self._ask()

    def open_now(self) -> GrowingSegment:
        """A new one; for when there is none that is open already. Blocks.

        Raises:
            OSError: the disk says no, or has not taken former segments yet.
        """
        pen = self._take_pen()
        if pen is None:
            try:
                pen = self._free.get(timeout=PATIENCE_S)
            except queue.Empty:
                raise OSError(None, "the disk has not taken the last segments yet") from None
        return self._open(pen, PART)

    def _ask(self) -> None:
        if self.spare is None and not self._is_asked:
            self._is_asked = True
            self._jobs.put(self._open_ahead)

    def _fits(self, segment: GrowingSegment) -> bool:
        return (segment.max_bytes, segment.every_ns) == (self._settings.segment_bytes, self._settings.segment_ns)

    def _discard_later(self, segment: GrowingSegment) -> None:
        self._jobs.put(lambda: self._discard(segment))

    # ── in the other thread ──

    def run(self) -> None:
        """Open segments until `end`. Blocks; in a thread of its own."""
        while (job := self._jobs.get()) is not None:
            job()
        if self.spare is not None:
            self._discard(self.spare)

    def _open_ahead(self) -> None:
        with contextlib.suppress(OSError, MemoryError):  # who needs one tries again, and says why there is none
            pen = self._take_pen()
            if pen is not None:
                self.spare = self._open(pen, AHEAD)
        self._is_asked = False

    def _discard(self, segment: GrowingSegment) -> None:
        segment.finish()
        self.give_back(segment.pen)

    # ── in both ──

    def _take_pen(self) -> Pen | None:
        try:
            return self._free.get_nowait()
        except queue.Empty:
            pass
        with self._lock:
            if self._pens == PENS:
                return None
            pen = Pen(RingOutput(), SegmentIndexWriter() if self._with_index else None)
            self._pens += 1
        return pen

    def _open(self, pen: Pen, ending: str) -> GrowingSegment:
        settings = self._settings
        try:
            return GrowingSegment(
                settings.directory,
                SegmentName(settings.recorder, self._clock_ns(), self._number),
                pen,
                self._tap,
                ending=ending,
                linktype=self._linktype,
                snaplen=self._snaplen,
                max_bytes=settings.segment_bytes,
                every_ns=settings.segment_ns,
            )
        except OSError:
            self.give_back(pen)
            raise
