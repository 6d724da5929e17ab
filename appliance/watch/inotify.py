"""What happens in folders, as the kernel tells it. Source: inotify(7).

Only a help: what is not told (a network file system, a queue that overflowed, a watch that the kernel refuses) is found
by looking. `is_complete` says whether everything is told.
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import NamedTuple

import trio

__all__ = ["FolderEvents", "Happened"]

_LIBC = ctypes.CDLL(None, use_errno=True)
# sys/inotify.h
_CLOSE_WRITE = 0x8
_MOVED_FROM, _MOVED_TO = 0x40, 0x80
_CREATE, _DELETE = 0x100, 0x200
_MOVE_SELF = 0x800
_OVERFLOW = 0x4000
_IGNORED = 0x8000
_ISDIR = 0x40000000
_ONLYDIR = 0x01000000
_MASK = _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _MOVE_SELF | _ONLYDIR
_EVENT = struct.Struct("iIII")  # struct inotify_event: watch, mask, cookie, length of the name behind it
_EVENT_BYTES = 1 << 16
_MAX_READS = 64
"""Buffers for each `take`, so that a flood of events does not keep the loop for itself."""


class Happened(NamedTuple):
    """One event."""

    path: str
    """Absolute."""
    is_folder: bool
    is_gone: bool
    """Deleted, or moved away."""
    is_finished: bool
    """A file was closed after writing, or a file or folder was moved here."""


class FolderEvents:
    """Watches any number of folders, not those within them.

    Resource handling: what `open` opened, `close` closes; nobody may be waiting then.
    """

    def __init__(self) -> None:
        self._fd = -1
        self._top = ""
        self._folders: dict[str, int] = {}
        self._paths: dict[int, str] = {}
        self._refused: set[str] = set()
        self.has_missed = False
        """Whether events were lost: everything must be looked at again. Reset by whoever does."""

    def open(self, top: str) -> None:
        """Begin, with no folders; all that come are in `top`, or are it."""
        self.close()
        self._top = top
        self._fd = _LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self._folders, self._paths, self._refused = {}, {}, set()
        self.has_missed = False

    @property
    def is_complete(self) -> bool:
        """Whether the kernel watches every folder that it was asked to watch, and at least one."""
        return self._fd >= 0 and bool(self._folders) and not self._refused

    def add(self, path: str) -> bool:
        """Watch a folder; returns whether it was not watched before."""
        if path in self._folders:
            return False
        number = _LIBC.inotify_add_watch(self._fd, os.fsencode(path), _MASK) if self._fd >= 0 else -1
        if number < 0:
            self._refused.add(path)
            return True
        self._refused.discard(path)
        if (before := self._paths.get(number)) is not None:  # it was renamed
            self._folders.pop(before, None)
        self._folders[path] = number
        self._paths[number] = path
        return True

    def keep_only(self, paths: set[str]) -> None:
        """Watch none but these any more."""
        self._refused &= paths
        for path in self._folders.keys() - paths:
            self._drop(path)

    def forget_below(self, path: str) -> None:
        """A folder is gone from its place, with all that is in it."""
        for each in [each for each in self._folders if each == path or each.startswith(path + "/")]:
            self._drop(each)

    def _drop(self, path: str) -> None:
        number = self._folders.pop(path)
        self._paths.pop(number, None)
        _LIBC.inotify_rm_watch(self._fd, number)

    def take(self) -> list[Happened]:
        """What has happened since the last time, in order; more may be left."""
        found: list[Happened] = []
        for _ in range(_MAX_READS):
            try:
                block = os.read(self._fd, _EVENT_BYTES) if self._fd >= 0 else b""
            except BlockingIOError:
                break
            if not block:
                break
            self._parse(block, found)
        return found

    def _parse(self, block: bytes, found: list[Happened]) -> None:
        at = 0
        while at < len(block):
            number, mask, _, length = _EVENT.unpack_from(block, at)
            name = block[at + _EVENT.size : at + _EVENT.size + length].rstrip(b"\0")
            at += _EVENT.size + length
            self.has_missed |= bool(mask & _OVERFLOW)
            folder = self._paths.get(number)
            if folder is None:
                continue
            if folder == self._top and mask & (_IGNORED | _MOVE_SELF):
                self.forget_below(folder)  # what is told of what is in it now is told of another place
                self.has_missed = True
            elif mask & _IGNORED:
                self._folders.pop(folder, None)
                self._paths.pop(number, None)
            elif name:
                path = os.path.join(folder, os.fsdecode(name))  # noqa: PTH118 - hot, and no Path is wanted
                is_gone = bool(mask & (_DELETE | _MOVED_FROM))
                finished = bool(mask & (_CLOSE_WRITE | _MOVED_TO))
                found.append(Happened(path, bool(mask & _ISDIR), is_gone, finished))

    async def wait(self) -> None:
        """Wait until something happens; for ever if nothing can.

        Cancellation: harmless.
        """
        if self._fd < 0:
            await trio.sleep_forever()
        await trio.lowlevel.wait_readable(self._fd)

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            trio.lowlevel.notify_closing(fd)
            os.close(fd)
