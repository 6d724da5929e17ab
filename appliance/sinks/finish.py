"""What happens to files that are complete: they are made safe and named, and then `Tidier` looks after them.

Two tasks, each with one worker thread at a time. Naming comes first and never waits for compression, because a file
that is not named is an open one, and records wait for those.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable

import msgspec
import structlog
import trio

from appliance.config import Sink
from appliance.runtime.outfile import OutFile
from appliance.runtime.partfile import finish_leftovers
from appliance.runtime.pattern import PathPattern
from appliance.runtime.tidy import Tidier

from .format import LineFormat

__all__ = ["Finisher"]

log = structlog.get_logger("sink")


class Finisher:
    """See the module.

    Args:
        config: of the sink.
        pattern: made of its path.
        line_format: of its lines.
        clock_ns: wall time.
    """

    def __init__(
        self,
        config: Sink,
        *,
        pattern: PathPattern,
        line_format: LineFormat,
        clock_ns: Callable[[], int],
    ) -> None:
        self.recovered_files = self.finished_files = self.failed_files = self.ending_bytes = 0
        self.tidier = Tidier(
            pattern, compress=config.compress, keep=config.keep, owner={"sink": config.name}, clock_ns=clock_ns
        )
        self._name = config.name
        self._pattern = pattern
        self._line_format = line_format
        self._clock_ns = clock_ns
        self._counting = threading.Lock()
        self._some_finished = trio.lowlevel.ParkingLot()

    async def run_naming(self, complete: trio.MemoryReceiveChannel[OutFile], *, patience: trio.CancelScope) -> None:
        """Make complete files safe and name them until there are no more.

        Args:
            complete: files that get no more records.
            patience: a shielded scope. When it ends, files that are not named stay ``.part`` for the next start.

        Cancellation: files are still named, within `patience`.
        """
        with patience:
            async for file in complete:
                await trio.to_thread.run_sync(self.finish, file, abandon_on_cancel=True)
                self._some_finished.unpark_all()
                self.tidier.wake()
        self.tidier.end()
        self._some_finished.unpark_all()

    async def wait_finished(self) -> None:
        """Wait until one more file is finished."""
        await self._some_finished.park()

    # ── in worker threads, one or two at a time ──

    def recover(self) -> None:
        """Finish what an earlier run left behind, a torn last line cut off."""
        self.tidier.recover()
        for leftover in finish_leftovers(self._pattern, self._line_format.repair):
            self.recovered_files += leftover.outcome == "finished"
            found = {name: str(value) for name, value in msgspec.structs.asdict(leftover).items() if value}
            log.warning("found a file of an earlier run", sink=self._name, **found)

    def finish(self, file: OutFile) -> None:
        """Give a file its final name. One that cannot be finished stays a ``.part``; the next start tries again."""
        finished = failed = written = 0
        try:
            now_ns, before = self._clock_ns(), file.size
            if file.size:
                file.write([self._line_format.end(now_ns)])
                with contextlib.suppress(OSError):  # not every filesystem can
                    os.utime(file.fd, ns=(now_ns, now_ns))  # its age counts from now
            written = file.size - before
            path = file.finish()
            finished = path is not None
            if path is not None:
                self.tidier.add(path)
        except OSError as exc:
            failed = 1
            log.error("cannot finish a file", sink=self._name, file=str(file.path), error=str(exc))
            file.abandon()
        with self._counting:  # the writing and the finishing thread may both be here
            self.finished_files += finished
            self.failed_files += failed
            self.ending_bytes += written
