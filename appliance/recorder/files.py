"""The segments of one ring, one after the other: rotated by size and time, renewed when the disk is back."""

from __future__ import annotations

from collections.abc import Callable

from appliance.native import RingOutput, RingTap

from .opener import Opener
from .segment import GrowingSegment
from .settings import FileSettings

__all__ = ["FileShelf"]


class FileShelf:
    """A `Shelf` of files.

    Args:
        opener: of its segments.
        settings: see there.
        tap: of the ring; None: there is no index.
        ended: called with each segment that is to be finished; its pen comes back by `give_back`.
        troubled: called when a segment cannot be opened.
    """

    reason = "disk"

    def __init__(
        self,
        opener: Opener,
        settings: FileSettings,
        *,
        tap: RingTap | None,
        ended: Callable[[GrowingSegment], None],
        troubled: Callable[[OSError], None],
    ) -> None:
        self.opener, self._settings, self._tap = opener, settings, tap
        self._ended, self._troubled = ended, troubled
        self.segment: GrowingSegment | None = None
        """That grows."""
        self.unfinished: list[GrowingSegment] = []
        """With those that wait to be finished; whoever finishes one takes it out."""

    def give_back(self, segment: GrowingSegment) -> None:
        """It is finished, and its pen is free. From any thread; `forget` follows."""
        self.opener.give_back(segment.pen)

    def forget(self, segment: GrowingSegment) -> None:
        """It is booked as finished."""
        self.unfinished.remove(segment)

    # ── in the ring's thread ──

    @property
    def output(self) -> RingOutput | None:
        return self.segment.pen.output if self.segment is not None else None

    def begin(self) -> None:
        """Open a segment if none is open; what fails is told."""
        if self.segment is not None:
            return
        segment = self.opener.take() or self._open()
        if segment is not None:
            self._change_over(segment)

    def _open(self) -> GrowingSegment | None:
        try:
            try:
                return self.opener.open_now()
            except FileNotFoundError as exc:
                self._troubled(exc)
                self._settings.directory.mkdir(mode=0o750, parents=True, exist_ok=True)
                return self.opener.open_now()
        except OSError as exc:
            self._troubled(exc)
            return None

    def _change_over(self, segment: GrowingSegment | None) -> None:
        if segment is not None:
            self.unfinished.append(segment)
        if self._tap is not None:
            self._tap.take(segment.pen.writer if segment is not None else None)
        before, self.segment = self.segment, segment
        if before is not None:
            self._ended(before)

    def next(self) -> None:
        # Its pen may be the only one there is: what has ended goes before another is opened.
        self._change_over(self.opener.take())
        self.begin()

    def tick(self, now_ns: int, *, drops: int) -> None:
        self.opener.look()
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
        self._change_over(None)
