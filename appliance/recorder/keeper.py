"""What is on the disk: finished segments enter here, the oldest leave, and what is missing is written down.

All of it blocks and is called in worker threads, one call at a time, but for what says otherwise.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import structlog

from appliance.config import Recorder
from appliance.errors import ApplianceError
from appliance.extract.names import GAPS
from appliance.runtime.logs import Throttle
from appliance.runtime.packets import Gap
from appliance.runtime.shares import DiskShares

from .catalogue import Catalogue, Entry
from .gaps import GapLog
from .repair import Repaired, repair

__all__ = ["Keeper"]

log = structlog.get_logger("recorder")

_EVERYTHING = 1 << 62


class Keeper:
    """See the module.

    Args:
        table: of the recorder.
        shares: of the disks.
        throttle: for the log; with a clock for worker threads.
    """

    def __init__(self, table: Recorder, shares: DiskShares, throttle: Throttle) -> None:
        self.table = table
        """A reload changes it; read for each look."""
        self.directory = Path(table.directory)
        self.catalogue = Catalogue(self.directory, table.name)
        self.gaps = GapLog(self.directory / f"{table.name}{GAPS}")
        self.limit = 0
        """Bytes that may be kept, at the last look; 0: not known yet."""
        self.errors = 0
        """How often the disk could not be looked after."""
        self._shares, self._throttle = shares, throttle
        self._owner = f"recorder.{table.name}"

    def start(self) -> tuple[list[Repaired], int | None]:
        """Make the directory, repair what an earlier run left, and see what is there.

        Returns:
            What was repaired, and until when somebody recorded; None: never, or nobody knows.

        Raises:
            ApplianceError: the directory cannot be used.
        """
        try:
            self.make_directory()
            until_ns = self.gaps.load()
            repaired = repair(self.directory, self.table.name, with_index=self.table.index)
            self.catalogue.scan()
        except OSError as exc:
            raise ApplianceError(f"recorder {self.table.name} cannot use {self.directory}: {exc.strerror}") from exc
        return repaired, until_ns

    def make_directory(self) -> None:
        """There is the directory, with those above it."""
        for each in (*reversed(self.directory.parents), self.directory):
            if not each.is_dir():
                each.mkdir(0o750, exist_ok=True)

    def look(self, heard_ns: int, growing: int, reserved: int = 0) -> None:
        """About once a second: room, and the file of gaps. Errors are logged and counted.

        Args:
            heard_ns: until when somebody recorded, and would find it again after a crash.
            growing: bytes of the segments that are being written.
            reserved: bytes of the disk that are kept for them, which no budget counts.
        """
        self._telling(lambda: self._make_room(growing, reserved))
        self.gaps.flush(heard_ns)

    def rest(self) -> None:
        """Nobody keeps anything here any more."""
        self._shares.forget(self._owner)

    def _make_room(self, growing: int, reserved: int) -> None:
        # Also without a budget somebody must be told what is used here, and that is not before the first look.
        for entry in self.catalogue.enforce(lambda used: self._room(used, reserved), growing):
            self._miss(entry, "budget")

    def _room(self, used: int, reserved: int) -> int:
        table = self.table
        wanted = reserved + (int(table.budget) if table.budget is not None else _EVERYTHING)
        floor = int(table.min_free) if table.min_free is not None else None
        granted = self._shares.grant(self._owner, table.directory, wanted, used + reserved, reserve=floor)
        self.limit = max(0, granted - reserved)
        return self.limit

    def _miss(self, entry: Entry, reason: str) -> None:
        self.gaps.add(Gap(entry.first_ns, entry.last_ns, reason, None, entry.size))

    def compare(self) -> None:
        """See what somebody else has removed or put there."""
        self._telling(self._compare)

    def _compare(self) -> None:
        gone = self.catalogue.scan()
        for entry in gone:
            self._miss(entry, "deleted")
        if gone:
            log.warning("segments were deleted by somebody else", recorder=self.table.name, segments=len(gone))

    def _telling(self, work: Callable[[], None]) -> None:
        try:
            work()
        except OSError as exc:
            self.errors += 1
            what = "directory" if exc.errno == errno.ENOENT else "disk"
            if (held := self._throttle.admit(f"keep {what}")) is not None:
                log.error("cannot look after the segments", recorder=self.table.name, error=str(exc), more=held)
