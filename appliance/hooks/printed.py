"""What a hook's process prints: lines of the appliance's log, as many as that bears, and none more."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import trio

__all__ = ["Allowance", "OutputLog"]

PIPE_BYTES = 1 << 20
READ_BYTES = 1 << 16
TAIL_BYTES = 4096
PAUSE_S = 0.01
"""Between two looks at the pipe: a hook that prints without end wakes us so often and no oftener."""
BURST_BYTES = 64 << 10
BYTES_PER_S = 16 << 10
LINE_BYTES = 128
"""What a line costs besides its text: so a burst takes the loop some 20 ms, whatever it is made of."""


class Allowance:
    """How much a hook may add to the log: a burst, and then so much in each second.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = trio.current_time) -> None:
        self._clock = clock
        self._left = float(BURST_BYTES)
        self._at = clock()
        self.refused = 0
        """Bytes that there was no room for since `take_refused`."""

    @property
    def is_spent(self) -> bool:
        """Whether there is no room for anything now."""
        now = self._clock()
        self._left = min(BURST_BYTES, self._left + (now - self._at) * BYTES_PER_S)
        self._at = now
        return self._left < LINE_BYTES

    def admit(self, size: int) -> bool:
        """Whether a line of so many bytes may be written."""
        if self.is_spent:
            self.refused += size
            return False
        self._left -= LINE_BYTES + size
        return True

    def take_refused(self) -> int:
        refused, self.refused = self.refused, 0
        return refused


class OutputLog:
    """Reads a pipe for as long as a process may write to it.

    Args:
        fd: the end to read; the caller's.
        log: where the lines go.
        allowance: how many.
    """

    def __init__(self, fd: int, *, log: Any, allowance: Allowance) -> None:
        self._fd = fd
        self._log = log
        self._allowance = allowance
        self._pending = b""
        self._tail = b""
        os.set_blocking(fd, False)
        with suppress(OSError):  # there is a limit for each user
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    @property
    def tail(self) -> str:
        """The end of it."""
        return self._tail.decode("utf-8", "backslashreplace")

    async def run(self) -> None:
        """Read until nobody can write any more.

        Cancellation: what is in the pipe stays there, see `drain`.
        """
        with open(os.devnull, "wb", buffering=0) as nowhere:  # noqa: ASYNC230, PTH123 - it does not block
            while True:
                await trio.lowlevel.wait_readable(self._fd)
                take = partial(self._discard, nowhere.fileno()) if self._allowance.is_spent else self._read
                if not take():
                    return
                await trio.sleep(PAUSE_S)

    def drain(self) -> None:
        """Take what is in the pipe now, and no more than fits into it."""
        for _ in range(PIPE_BYTES // READ_BYTES):
            if not self._read():
                break
        if self._pending:
            self._say(self._pending)
            self._pending = b""

    def _read(self) -> bool:
        """Returns whether there may be more."""
        try:
            data = os.read(self._fd, READ_BYTES)
        except BlockingIOError:
            return True
        if not data:
            return False
        self._tail = (self._tail + data)[-TAIL_BYTES:]
        rest = self._pending + data
        while not self._allowance.is_spent:
            line, newline, after = rest.partition(b"\n")
            if not newline and len(rest) <= READ_BYTES:
                self._pending = rest
                return True
            if len(line) > READ_BYTES:
                line, after = rest[:READ_BYTES], rest[READ_BYTES:]
            self._say(line)
            rest = after
        self._pending = b""
        self._allowance.refused += len(rest)
        return True

    def _say(self, line: bytes) -> None:
        if not line or not self._allowance.admit(len(line)):
            return
        refused = self._allowance.take_refused()
        text = line.decode("utf-8", "backslashreplace")
        self._log.info("hook printed", text=text, **({"left_out_bytes": refused} if refused else {}))

    def _discard(self, nowhere: int) -> bool:
        """Throw away what is in the pipe without copying it; returns whether there may be more."""
        try:
            moved = os.splice(self._fd, nowhere, PIPE_BYTES)
        except OSError as exc:
            return exc.errno in (errno.EAGAIN, errno.EINVAL)
        self._allowance.refused += moved
        return moved > 0
