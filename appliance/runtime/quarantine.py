"""Input that could not be understood, kept for a person to look at: a few files, the newest ones."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import structlog
import trio

from .logs import Throttle

__all__ = ["KEEP_EVERY_S", "Quarantine", "Specimens"]

KEEP_EVERY_S = 1.0
"""Input that does not decode is kept at most this often: who sends it may send nothing else."""


class Quarantine:
    """Keeps the newest refused messages of one door in a folder.

    Args:
        folder: made when the first one is saved.
        max_files: the oldest goes when there would be more.
        max_bytes: of one file; the rest of a longer message is not kept.
        clock_ns: wall time, for the names.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_files: int = 32,
        max_bytes: int = 4 << 20,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.folder = folder
        self._max_files, self._max_bytes, self._clock_ns = max_files, max_bytes, clock_ns

    def save(self, payload: bytes) -> Path:
        """Write a message to a file of its own; blocks, call it in a worker thread, one call at a time.

        Raises:
            OSError: the disk says no.
        """
        self.folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        files = sorted(self.folder.glob("*.bin"))
        for old in files[: max(0, len(files) - self._max_files + 1)]:
            old.unlink(missing_ok=True)
        part = self.folder / "new.part"  # always the same: what a crash leaves is overwritten
        part.unlink(missing_ok=True)
        try:
            fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
            with os.fdopen(fd, "wb") as file:
                file.write(memoryview(payload)[: self._max_bytes])
        except OSError:
            part.unlink(missing_ok=True)
            raise
        return part.rename(self._free_name())

    def _free_name(self) -> Path:
        number = self._clock_ns()
        while (path := self.folder / f"{number:020d}.bin").exists():
            number += 1
        return path


class Specimens:
    """What a door keeps of what it refuses: now and then one, and it is told.

    Args:
        quarantine: where; it is written to by nobody else.
        what: the input's name, for the log.
        log: the door's.
    """

    def __init__(self, quarantine: Quarantine, *, what: str, log: structlog.stdlib.BoundLogger) -> None:
        self._quarantine, self._what, self._log = quarantine, what, log
        self._turns, self._throttle = Throttle(KEEP_EVERY_S), Throttle()
        self.kept = 0
        """How many, since the start."""

    def take_turn(self) -> bool:
        """Whether one may be kept again, which whoever asks then does."""
        return self._turns.admit("") is not None

    async def keep(self, payload: bytes) -> None:
        """Keep this one. That a disk does not take it is told, and harms nobody.

        Cancellation: waits for the disk.
        """
        try:
            path: Path = await trio.to_thread.run_sync(self._quarantine.save, payload)
        except OSError as exc:
            if (held := self._throttle.admit("failed")) is not None:
                folder = str(self._quarantine.folder)
                self._log.error(f"cannot keep a refused {self._what}", folder=folder, error=str(exc), more=held)
            return
        self.kept += 1
        if (held := self._throttle.admit("kept")) is not None:
            told = f"a {self._what} does not decode; it is kept for inspection"
            self._log.warning(told, file=str(path), more=held)
