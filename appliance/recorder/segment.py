"""One segment file from its opening to its name, with its index. Everything here blocks; a segment has one thread at a
time: that of its ring while it grows, then one that finishes it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from pathlib import Path

import msgspec

from appliance.extract.names import INDEX, PART, SegmentName, index_of
from appliance.native import RingOutput, RingSegment, RingTap, SegmentIndexWriter
from appliance.runtime.partfile import move

__all__ = ["NEW", "Finished", "GrowingSegment", "Pen", "give_name", "sync_directory"]

NEW = ".new"
"""Ends the name of an index until it is whole."""
PREALLOCATE = 256 << 20
"""Bytes that are reserved on a disk when a segment is opened, at most."""
GRACE_NS = 10**9
_TRIES = 1000


class Pen(msgspec.Struct, frozen=True):
    """What writes one segment at a time."""

    output: RingOutput
    writer: SegmentIndexWriter | None
    """None: without an index."""


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a segment."""

    path: Path | None
    """Its name; None if it has none: it held no packet, was deleted under us, or could not be finished."""
    segment: RingSegment
    size: int = 0
    """Bytes of the file."""
    reason: str = ""
    """Why packets of it are lost: ``deleted`` or ``disk``."""
    error: str = ""
    index_error: str = ""
    """Why it has no index."""


class GrowingSegment:
    """A segment that is being written.

    Args:
        directory: where it goes.
        name: with the time of its opening; counted up if there is one of it.
        pen: that is not in use.
        tap: of the ring, if there is one; it is to take the pen's writer when the segment's turn comes.
        ending: of the name, until there is a packet in it that readers find.
        max_bytes: it never grows beyond.
        every_ns: it ends at the next multiple of that.

    Raises:
        OSError: the disk says no; nothing is left behind.
    """

    def __init__(
        self,
        directory: Path,
        name: SegmentName,
        pen: Pen,
        tap: RingTap | None,
        *,
        ending: str = PART,
        linktype: int,
        snaplen: int,
        max_bytes: int,
        every_ns: int,
    ) -> None:
        self.name, self.pen = name, pen
        self.max_bytes, self.every_ns = max_bytes, every_ns
        self.linktype = linktype
        self.seen: RingSegment | None = None
        """What readers find of it; None: nothing yet."""
        self.drops = 0
        """Packets that are missing in its time, but for the cutoff."""
        self._tap = tap
        self._directory = directory
        self._journal = -1
        self.index_error = ""
        self.path, self.fd = _open_new(directory, name, ending)
        try:
            pen.output.begin(
                self.fd,
                linktype=linktype,
                snaplen=snaplen,
                max_bytes=max_bytes,
                every_ns=every_ns,
                preallocate=min(max_bytes, PREALLOCATE),
            )
        except OSError:
            self.path.unlink(missing_ok=True)
            os.close(self.fd)
            raise
        if tap is not None and pen.writer is not None:
            tap.prepare(pen.writer, linktype=linktype)

    @property
    def is_deleted(self) -> bool:
        """Whether somebody has removed the file while it grows."""
        return not os.fstat(self.fd).st_nlink

    @property
    def packets(self) -> int:
        """That readers find."""
        return self.seen.packets if self.seen is not None else 0

    @property
    def bytes(self) -> int:
        """Of the file, as readers find it; 0 without packets."""
        return self.seen.bytes if self.seen is not None else 0

    @property
    def reserved(self) -> int:
        """Bytes of the disk that it takes beyond `bytes`: room that was made, and what readers do not find yet."""
        try:
            return max(0, self.path.lstat().st_blocks * 512 - self.bytes)
        except OSError:  # it is called otherwise now, or has gone
            return 0

    # ── in the ring's thread ──

    def is_over(self, now_ns: int) -> bool:
        """Whether its time has been over for a while, so that nothing of it is still to come."""
        if self.seen is None:
            return False
        return now_ns >= (self.seen.first_ns // self.every_ns + 1) * self.every_ns + GRACE_NS

    def sync(self) -> None:
        """Let readers see every packet so far.

        Raises:
            OSError: the output has an error, or the file has gone.
        """
        accepted = self.pen.output.segment()
        if accepted.packets == self.packets:
            return
        if self.seen is None:
            self._name_after(accepted.first_ns)
        self.pen.output.sync()
        self._write_journal()
        self.seen = accepted

    def _name_after(self, first_ns: int) -> None:
        """Readers know it by the time of its first packet from the beginning."""
        self.name = self.name._replace(time_ns=first_ns)
        self.path = _move_to(self.path, self._directory, self.name, PART)

    def _write_journal(self) -> None:
        if self._tap is None or self.pen.writer is None or self.index_error:
            return
        try:
            if self._journal < 0:
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
                self._journal = os.open(index_of(self.path), flags, 0o640)
            self._tap.journal(self.pen.writer, self._journal, self.pen.output.visible)
        except (OSError, MemoryError) as exc:
            self.index_error = str(exc)

    # ── in a thread that finishes it ──

    def finish(self) -> Finished:
        """Write all of it, give it its name and close it. Never raises `OSError`: the outcome says what is wrong."""
        segment = self.pen.output.finish()
        lost = "disk" if segment.lost_packets else ""
        try:
            if self.is_deleted:
                return Finished(path=None, segment=segment, reason="deleted")
            if not segment.packets:
                self.path.unlink(missing_ok=True)
                return Finished(path=None, segment=segment, reason=lost, error=_explain(segment.error))
            path = self._publish(segment)
        except OSError as exc:
            reason = "deleted" if exc.errno == errno.ENOENT else "disk"
            return Finished(path=None, segment=segment, reason=reason, error=str(exc))
        else:
            size, error = os.fstat(self.fd).st_size, _explain(segment.error)
            return Finished(
                path=path, segment=segment, size=size, reason=lost, error=error, index_error=self.index_error
            )
        finally:
            os.close(self.fd)
            if self._journal >= 0:
                os.close(self._journal)

    def _publish(self, segment: RingSegment) -> Path:
        part, name = self.path, self.name._replace(time_ns=segment.first_ns)
        os.utime(self.fd, ns=(segment.last_ns, segment.last_ns))
        os.fsync(self.fd)
        if self.seen is not None:  # readers know it by that name, whatever an earlier time says that came later
            name = self.name
        self._write_index(name, segment)
        final = give_name(part, self._directory, name)
        index_of(part).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # it has its name; not every file system can do more
            sync_directory(self._directory)
        return final

    def _write_index(self, name: SegmentName, segment: RingSegment) -> None:
        """Whole or not at all."""
        if self._tap is None or self.pen.writer is None:
            return
        final = self._directory / f"{name}{INDEX}"
        new = final.with_name(final.name + NEW)
        try:
            with new.open("wb") as file:
                os.fchmod(file.fileno(), stat.S_IMODE(os.fstat(self.fd).st_mode))
                self._tap.finish(self.pen.writer, file.fileno(), segment)
                os.fsync(file.fileno())
            new.replace(final)
        except (OSError, MemoryError) as exc:
            self.index_error = str(exc)
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
        else:
            self.index_error = ""


def _explain(error: int) -> str:
    return os.strerror(error) if error else ""


def _open_new(directory: Path, name: SegmentName, ending: str) -> tuple[Path, int]:
    """Create and lock, so that nobody takes it for what a crash has left."""
    for more in range(_TRIES):
        path = directory / f"{name._replace(time_ns=name.time_ns + more)}{ending}"
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
    """Move a segment to its name, the next free one if it is taken.

    Raises:
        OSError: why not; it is where it was.
    """
    return _move_to(part, directory, name, "")


def _move_to(path: Path, directory: Path, name: SegmentName, ending: str) -> Path:
    for more in range(_TRIES):
        final = directory / f"{name._replace(time_ns=name.time_ns + more)}{ending}"
        if final == path:
            return path
        try:
            move(path, final)
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
