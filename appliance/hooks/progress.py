"""A page of memory in which a worker process writes how far it is, call by call. It costs no system call, and it is
still there when the worker is gone.
"""

from __future__ import annotations

import mmap
import os

__all__ = ["TURN_S", "Progress"]

TURN_S = 0.05
"""A turn ends after the call with which it has lasted so long, so that what was done is settled soon."""
_BEGUN, _ENDED, _SINCE = range(3)
_PAGE_BYTES = 4096


class Progress:
    """See the module.

    Args:
        fd: of the memory; it is not needed afterwards.
    """

    def __init__(self, fd: int) -> None:
        self._words = memoryview(mmap.mmap(fd, _PAGE_BYTES)).cast("Q")

    @staticmethod
    def make_memory() -> int:
        """The descriptor of memory for one worker; it is the caller's."""
        fd = os.memfd_create("progress", os.MFD_CLOEXEC)
        os.ftruncate(fd, _PAGE_BYTES)
        return fd

    # ── the worker's side ──

    def begin(self, call: int, now_ns: int) -> None:
        """Call number `call`, from 0, begins."""
        self._words[_SINCE] = now_ns
        self._words[_BEGUN] = call + 1

    def end(self, call: int) -> None:
        """It has ended, and how was told before."""
        self._words[_ENDED] = call + 1

    # ── the appliance's side ──

    def reset(self) -> None:
        """New work: before the worker hears of it."""
        for i in (_BEGUN, _ENDED, _SINCE):
            self._words[i] = 0

    def read(self, calls: int) -> tuple[int, int, int]:
        """How many of `calls` have begun and ended, and when the last one began, in nanoseconds; whatever is written
        there, ``0 <= ended <= begun <= calls``.
        """
        begun = min(self._words[_BEGUN], calls)
        return begun, min(self._words[_ENDED], begun), self._words[_SINCE]
