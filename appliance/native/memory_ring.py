"""The newest packets in memory: segments without a name, read by their descriptors as files are."""

from __future__ import annotations

import contextlib
import os
import weakref
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from appliance.native.pcap import SNAPLEN_MAX
from appliance.native.ring_output import NO_LIMIT, OutputKind, RingOutput, RingSegment
from appliance.native.ring_tap import RingTap
from appliance.native.segments import SegmentIndexWriter

__all__ = ["MemoryRing", "MemorySegment"]


class MemorySegment(NamedTuple):
    """One of them; the descriptor is good until the `MemoryRing.reading` that gave it ends."""

    fd: int
    """To read with pread(2), from 0 to `bytes`."""
    bytes: int
    """Nanosecond PCAP, whole records."""
    segment: RingSegment
    index_fd: int = -1
    """Its journal for `SegmentIndex`, in memory too; -1: the ring has no tap."""


class _Slab:
    def __init__(self, size: int, *, indexed: bool) -> None:
        self.output = RingOutput(OutputKind.MEMORY, buffer_bytes=size)
        self.segment: RingSegment | None = None
        self.readers = 0
        self.journal = os.memfd_create("journal", os.MFD_CLOEXEC) if indexed else -1
        if indexed:
            weakref.finalize(self, os.close, self.journal)

    def begin(self, *, linktype: int, snaplen: int, until_ns: int) -> None:
        self.segment = None
        self.output.begin(linktype=linktype, snaplen=snaplen, until_ns=until_ns)
        if self.journal >= 0:
            os.ftruncate(self.journal, 0)
            os.lseek(self.journal, 0, os.SEEK_SET)


class MemoryRing:
    """Keeps at least the newest `bytes` less one segment of what a `Ring` records; the oldest segment makes room.

    A segment that is read is not overwritten: it leaves the ring, a new one takes its place, and its memory goes when
    the last reader does. For one thread at a time: the one that runs the ring, between two runs of it.

    Args:
        bytes: all memory, but what readers hold.
        segment_bytes: of each, 1 MiB at least; as much is lost of what is kept when one begins.
        tap: of the ring, attached to it: each segment is indexed by a journal in memory, for which come some 2 % and
            at most `max_flows` times 40 bytes for each segment.
        max_flows: that are indexed of a segment, see `SegmentIndexWriter`.

    Raises:
        ValueError: fewer than two segments.
        MemoryError: there is not enough memory for it, or for another one while one is read.
    """

    def __init__(
        self,
        bytes: int,  # noqa: A002 - as the configuration names it
        *,
        segment_bytes: int = 16 << 20,
        tap: RingTap | None = None,
        max_flows: int = 1 << 16,
    ) -> None:
        if bytes < 2 * segment_bytes:
            raise ValueError(f"{bytes} bytes hold fewer than two segments of {segment_bytes} bytes")
        self._size = segment_bytes
        self._tap = tap
        self._writer = None if tap is None else SegmentIndexWriter(max_flows)
        self._slabs = deque(self._make_slab() for _ in range(bytes // segment_bytes))
        self._current: _Slab | None = None

    def _make_slab(self) -> _Slab:
        return _Slab(self._size, indexed=self._tap is not None)

    def begin(self, *, linktype: int, snaplen: int = SNAPLEN_MAX, until_ns: int = NO_LIMIT) -> RingOutput:
        """End the current segment, and begin another one in place of the oldest. Blocks if that is being read.

        Returns:
            Where the ring's packets go now; when it is full, call this again.
        """
        self.end()
        slab = self._slabs[0]
        if slab.readers:
            slab = self._make_slab()
        slab.begin(linktype=linktype, snaplen=snaplen, until_ns=until_ns)
        if self._tap is not None:
            self._tap.begin(self._writer, linktype=linktype)
        self._slabs.popleft()
        self._slabs.append(slab)
        self._current = slab
        return slab.output

    def end(self) -> None:
        """End the current segment, if there is one; it stays readable."""
        if self._current is not None:
            self._current.segment = self._current.output.finish()
            self._write_journal(self._current)
            self._current = None
            if self._tap is not None:
                self._tap.begin(None, linktype=0)

    def _write_journal(self, slab: _Slab) -> None:
        if self._tap is not None and self._writer is not None:
            # What the journal lacks is read, too: without memory for it, queries are slower, and as complete.
            with contextlib.suppress(OSError, MemoryError):
                self._tap.journal(self._writer, slab.journal, slab.output.visible)

    @contextlib.contextmanager
    def reading(self, fd: int | None = None) -> Iterator[list[MemorySegment]]:
        """All segments that hold packets, the oldest first, the growing one as far as it is now.

        They stay as they are until this is left; only entering and leaving must be where the ring runs.

        Args:
            fd: of the only one that is wanted.
        """
        held = [
            slab
            for slab in self._slabs
            if (slab is self._current or (slab.segment and slab.segment.packets))
            and (fd is None or slab.output.fileno() == fd)
        ]
        for slab in held:
            slab.readers += 1
        try:
            yield [self._describe(slab) for slab in held]
        finally:
            for slab in held:
                slab.readers -= 1

    def _describe(self, slab: _Slab) -> MemorySegment:
        segment = slab.segment
        if segment is None:
            slab.output.sync()
            self._write_journal(slab)
            segment = slab.output.segment()
        return MemorySegment(slab.output.fileno(), segment.bytes, segment, slab.journal)
