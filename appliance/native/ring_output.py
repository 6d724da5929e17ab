"""Segments of nanosecond PCAP that a `Ring` fills: in files, past or through the page cache, and in memory."""

from __future__ import annotations

import enum
import errno
from typing import Any, NamedTuple

from appliance._native import ffi, lib
from appliance.native.handles import Owner, fail, opened
from appliance.native.pcap import SNAPLEN_MAX

__all__ = ["NO_LIMIT", "OutputKind", "RingOutput", "RingSegment"]

NO_LIMIT = 2**64 - 1


class OutputKind(enum.IntEnum):
    """How the bytes of a segment reach their file."""

    AUTOMATIC = 0
    """`DIRECT` where the file system supports it, else `CACHED`."""
    CACHED = 1
    """Through the page cache, from a buffer that stays in the processor's cache, written at the latest in a pause."""
    DIRECT = 2
    """Past the page cache, from a thread of its own; becomes `CACHED` where the file system refuses."""
    MEMORY = 3
    """A memfd without a name, written in place."""


class RingSegment(NamedTuple):
    """What a segment holds."""

    packets: int
    bytes: int
    """Of the file with its header: where the last whole record ends."""
    wire_bytes: int
    """True lengths."""
    truncated: int
    """Packets that were cut."""
    first_ns: int
    """The earliest; 0 without packets."""
    last_ns: int
    """The latest."""
    lost_packets: int
    """Of a finished segment: accepted, but not in the file because of `error`."""
    lost_bytes: int
    """Their true lengths."""
    error: int = 0
    """The errno that ended the segment; 0: none. The file ends behind the last record that reached it."""


_FIELDS = RingSegment._fields[:-1]


def _segment(found: Any, error: int) -> RingSegment:
    return RingSegment(*(getattr(found, field) for field in _FIELDS), error)  # type: ignore[call-arg]


class RingOutput(Owner):
    """Takes the packets of a `Ring`, one segment after the other. One thread at a time but where it says otherwise.

    Args:
        kind: see `OutputKind`.
        buffer_bytes: of each buffer, 64 KiB to 64 MiB; 0: what has measured best. With `MEMORY` what a segment holds,
            1 MiB to 64 GiB, whose pages are taken now: this blocks, about a second for a gigabyte or two.

    Raises:
        ValueError: `buffer_bytes` is out of range.
        MemoryError: there is not enough memory for it.
        OSError: the kernel refuses the memory.
    """

    def __init__(self, kind: OutputKind = OutputKind.AUTOMATIC, *, buffer_bytes: int = 0) -> None:
        out = ffi.new("struct ring_output **")
        error = lib.ring_output_open(kind, buffer_bytes, out)
        super().__init__(opened("RingOutput", error, out, lib.ring_output_close))

    def begin(
        self,
        fd: int = -1,
        *,
        linktype: int,
        snaplen: int = SNAPLEN_MAX,
        max_bytes: int = NO_LIMIT,
        until_ns: int = NO_LIMIT,
        preallocate: int = 0,
        every_ns: int = 0,
    ) -> None:
        """Begin a segment. Blocks, without the GIL.

        Args:
            fd: an empty file, opened for reading and writing; it stays the caller's, and open until `finish` returns.
                Not used with `MEMORY`, whose former segment is overwritten.
            linktype: `Ring.linktype`.
            snaplen: of the ring.
            max_bytes: a segment that holds packets never becomes larger.
            until_ns: the first packet from then on belongs into the next segment.
            every_ns: in place of `until_ns`: it is the next multiple of that behind the time of the first packet.
            preallocate: bytes to reserve if it is on a disk; what is not used is given back by `finish`.

        Raises:
            ValueError: a segment is open, or an argument is out of range.
            OSError: the file's error.
        """
        limits = (linktype, snaplen, max_bytes, until_ns, preallocate, every_ns)
        error = lib.ring_output_begin(self.open_handle, fd, ffi.new("struct ring_segment_options *", limits))
        if error == errno.EBUSY:
            raise ValueError("a segment is open")
        if error == errno.EINVAL:
            raise ValueError("a limit of the segment is out of range")
        if error:
            fail(error)

    def sync(self) -> None:
        """Write what waits, so that readers of the file see every record so far. Blocks, without the GIL.

        Raises:
            ValueError: no segment is open.
            OSError: the segment's `error`.
        """
        error = lib.ring_output_sync(self.open_handle)
        if error == errno.EALREADY:
            raise ValueError("no segment is open")
        if error:
            fail(error)

    def finish(self) -> RingSegment:
        """End the segment: everything is written and the file has its true size. Blocks, without the GIL.

        A failure is told by the segment's `error`, never raised, because what was lost with it is there too.

        Raises:
            ValueError: none is open.
        """
        segment = ffi.new("struct ring_segment *")
        error = lib.ring_output_finish(self.open_handle, segment)
        if error == errno.EALREADY:
            raise ValueError("no segment is open")
        return _segment(segment, error)

    def segment(self) -> RingSegment:
        """What was accepted so far."""
        segment = ffi.new("struct ring_segment *")
        lib.ring_output_get(self.open_handle, segment)
        return _segment(segment, self.error)

    @property
    def error(self) -> int:
        """The errno because of which nothing more is written; 0: all is well."""
        return int(lib.ring_output_error(self.open_handle))

    @property
    def visible(self) -> int:
        """Bytes of the segment that a reader of the descriptor finds, the last record maybe torn. From any thread."""
        return int(lib.ring_output_visible(self.open_handle))

    @property
    def kind(self) -> OutputKind:
        """What the segment has turned out to be, never `AUTOMATIC`."""
        return OutputKind(lib.ring_output_kind(self.open_handle))

    def fileno(self) -> int:
        """The memfd of `MEMORY`, as long as the output lives; else the file of the open segment. From any thread."""
        return int(lib.ring_output_fd(self.open_handle))
