"""Compression of finished files with zstd.

``X`` becomes ``X.zst`` through ``X.zst.part``, and goes when that is safe on the disk. So at any moment there is either
``X``, or all of ``X.zst``, or for a moment both, which the next start notices. Everything here blocks: call it in a
worker thread.

Source: RFC 8878.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from .partfile import PartFile

__all__ = ["ZST", "compress", "remove_leftover"]

ZST = ".zst"
_MAGIC = b"\x28\xb5\x2f\xfd"
_CHUNK = 1 << 20
_LEVEL = 3


def compress(path: Path, *, pause: Callable[[], None] = lambda: None) -> Path:
    """Replace a finished file by its compressed form, which has the same content, permissions and time.

    If its name is taken by something else it gets the next free number. Whoever reads the file meanwhile has all of it.

    Args:
        path: the file; nobody writes to it any more.
        pause: called after every MiB; if it raises, the file is as it was.

    Returns:
        The compressed file.

    Raises:
        BlockingIOError: another part of this process, or another process, does it.
        FileNotFoundError: it is gone, or was replaced.
        OSError: of reading or writing, e.g. the disk is full; the file is as it was.
        ValueError: it changed meanwhile, so it is not finished; the same.
    """
    with _open_locked(path) as source:
        target = Path(f"{path}{ZST}")
        if not _holds(target, source):  # else a crash came between the last two steps
            target = _pack(source, target, pause)
        path.unlink()
    return target


def remove_leftover(path: Path) -> bool:
    """Remove a ``.zst.part`` that a crash left; False if it is somebody's, or something else of that name.

    Raises:
        OSError: it cannot be read or removed.
    """
    try:
        with _open_locked(path) as fd:
            if not _MAGIC.startswith(os.pread(fd, len(_MAGIC), 0)):
                return False
            path.unlink()
            return True
    except (BlockingIOError, FileNotFoundError):
        return False


def _pack(source: int, target: Path, pause: Callable[[], None]) -> Path:
    import zstandard

    found = os.fstat(source)
    packer = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compressobj(size=found.st_size)
    part = PartFile.create(target)
    try:
        os.lseek(source, 0, os.SEEK_SET)
        while chunk := os.read(source, _CHUNK):
            part.write([packer.compress(chunk)])
            pause()
        part.write([packer.flush()])
        os.fchmod(part.fd, stat.S_IMODE(found.st_mode))
        os.utime(part.fd, ns=(found.st_atime_ns, found.st_mtime_ns))
        final = part.finish()
    except zstandard.ZstdError as exc:  # there was more or less to read than its size
        raise ValueError(f"{target.name.removesuffix(ZST)!r} changed while it was read: {exc}") from exc
    finally:
        part.discard()
    assert final is not None, "even nothing has a zstd header"
    return final


def _holds(archive: Path, source: int) -> bool:
    """Whether `archive` is the compressed form of `source`."""
    import zstandard

    try:
        with _open(archive) as fd, open(fd, "rb", closefd=False) as packed:
            reader = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True)
            offset = 0
            while chunk := reader.read(_CHUNK):
                if os.pread(source, len(chunk), offset) != chunk:
                    return False
                offset += len(chunk)
    except (FileNotFoundError, zstandard.ZstdError):
        return False
    except OSError as exc:
        if exc.errno in (errno.ELOOP, errno.EINVAL):  # a symlink, or no file
            return False
        raise
    return offset == os.fstat(source).st_size


@contextlib.contextmanager
def _open(path: Path) -> Iterator[int]:
    """A descriptor of the regular file `path`, which is not a symlink."""
    # Not blocking, or a FIFO of that name would wait for a writer for ever.
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def _open_locked(path: Path) -> Iterator[int]:
    with _open(path) as fd:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever had the lock before may have removed the file, and the name may be another's.
        if not os.path.samestat(os.fstat(fd), path.lstat()):
            raise FileNotFoundError(errno.ENOENT, "replaced by another file", str(path))
        yield fd
