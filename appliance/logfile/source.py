"""Where the text of a file comes from: the file as it is, or the inside of a gzip or zstd archive.

Everything here blocks on the disk: call it in a worker thread, one call at a time for each source.
"""

from __future__ import annotations

import errno
import os
import stat
import zlib
from typing import Protocol

from .naming import ARCHIVES

__all__ = ["HEAD_BYTES", "Archive", "ArchiveError", "Gzip", "Plain", "Source", "Zstd", "is_archive", "open_source"]

HEAD_BYTES = 4096
"""What `Source.head` gives at most: a header and the first records, which no other file has."""
_INPUT = 1 << 16
_STEP = 1 << 18
_WINDOW = 31  # zlib: largest window, gzip header


class ArchiveError(ValueError):
    """An archive that cannot be read; trying again does not help while it stays as it is."""


class Source(Protocol):
    """The text of one open file."""

    fd: int

    def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset` on; fewer at the end.

        Raises:
            OSError: the disk says no.
            ArchiveError: the archive is broken.
        """
        ...

    def head(self, size: int) -> bytes:
        """The first `size` bytes, at most `HEAD_BYTES`."""
        ...

    def close(self) -> None: ...


class Plain:
    """The file's own bytes."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def read(self, offset: int, size: int) -> bytes:
        return os.pread(self.fd, size, offset)

    def head(self, size: int) -> bytes:
        return os.pread(self.fd, size, 0)

    def close(self) -> None:
        os.close(self.fd)


class Archive:
    """Text that can only be unpacked from front to back: what lies before the offset is unpacked and thrown away."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._start = 0
        self._buffer = b""
        self._head = b""

    def unpack(self, size: int) -> bytes:
        """The next bytes, at most `size`; none at the end of what is there."""
        raise NotImplementedError

    def rewind(self) -> None:
        """Unpack from the beginning again."""
        raise NotImplementedError

    def read(self, offset: int, size: int) -> bytes:
        if offset < self._start:
            self._start, self._buffer = 0, b""
            self.rewind()
        while True:
            passed = min(offset - self._start, len(self._buffer))
            self._buffer = self._buffer[passed:]
            self._start += passed
            missing = offset + size - self._start - len(self._buffer)
            more = self.unpack(min(missing, _STEP)) if missing > 0 else b""
            if not more:
                begin = offset - self._start
                return self._buffer[begin : begin + size]
            if self._start + len(self._buffer) == len(self._head):
                self._head += more[: HEAD_BYTES - len(self._head)]
            self._buffer += more

    def head(self, size: int) -> bytes:
        if len(self._head) < size and self._start == 0:
            self.read(0, HEAD_BYTES)
        return self._head[:size]

    def close(self) -> None:
        os.close(self.fd)


class Gzip(Archive):
    """gzip, also of several members, also while it is being written. Source: RFC 1952."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self.rewind()

    def rewind(self) -> None:
        self._at = 0
        self._rest = b""
        self._member = zlib.decompressobj(_WINDOW)

    def unpack(self, size: int) -> bytes:
        while True:
            if self._member.eof:
                self._rest = self._member.unused_data.lstrip(b"\0") or self._fill().lstrip(b"\0")
                if not self._rest:
                    return b""
                self._member = zlib.decompressobj(_WINDOW)
            packed = self._rest or self._fill()
            try:
                text = self._member.decompress(packed, size)
            except zlib.error as exc:
                raise ArchiveError(f"broken gzip: {exc}") from exc
            self._rest = self._member.unconsumed_tail
            if text or (not packed and not self._member.eof):
                return text

    def _fill(self) -> bytes:
        packed = os.pread(self.fd, _INPUT, self._at)
        self._at += len(packed)
        return packed


class Zstd(Archive):
    """zstd, also of several frames. Source: RFC 8878.

    Raises:
        ArchiveError: the package that unpacks it is missing.
    """

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        try:
            import zstandard
        except ImportError as exc:
            raise ArchiveError("the Python package `zstandard` is missing: install it to read .zst files") from exc
        self._zstandard = zstandard
        self.rewind()

    def rewind(self) -> None:
        os.lseek(self.fd, 0, os.SEEK_SET)
        raw = open(self.fd, "rb", buffering=0, closefd=False)  # noqa: SIM115 - closed with the descriptor
        self._reader = self._zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)

    def unpack(self, size: int) -> bytes:
        try:
            return bytes(self._reader.read(size))
        except self._zstandard.ZstdError as exc:
            raise ArchiveError(f"broken zstd: {exc}") from exc


def is_archive(path: str) -> bool:
    """Whether the name says that the file is compressed."""
    return path.endswith(ARCHIVES)


def open_source(path: str) -> Source:
    """Open the file at `path`.

    Raises:
        OSError: it cannot be opened, or is no regular file.
        ArchiveError: what unpacks it is missing.

    Resource handling: the caller closes the source.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        if path.endswith(".gz"):
            return Gzip(fd)
        return Zstd(fd) if path.endswith(".zst") else Plain(fd)
    except BaseException:
        os.close(fd)
        raise
