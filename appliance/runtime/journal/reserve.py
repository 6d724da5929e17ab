"""Space on the journal's disk that is given up when the disk is full: acknowledgements need some, and make more."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

__all__ = ["Reserve"]

_SHARE = 2
"""The reserve is taken when so many times its size is free, so that it is not what fills the disk."""


class Reserve:
    """A file that holds nothing. Everything blocks.

    Args:
        path: of the file.
        size: bytes.
    """

    def __init__(self, path: Path, size: int) -> None:
        self._path, self._size = path, size
        self._is_taken = False
        self.is_given_up = False
        """Its space is used up, or will be: for acknowledgements only, until there is room for it again."""

    def take(self) -> None:
        """Have the file, if there is room enough."""
        if self._is_taken:
            return
        with suppress(OSError):
            found = os.statvfs(self._path.parent)
            if self._path.exists() or found.f_bavail * found.f_frsize >= _SHARE * self._size:
                fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
                try:
                    os.posix_fallocate(fd, 0, self._size)
                finally:
                    os.close(fd)
                self._is_taken = True
                self.is_given_up = False

    def release(self) -> bool:
        """Give the space up; returns whether that made room."""
        self.is_given_up = True
        with suppress(OSError):
            self._path.unlink()
            self._is_taken = False
            return True
        return False
