"""Wakes the door when something happens in a folder. Source: inotify(7).

Only a help: what it misses (a folder on a network, a queue that overflowed, a watch that the kernel refuses) is found
by looking again after a while. Writes are asked for only while nothing else keeps the door busy, because Zeek makes one
system call for each record and each would be an event.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable

import trio

__all__ = ["FolderWatch"]

_LIBC = ctypes.CDLL(None, use_errno=True)
# sys/inotify.h
_IN_NONBLOCK = os.O_NONBLOCK
_IN_CLOEXEC = os.O_CLOEXEC
_IN_MODIFY = 0x2
_IN_NAMES = 0x40 | 0x80 | 0x100 | 0x200  # moved from, moved to, create, delete
_IN_IGNORED = 0x8000
_IN_ONLYDIR = 0x01000000
_EVENT = struct.Struct("iIII")  # struct inotify_event: watch, mask, cookie, length of the name behind it
_EVENT_BYTES = 1 << 16


class FolderWatch:
    """Watches folders for new, renamed and deleted names, and for writes when asked to.

    Resource handling: what `open` opened, `close` closes; nobody may be waiting then.
    """

    def __init__(self) -> None:
        self._fd = -1
        self._folders: dict[str, int] = {}
        self._has_writes = False

    def open(self) -> None:
        """Begin, with no folders."""
        self.close()
        self._fd = _LIBC.inotify_init1(_IN_NONBLOCK | _IN_CLOEXEC)
        self._folders = {}
        self._has_writes = False

    @property
    def works(self) -> bool:
        """Whether there is anything that can wake us."""
        return self._fd >= 0 and bool(self._folders)

    def follow(self, folders: Iterable[str]) -> None:
        """Watch these folders and no others."""
        wanted = set(folders)
        for folder in self._folders.keys() - wanted:
            _LIBC.inotify_rm_watch(self._fd, self._folders.pop(folder))
        for folder in wanted - self._folders.keys():
            self._add(folder)

    def expect_writes(self, *, wanted: bool) -> None:
        """Whether a write to a file in these folders is to wake us, too."""
        if wanted != self._has_writes:
            self._has_writes = wanted
            for folder in list(self._folders):
                self._add(folder)

    def _add(self, folder: str) -> None:
        mask = _IN_NAMES | _IN_ONLYDIR | (_IN_MODIFY if self._has_writes else 0)
        number = _LIBC.inotify_add_watch(self._fd, os.fsencode(folder), mask) if self._fd >= 0 else -1
        if number >= 0:
            self._folders[folder] = number
        else:
            self._folders.pop(folder, None)

    def drain(self) -> bool:
        """Forget what has happened; returns whether names have changed, or may have."""
        changed = False
        while self._fd >= 0:
            try:
                events = os.read(self._fd, _EVENT_BYTES)
            except BlockingIOError:
                break
            at = 0
            while at < len(events):
                number, mask, _, length = _EVENT.unpack_from(events, at)
                at += _EVENT.size + length
                changed = changed or mask != _IN_MODIFY
                if mask & _IN_IGNORED:  # the folder is gone; it is watched again when there is one
                    self._folders = {folder: n for folder, n in self._folders.items() if n != number}
        return changed

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
