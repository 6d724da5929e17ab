"""The segments of one ring, one after the other: rotated by size and time, renewed when the disk is back."""

from __future__ import annotations

import queue
from collections.abc import Callable
from pathlib import Path

from appliance.extract.names import SegmentName
from appliance.native import RingOutput, RingTap, SegmentIndexWriter

from .segment import GrowingSegment, Pen

__all__ = ["FileSettings", "FileShelf"]

PENS = 3
"""One writes, the others may wait for the disk to take their last bytes."""
PATIENCE_S = 2.0
"""How long the ring alone takes what comes when all pens wait for the disk."""


class FileSettings:
    """What a reload may change while the threads record; each attribute is read when it is needed.

    Args:
        recorder: its name.
        directory: where the segments go.
        segment_bytes: no segment grows beyond.
        segment_ns: the time after which the clock begins a new one.
    """

    def __init__(self, recorder: str, directory: Path, *, segment_bytes: int, segment_ns: int) -> None:
        self.recorder, self.directory = recorder, directory
        self.segment_bytes, self.segment_ns = segment_bytes, segment_ns


class FileShelf:
    """A `Shelf` of files.

    Args:
        number: of the ring.
        settings: see there.
        tap: of the ring; None: there is no index.
        with_index: beside each segment.
        linktype: of the ring's packets.
        snaplen: of the ring.
        clock_ns: wall time.
        ended: called with each segment that is to be finished; its pen comes back by `give_back`.
        troubled: called when a segment cannot be opened.
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
        ended: Callable[[GrowingSegment], None],
        troubled: Callable[[OSError], None],
    ) -> None:
        self.number, self._settings = number, settings
        self._linktype, self._snaplen = linktype, snaplen
        self._clock_ns, self._ended, self._troubled = clock_ns, ended, troubled
        self._tap, self._with_index = tap, with_index and tap is not None
        self._free: queue.SimpleQueue[Pen] = queue.SimpleQueue()
        self._pens = 0
        self.segment: GrowingSegment | None = None
        """That grows."""
        self.unfinished: list[GrowingSegment] = []
        """With those that wait to be finished; whoever finishes one takes it out."""

    def give_back(self, segment: GrowingSegment) -> None:
        """It is finished, and its pen is free. From any thread; `forget` follows."""
        self._free.put(segment.pen)

    def forget(self, segment: GrowingSegment) -> None:
        """It is booked as finished."""
        self.unfinished.remove(segment)

    # ── in the ring's thread ──

    reason = "disk"

    @property
    def output(self) -> RingOutput | None:
        return self.segment.pen.output if self.segment is not None else None

    def begin(self) -> None:
        """Open a segment if none is open; what fails is told."""
        if self.segment is not None:
            return
        pen = self._take_pen()
        if pen is None:
            return
        settings = self._settings
        try:
            segment = self._open(pen, SegmentName(settings.recorder, self._clock_ns(), self.number))
        except OSError as exc:
            self._free.put(pen)
            self._troubled(exc)
            return
        self.unfinished.append(segment)
        self.segment = segment

    def _open(self, pen: Pen, name: SegmentName) -> GrowingSegment:
        settings = self._settings

        def create() -> GrowingSegment:
            return GrowingSegment(
                settings.directory,
                name,
                pen,
                self._tap,
                linktype=self._linktype,
                snaplen=self._snaplen,
                max_bytes=settings.segment_bytes,
                every_ns=settings.segment_ns,
            )

        try:
            return create()
        except FileNotFoundError as exc:
            self._troubled(exc)
            settings.directory.mkdir(mode=0o750, parents=True, exist_ok=True)
            return create()

    def _take_pen(self) -> Pen | None:
        try:
            return self._free.get_nowait()
        except queue.Empty:
            pass
        if self._pens < PENS:
            self._pens += 1
            return Pen(RingOutput(), SegmentIndexWriter() if self._with_index else None)
        try:
            return self._free.get(timeout=PATIENCE_S)
        except queue.Empty:
            self._troubled(OSError(None, "the disk has not taken the last segments yet"))
            return None

    def _end(self) -> None:
        segment, self.segment = self.segment, None
        if segment is not None:
            if self._tap is not None:
                self._tap.begin(None, linktype=self._linktype)
            self._ended(segment)

    def next(self) -> None:
        self._end()
        self.begin()

    def tick(self, now_ns: int, *, drops: int) -> None:
        self.begin()
        segment = self.segment
        if segment is None:
            return
        segment.drops += drops
        try:
            segment.sync()
            if segment.is_deleted or segment.is_over(now_ns):
                self.next()
        except OSError:
            self.next()

    def rotate(self) -> None:
        """End the segment if it holds packets, and begin another."""
        if self.segment is not None and self.segment.pen.output.segment().packets:
            self.next()

    def close(self) -> None:
        self._end()
