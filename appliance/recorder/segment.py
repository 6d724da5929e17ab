"""One segment file from its opening to its name. Everything here blocks; a segment has one thread at a time: that of its
ring while it grows, then one that finishes it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from pathlib import Path

import msgspec

from appliance.native import RingOutput, RingSegment
from appliance.runtime.partfile import move

from .names import PART, SegmentName

__all__ = ["Finished", "GrowingSegment", "give_name", "sync_directory"]

_TRIES = 1000
PREALLOCATE = 256 << 20
"""Bytes that are reserved on a disk when a segment is opened, at most."""


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a segment."""

    path: Path | None
    """Its name; None if it has none: it held no packet, was deleted under us, or could not be finished."""
    segment: RingSegment
    size: int
    """Bytes on the disk, with the index."""
    reason: str = ""
    """Why it has no name though there were packets: ``deleted`` or ``disk``."""
    error: str = ""


class GrowingSegment:
    """A segment that is being written.

    Args:
        directory: where it goes.
        name: with the time of its opening; counted up if there is one of it.
        output: that is not in use.

    Raises:
        OSError: the disk says no; nothing is left behind.
    """

    def __init__(
        self,
        directory: Path,
        name: SegmentName,
        output: RingOutput,
        *,
        linktype: int,
        snaplen: int,
        max_bytes: int,
        until_ns: int,
    ) -> None:
        self.name, self.output, self.until_ns = name, output, until_ns
        self.linktype = linktype
        self._limits = {"linktype": linktype, "snaplen": snaplen, "max_bytes": max_bytes}
        self._directory = directory
        self.path, self.fd = _open_new(directory, name)
        self.synced = 0
        """Packets that a reader of the file finds."""
        self.bytes = 0
        """Of the file, as readers find it; 0 if there is no packet."""
        self.drops = 0
        """Packets that are missing in its time, but for the cutoff."""
        try:
            output.begin(self.fd, **self._limits, until_ns=until_ns, preallocate=min(max_bytes, PREALLOCATE))
        except OSError:
            self._remove()
            os.close(self.fd)
            raise

    @property
    def is_deleted(self) -> bool:
        """Whether somebody has removed the file while it grows."""
        return not os.fstat(self.fd).st_nlink

    def sync(self) -> None:
        """Let readers see every packet so far.

        Raises:
            OSError: the output has an error.
        """
        accepted = self.output.segment()
        if accepted.packets != self.synced:
            self.output.sync()
            self.synced, self.bytes = accepted.packets, accepted.bytes

    def renew(self, until_ns: int) -> None:
        """Let a segment without packets go on until another time.

        Raises:
            OSError: the disk says no; the segment is to be ended.
        """
        self.output.finish()
        os.ftruncate(self.fd, 0)
        self.output.begin(self.fd, **self._limits, until_ns=until_ns)
        self.until_ns = until_ns

    def finish(self) -> Finished:
        """Write all of it, give it its name and close it. Never raises `OSError`: the outcome says what is wrong."""
        segment = self.output.finish()
        try:
            if self.is_deleted:
                return Finished(path=None, segment=segment, size=0, reason="deleted")
            if not segment.packets:
                self._remove()
                return Finished(path=None, segment=segment, size=0, reason="disk" if segment.lost_packets else "")
            return self._publish(segment)
        except OSError as exc:
            reason = "deleted" if exc.errno == errno.ENOENT else "disk"
            return Finished(path=None, segment=segment, size=0, reason=reason, error=str(exc))
        finally:
            os.close(self.fd)

    def _publish(self, segment: RingSegment) -> Finished:
        os.utime(self.fd, ns=(segment.last_ns, segment.last_ns))
        os.fsync(self.fd)
        final = give_name(self.path, self._directory, self.name._replace(time_ns=segment.first_ns))
        with contextlib.suppress(OSError):  # it has its name, and a file system that cannot do more
            sync_directory(self._directory)
        return Finished(path=final, segment=segment, size=os.fstat(self.fd).st_size)

    def _remove(self) -> None:
        self.path.unlink(missing_ok=True)


def _open_new(directory: Path, name: SegmentName) -> tuple[Path, int]:
    """Create and lock, so that nobody takes it for what a crash has left."""
    for more in range(_TRIES):
        path = directory / f"{name._replace(time_ns=name.time_ns + more)}{PART}"
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
        except FileExistsError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            raise
        return path, fd
    raise FileExistsError(errno.EEXIST, "there is a segment of each such name", str(directory / str(name)))


def give_name(part: Path, directory: Path, name: SegmentName) -> Path:
    """Move a segment to its name, the next free one if it is taken; an `OSError` says why not."""
    for more in range(_TRIES):
        final = directory / str(name._replace(time_ns=name.time_ns + more))
        try:
            move(part, final)
        except FileExistsError:
            continue
        return final
    raise FileExistsError(errno.EEXIST, "there is a segment of each such name", str(directory / str(name)))


def sync_directory(directory: Path) -> None:
    """Make names durable.

    Raises:
        OSError: it cannot be.
    """
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
