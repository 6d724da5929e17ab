"""What is in a watched folder right now. Blocks on the disk: call it in a worker thread."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

import msgspec

__all__ = ["Listing", "Rules", "Seen", "look", "look_at", "measure"]

MAX_DEPTH = 64
"""Folders within folders."""
_UNFINISHED = (".part", ".tmp")


class Seen(NamedTuple):
    """A file or folder at the moment in which it was looked at."""

    relative: str
    inode: int
    size: int
    """Bytes; of a folder, those of all files in it."""
    mtime_ns: int
    """Of a folder, the newest in it."""
    files: int = 0
    """Of a folder, the regular files in it."""
    is_marked: bool = False
    """A folder with the file that says that it is finished."""


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked for."""

    root: str
    what: str
    """``files`` or ``folders``."""
    match: tuple[str, ...]
    """Globs over the name, any of which it matches."""
    recursive: bool
    marker: str = ""
    """Name of the file that says that a folder is finished."""

    def wants(self, name: str) -> bool:
        """Whether a name is one of those; hidden ones only if a glob says so, unfinished ones never."""
        if name.endswith(_UNFINISHED):
            return False
        return any(fnmatchcase(name, glob) and (name[0] != "." or glob[0] == ".") for glob in self.match)

    def enters(self, name: str) -> bool:
        """Whether a folder is looked into."""
        return self.recursive and name[0] != "." and not name.endswith(_UNFINISHED)

    def relative(self, path: str) -> str:
        return os.path.relpath(path, self.root)


class Listing(NamedTuple):
    """Everything that was found."""

    things: dict[str, Seen]
    folders: list[str]
    """Absolute paths of all folders that were looked into, from the top down, and of those that will be things when a
    file is in them.
    """
    root_inode: int
    """0: the folder is not there."""
    troubles: tuple[str, ...]
    """Folders that could not be read, and why; things in them are not known."""


def look(rules: Rules, start: str | None = None) -> Listing:
    """Look at everything, or at what is below `start`."""
    things: dict[str, Seen] = {}
    folders: list[str] = []
    empty: list[str] = []
    troubles: list[str] = []
    queue = [(start or rules.root, 0)]
    while queue:
        folder, depth = queue.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as exc:
            troubles.append(f"{folder}: {exc.strerror}")
            continue
        folders.append(folder)
        below: list[tuple[str, int]] = []
        for entry in entries:
            seen = _judge(rules, entry)
            if seen is not None:
                things[seen.relative] = seen
            elif not entry.is_dir(follow_symlinks=False):
                continue
            elif rules.enters(entry.name):
                if depth < MAX_DEPTH:
                    below.append((entry.path, depth + 1))
            elif rules.what == "folders" and rules.wants(entry.name):
                empty.append(entry.path)
        queue += reversed(below)
    try:
        root_inode = os.stat(rules.root).st_ino  # noqa: PTH116 - as everything here
    except OSError:
        root_inode = 0
    return Listing(things, folders + empty, root_inode, tuple(troubles[:16]))


def _judge(rules: Rules, entry: os.DirEntry[str]) -> Seen | None:
    """What an entry is if it is one of what is looked for."""
    if not rules.wants(entry.name):
        return None
    return look_at(rules, entry.path)


def look_at(rules: Rules, path: str) -> Seen | None:
    """One file or folder; None if it is gone, or not one of what is looked for. Links are no files."""
    if not rules.wants(os.path.basename(path)):  # noqa: PTH119 - as everything here
        return None
    try:
        status = os.lstat(path)
        relative = rules.relative(path)
        if rules.what == "folders":
            return _look_at_folder(rules, path, relative, status) if stat.S_ISDIR(status.st_mode) else None
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return Seen(relative, status.st_ino, status.st_size, status.st_mtime_ns)


def _look_at_folder(rules: Rules, path: str, relative: str, status: os.stat_result) -> Seen | None:
    """A folder is one of what is looked for if it holds a file itself: others are looked into for such."""
    with os.scandir(path) as entries:
        names = [entry.name for entry in entries if not entry.is_dir(follow_symlinks=False)]
    if not names:
        return None
    size, files, newest = measure(path)
    mtime_ns = max(status.st_mtime_ns, newest)
    return Seen(relative, status.st_ino, size, mtime_ns, files, bool(rules.marker) and rules.marker in names)


def measure(path: str) -> tuple[int, int, int]:
    """Bytes and number of the regular files in a folder, at any depth, and the newest modification, nanoseconds.

    Raises:
        OSError: it cannot be read.
    """
    size = files = newest = 0
    for status in _walk(path):
        newest = max(newest, status.st_mtime_ns)
        if stat.S_ISREG(status.st_mode):
            size += status.st_size
            files += 1
    return size, files, newest


def _walk(path: str) -> Iterator[os.stat_result]:
    queue: Sequence[str] = [path]
    while queue:
        below: list[str] = []
        for folder in queue:
            with os.scandir(folder) as entries:
                for entry in entries:
                    yield entry.stat(follow_symlinks=False)
                    if entry.is_dir(follow_symlinks=False):
                        below.append(entry.path)
        queue = below
