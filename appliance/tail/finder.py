"""Which files the globs name right now. Blocks on the disk: call it in a worker thread."""

from __future__ import annotations

import glob
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = ["Seen", "find_files", "find_folders"]


class Seen(NamedTuple):
    """A file at the moment it was looked at."""

    path: str
    device: int
    inode: int
    size: int
    mtime_ns: int

    @property
    def identity(self) -> tuple[int, int]:
        return (self.device, self.inode)


def find_files(globs: Sequence[str]) -> dict[tuple[int, int], Seen]:
    """The regular files that the globs name, each once, by identity; the oldest first. Links are followed."""
    found: dict[tuple[int, int], Seen] = {}
    for pattern in globs:
        for path in glob.iglob(pattern, recursive=True):  # noqa: PTH207 - Path.glob() takes no absolute patterns
            try:
                status = Path(path).stat()
            except OSError:  # it went away, or its folder cannot be searched
                continue
            if stat.S_ISREG(status.st_mode):
                seen = Seen(path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
                found.setdefault(seen.identity, seen)
    return dict(sorted(found.items(), key=lambda item: (item[1].mtime_ns, item[1].path)))


def find_folders(globs: Sequence[str]) -> set[str]:
    """The folders in which such files would appear."""
    folders = [str(Path(pattern).parent) for pattern in globs]
    return {found for folder in folders for found in glob.iglob(folder, recursive=True)}  # noqa: PTH207 - as above
