"""Files that appear by rename: ``<name>.part`` and locked while being written, named when complete, repaired at start.

Everything here is synchronous and blocks on the disk: call it in a worker thread, one call at a time for each file.
Nothing here overwrites a file or follows a symlink in place of a ``.part``; links among the directories are followed.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from .pattern import MAX_COUNTER, PART_SUFFIX, PathPattern, numbered

__all__ = ["Leftover", "PartFile", "Repair", "find_parts", "finish_leftovers", "repair_lines"]

_IOV_MAX = os.sysconf("SC_IOV_MAX")
_BLOCK = 1 << 16
_AT_FDCWD = -100  # linux/fcntl.h
_RENAME_NOREPLACE = 1  # linux/fs.h
_LIBC = ctypes.CDLL(None, use_errno=True)


class Repair(msgspec.Struct, frozen=True):
    """What was done to a file that a crash may have left torn."""

    cut: int
    """Bytes that were removed from its end."""
    size: int
    """Bytes that are left, all of them whole; 0: the file is not worth keeping."""


class Leftover(msgspec.Struct, frozen=True, kw_only=True):
    """A ``.part`` that was found at start, and what became of it."""

    part: Path
    outcome: Literal["finished", "removed", "locked", "failed"]
    """``removed``: nothing whole was in it; ``locked``: somebody is writing it; ``failed``: see `error`, it is left."""
    final: Path | None = None
    """Its name now, if it was finished."""
    cut: int = 0
    """Bytes that were removed from its end."""
    size: int = 0
    """Bytes that are left."""
    error: str = ""


class PartFile:
    """A file that is being written; made by `create`, ended by `finish`, `discard` or `abandon`.

    All methods block: call them in a worker thread. Not for concurrent use.
    """

    def __init__(self, fd: int, part: Path, base: Path, counter: int) -> None:
        self.fd = fd
        """The descriptor, appending and locked; -1 when closed."""
        self.path = part
        """Where the bytes are: the ``.part``, and after `finish` the final name."""
        self.size = 0
        """Bytes of complete `write` calls."""
        self._base, self._counter = base, counter
        self._is_torn = False

    @classmethod
    def create(cls, final: Path) -> PartFile:
        """Open ``<final>.part``, with a counter in the name if `final` or its part exists; blocks.

        Directories that are missing are made with mode 0o750, the file with 0o640. Of several creators, in this process
        and others, each gets a name of its own.

        Raises:
            OSError: the disk says no; nothing is left behind but perhaps directories.

        Resource handling: the caller ends the file with `finish`, `discard` or `abandon`.
        """
        _make_directory(final.parent)
        for counter in range(MAX_COUNTER + 1):
            name = _numbered(final, counter)
            if name.is_symlink() or name.exists():
                continue
            part = name.with_name(name.name + PART_SUFFIX)
            fd = _open_new(part)
            if fd is not None:
                return cls(fd, part, final, counter)
        raise FileExistsError(errno.EEXIST, "no number is left for another file of this name", str(final))

    def write(self, buffers: Sequence[bytes]) -> None:
        """Append all of `buffers` or, if that fails, nothing; blocks.

        Raises:
            OSError: with errno and the file's name. The file is as before the call and the same buffers may be written
                again, e.g. when the disk has room.
        """
        views = [memoryview(buffer) for buffer in buffers if buffer]
        with _naming(self.path):
            self._cut()
            self._is_torn = True
            try:
                for start in range(0, len(views), _IOV_MAX):
                    _write_all(self.fd, views[start : start + _IOV_MAX])
            except OSError:
                # If this fails as well the mark stays, and the next call begins with it.
                with contextlib.suppress(OSError):
                    self._cut()
                raise
        self._is_torn = False
        self.size += sum(map(len, views))

    def finish(self, *, sync: bool = True) -> Path | None:
        """Give the file its name and close it; blocks, with `sync` until it is safe on the disk.

        If the name is taken by now the next free counter is used. An empty file is removed instead.

        Returns:
            The final path, or None if the file was empty.

        Raises:
            OSError: the file is still a ``.part`` and open, unless `path` has the final name: then only the directory
                could not be synced.
        """
        with _naming(self.path):
            self._cut()
            if not os.fstat(self.fd).st_size:
                self.discard()
                return None
            if sync:
                os.fsync(self.fd)
        self.path = _give_name(self.path, self._base, self._counter)
        self.abandon()
        if sync:
            _sync_directory(self.path.parent)
        return self.path

    def discard(self) -> None:
        """Remove the file and close it; nothing happens if it is closed. Blocks. For one that holds only its header."""
        if self.fd >= 0:
            self.path.unlink(missing_ok=True)
            self.abandon()

    def abandon(self) -> None:
        """Close the file and leave it as it is, for `finish_leftovers`; nothing happens if it is closed. Blocks."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def _cut(self) -> None:
        """Remove what an incomplete write left, if there was one."""
        if self._is_torn:
            os.ftruncate(self.fd, self.size)
            self._is_torn = False


def repair_lines(part: Path) -> Repair:
    """Cut a last line that does not end in a newline; blocks, in constant memory.

    The caller holds the file's lock or knows that nobody writes to it.

    Raises:
        OSError: cannot be opened or cut; a symlink is refused.
    """
    fd = os.open(part, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        size = keep = os.fstat(fd).st_size
        while keep:
            start = max(0, keep - _BLOCK)
            newline = os.pread(fd, keep - start, start).rfind(b"\n")
            keep = start + newline + 1
            if newline >= 0:
                break
        if keep < size:
            os.ftruncate(fd, keep)
        return Repair(cut=size - keep, size=keep)
    finally:
        os.close(fd)


def find_parts(pattern: PathPattern, *, on_error: Callable[[OSError], None] | None = None) -> list[Path]:
    """The ``.part`` files of that pattern, sorted; blocks.

    Only directories whose names match are looked into, so a pattern below a large tree costs no walk through it.

    Args:
        pattern: whose files.
        on_error: told of a directory that cannot be read; None: the error is raised.
    """
    directories = [Path(pattern.static_root)]
    for level in pattern.levels[:-1]:
        inside = (entry for directory in directories for entry in _list(directory, on_error))
        directories = [entry for entry in inside if level.fullmatch(entry.name)]
    files = (entry for directory in directories for entry in _list(directory, on_error))
    return sorted(file for file in files if file.name.endswith(PART_SUFFIX) and pattern.matches(str(file)))


def finish_leftovers(pattern: PathPattern, repair: Callable[[Path], Repair]) -> list[Leftover]:
    """Repair what a crash left unfinished and give it its final name; blocks.

    Files that another process or another part of this one writes are locked and are not touched. One that cannot be
    repaired stays as it is and does not stop the others.

    Args:
        pattern: whose files.
        repair: makes the file whole in place, see `repair_lines`; the file is locked meanwhile. It raises OSError or
            ValueError if it cannot, the latter for a file that is not of its kind.

    Returns:
        One report for each file found, and for each directory that cannot be read.
    """
    leftovers: list[Leftover] = []

    def report(exc: OSError) -> None:
        leftovers.append(Leftover(part=Path(exc.filename), outcome="failed", error=str(exc)))

    for part in find_parts(pattern, on_error=report):
        try:
            fd = _open_leftover(part)
        except FileNotFoundError:
            continue  # whoever wrote it finished it just now
        except BlockingIOError:
            leftovers.append(Leftover(part=part, outcome="locked"))
            continue
        except OSError as exc:
            leftovers.append(Leftover(part=part, outcome="failed", error=str(exc)))
            continue
        try:
            leftovers.append(_finish_leftover(fd, part, pattern, repair))
        except (OSError, ValueError) as exc:
            leftovers.append(Leftover(part=part, outcome="failed", error=str(exc)))
        finally:
            os.close(fd)
    return leftovers


def _finish_leftover(fd: int, part: Path, pattern: PathPattern, repair: Callable[[Path], Repair]) -> Leftover:
    repaired = repair(part)
    if not repaired.size:
        part.unlink()
        return Leftover(part=part, outcome="removed", cut=repaired.cut)
    with _naming(part):
        os.fsync(fd)
    parsed = pattern.parse(str(part))
    assert parsed, "find_parts returns only what the pattern can parse"
    final = _give_name(part, Path(parsed[0]), parsed[1])
    _sync_directory(final.parent)
    return Leftover(part=part, outcome="finished", final=final, cut=repaired.cut, size=repaired.size)


def _open_leftover(part: Path) -> int:
    """Open and lock; BlockingIOError: somebody has the lock, FileNotFoundError: the file has gone."""
    # Not blocking, or a FIFO of that name would wait for a writer for ever.
    fd = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(part))
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Its writer may have finished between our opening and our lock; then the name is gone, or another file's.
        if not os.path.samestat(os.fstat(fd), part.lstat()):
            raise FileNotFoundError(errno.ENOENT, "replaced by another file", str(part))
    except OSError:
        os.close(fd)
        raise
    return fd


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Errors of calls that take a descriptor name no file; let them."""
    try:
        yield
    except OSError as exc:
        exc.filename = str(path)
        raise


def _list(directory: Path, on_error: Callable[[OSError], None] | None) -> Iterable[Path]:
    try:
        return list(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as exc:
        if on_error is None:
            raise
        on_error(exc)
        return ()


def _numbered(path: Path, counter: int) -> Path:
    return Path(numbered(str(path), counter))


def _make_directory(directory: Path) -> None:
    # Path.mkdir(parents=True) gives its mode to the last one only.
    if not directory.is_dir():
        _make_directory(directory.parent)
        directory.mkdir(0o750, exist_ok=True)


def _open_new(part: Path) -> int | None:
    """Create and lock; None if it exists or `finish_leftovers` of somebody else was quicker to lock and remove it."""
    try:
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o640)
    except FileExistsError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(fd).st_nlink:
            return fd
    except BlockingIOError:
        pass
    except OSError:  # a filesystem without locks
        part.unlink(missing_ok=True)
        os.close(fd)
        raise
    os.close(fd)
    return None


def _write_all(fd: int, views: list[memoryview]) -> None:
    while views:
        written = os.writev(fd, views)
        done = 0
        while done < len(views) and written >= len(views[done]):
            written -= len(views[done])
            done += 1
        del views[:done]
        if written:
            views[0] = views[0][written:]


def _give_name(part: Path, base: Path, counter: int) -> Path:
    """Move `part` to the first free name from `counter` on."""
    for number in range(counter, MAX_COUNTER + 1):
        final = _numbered(base, number)
        try:
            move(part, final)
        except FileExistsError:
            if not _is_same(part, final):
                continue
            part.unlink()  # a crash between link and unlink left both names
        return final
    raise FileExistsError(errno.EEXIST, "no number is left for another file of this name", str(base))


def _is_same(part: Path, final: Path) -> bool:
    try:
        return os.path.samestat(part.lstat(), final.lstat())
    except FileNotFoundError:
        return False


def _renameat2(part: Path, final: Path) -> int:
    result = _LIBC.renameat2(
        _AT_FDCWD, os.fsencode(part), _AT_FDCWD, os.fsencode(final), ctypes.c_uint(_RENAME_NOREPLACE)
    )
    return ctypes.get_errno() if result else 0


def move(part: Path, final: Path, *, rename: Callable[[Path, Path], int] = _renameat2) -> None:
    """Rename without replacing.

    Rather than link and unlink, because it is one step, and because those who watch the directory with inotify(7) wait
    for IN_MOVED_TO.

    Source: rename(2), RENAME_NOREPLACE: EINVAL if the filesystem cannot (NFS, some FUSE ones).
    """
    error = rename(part, final)
    if error in (errno.EINVAL, errno.ENOSYS):
        os.link(part, final, follow_symlinks=False)
        part.unlink()
    elif error:
        raise OSError(error, os.strerror(error), str(part), None, str(final))


def _sync_directory(directory: Path) -> None:
    """Make names durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with _naming(directory):
            os.fsync(fd)
    except OSError as exc:
        if exc.errno != errno.EINVAL:  # EINVAL: fsync(2) is not for directories on this filesystem
            raise
    finally:
        os.close(fd)
