"""Retention: which finished files of a pattern are on the disk, and which of them go, the oldest first.

Only names that the sink's pattern can have made are ever looked at, no symlink is followed, and nothing that is still
being written is counted or removed. Everything here blocks: call it in a worker thread.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from appliance.config import Keep

from .compress import ZST
from .pattern import PART_SUFFIX, PathPattern

__all__ = ["Budget", "Finished", "Retention", "find_compressor_parts", "find_finished"]

OnError = Callable[[OSError], None]
Budget = Callable[[int, int], int]
"""From the bytes that are wanted and the bytes that are there to those that are granted."""


class Finished(NamedTuple):
    """A finished file, ordered by age."""

    mtime_ns: int
    """When it was finished."""
    path: str
    size: int


def find_finished(pattern: PathPattern, *, on_error: OnError) -> list[Finished]:
    """The finished files of that pattern, compressed or not; blocks.

    Args:
        pattern: whose files.
        on_error: told of a directory or file that cannot be read.
    """
    found = []
    for path in _find(pattern, on_error):
        if path.endswith(PART_SUFFIX) or not (pattern.matches(path) or pattern.matches(path.removesuffix(ZST))):
            continue
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            continue  # whoever removed it was quicker
        found.append(Finished(status.st_mtime_ns, path, status.st_size))
    return found


def find_compressor_parts(pattern: PathPattern, *, on_error: OnError) -> list[Path]:
    """What may be half of a compressed file of that pattern; blocks."""
    ending = ZST + PART_SUFFIX
    found = (path for path in _find(pattern, on_error) if path.endswith(ending))
    return [Path(path) for path in found if pattern.matches(path.removesuffix(ending))]


def _find(pattern: PathPattern, on_error: OnError) -> Iterator[str]:
    """Regular files where the pattern's files are."""
    directories = [pattern.static_root]
    for level in pattern.levels[:-1]:
        inside = [entry for directory in directories for entry in _list(directory, on_error)]
        directories = [e.path for e in inside if level.fullmatch(e.name) and e.is_dir(follow_symlinks=False)]
    for directory in directories:
        for entry in _list(directory, on_error):
            if entry.is_file(follow_symlinks=False):
                yield entry.path


def _list(directory: str, on_error: OnError) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as exc:
        on_error(exc)
        return []


class Retention:
    """Removes what is too old or too much.

    Args:
        keep: limits.
        pattern: whose files.
        on_error: told of a directory that cannot be read or a file that cannot be removed.
        budget: may grant less than `keep` asks for.
    """

    def __init__(
        self,
        keep: Keep,
        pattern: PathPattern,
        *,
        on_error: OnError,
        budget: Budget = lambda wanted, _: wanted,
    ) -> None:
        self._keep = keep
        self._pattern = pattern
        self._root = Path(pattern.static_root)
        self._on_error = on_error
        self._budget = budget
        self._at_most = math.inf
        """Bytes of all files; some may have gone since the last look, and before the first one nobody knows."""
        self._oldest_ns = 0
        self.deleted_files = self.deleted_bytes = 0

    def add(self, path: Path) -> None:
        """There is one more file."""
        try:
            self._at_most += path.lstat().st_size
        except FileNotFoundError:
            return

    def apply(self, now_ns: int) -> None:
        """Remove the oldest files, exactly as many as it takes; looks at the disk only if that may be any.

        Args:
            now_ns: wall clock, by which ages are told.
        """
        if self._is_due(self._at_most, self._size(self._at_most), self._oldest_ns, now_ns):
            self.enforce(find_finished(self._pattern, on_error=self._on_error), now_ns)

    def enforce(self, files: list[Finished], now_ns: int) -> None:
        """The same, given the files that there are."""
        total = sum(file.size for file in files)
        size = self._size(total)
        left: list[Finished] = []
        for file in sorted(files):
            if self._is_due(total, size, file.mtime_ns, now_ns) and self._remove(file):
                total -= file.size
            else:
                left.append(file)
        self._at_most = total
        self._oldest_ns = left[0].mtime_ns if left else now_ns

    def _size(self, total: float) -> int | None:
        """How many bytes may stay, if there are `total`."""
        if self._keep.size is None or total == math.inf:
            return self._keep.size
        return self._budget(self._keep.size, int(total))

    def _is_due(self, total: float, size: int | None, oldest_ns: int, now_ns: int) -> bool:
        age = self._keep.age
        return (size is not None and total > size) or (age is not None and now_ns - oldest_ns >= age)

    def _remove(self, file: Finished) -> bool:
        """Returns whether it is gone."""
        path = Path(file.path)
        try:
            path.unlink()
        except FileNotFoundError:
            return True
        except OSError as exc:
            self._on_error(exc)
            return False
        self.deleted_files += 1
        self.deleted_bytes += file.size
        # Below the root every directory on the way to a file of the pattern's is the pattern's.
        for directory in path.parents:
            if directory == self._root:
                break
            try:
                directory.rmdir()
            except OSError:  # there is something else in it
                break
        return True
