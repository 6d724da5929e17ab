"""What happens to files that are complete: they are made safe and named, then compressed, then the oldest are removed.

Two tasks, each with one worker thread at a time. Naming comes first and never waits for compression, because a file
that is not named is an open one, and records wait for those.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import msgspec
import structlog
import trio

from appliance.config import Sink
from appliance.runtime.logs import Throttle
from appliance.runtime.partfile import finish_leftovers
from appliance.runtime.pattern import PathPattern

from .compress import ZST, compress, remove_leftover
from .files import LogFile
from .format import LineFormat
from .keep import Retention, find_compressor_parts, find_finished

__all__ = ["Finisher"]

log = structlog.get_logger("sink")

LOOK_EVERY_S = 60.0
"""How often the disk is compared with what is known, which is also when ages are told and failures tried again."""
PENDING = 100_000
"""Names that wait for the compressor; what is beyond is found again at the next look."""


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
        self.compressed_files = self.failed_compressions = 0
        self.retention = Retention(config.keep, pattern, on_error=self._complain) if config.keep else None
        self._name = config.name
        self._pattern = pattern
        self._line_format = line_format
        self._clock_ns = clock_ns
        self._is_compressing = config.compress != "none"
        self._throttle = Throttle(clock=time.monotonic)  # used in worker threads
        self._counting = threading.Lock()
        self._named: deque[Path] = deque(maxlen=PENDING)
        """Files with names, for the second task; appended to by two worker threads."""
        self._some_finished = trio.lowlevel.ParkingLot()

    async def run_naming(
        self, complete: trio.MemoryReceiveChannel[LogFile], *, patience: trio.CancelScope, over: trio.Event
    ) -> None:
        """Make complete files safe and name them until there are no more.

        Args:
            complete: files that get no more records.
            patience: a shielded scope. When it ends, files that are not named stay ``.part`` for the next start.
            over: set at the end.

        Cancellation: files are still named, within `patience`.
        """
        with patience:
            async for file in complete:
                await trio.to_thread.run_sync(self.finish, file, abandon_on_cancel=True)
                self._some_finished.unpark_all()
        over.set()
        self._some_finished.unpark_all()

    async def wait_finished(self) -> None:
        """Wait until one more file is finished."""
        await self._some_finished.park()

    async def run_tidying(self, *, patience: trio.CancelScope, over: trio.Event) -> None:
        """Compress and remove, one file after the other.

        Args:
            patience: a scope. When it ends, files that are not compressed stay as they are; the next start goes on.
            over: no more files are named; this ends when what there is is done.

        Cancellation: the file that is being compressed stays as it is.
        """
        looks, look_at_s = 0, trio.current_time()
        with patience:
            while self._is_compressing or self.retention is not None:
                if trio.current_time() >= look_at_s:
                    # Files that are about to become smaller are no reason to remove others, but for one interval only.
                    await trio.to_thread.run_sync(partial(self._look, is_applied=looks > 0))
                    looks, look_at_s = looks + 1, trio.current_time() + LOOK_EVERY_S
                elif self._named:
                    await trio.to_thread.run_sync(self._tidy_next)
                else:
                    await trio.to_thread.run_sync(self._apply)
                    if over.is_set() and not self._named:
                        return
                    with trio.move_on_at(look_at_s):
                        while not self._named and not over.is_set():
                            await self._some_finished.park()

    # ── in worker threads: `finish` in one or two, the others in one at a time ──

    def recover(self) -> None:
        """Finish what an earlier run left behind, a torn last line cut off."""
        for part in find_compressor_parts(self._pattern, on_error=self._complain):
            with self._telling():
                if remove_leftover(part):
                    log.info("removed half of a compressed file", sink=self._name, file=str(part))
        for leftover in finish_leftovers(self._pattern, self._line_format.repair):
            self.recovered_files += leftover.outcome == "finished"
            found = {name: str(value) for name, value in msgspec.structs.asdict(leftover).items() if value}
            log.warning("found a file of an earlier run", sink=self._name, **found)

    def finish(self, file: LogFile) -> None:
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
            if path is not None and (self._is_compressing or self.retention is not None):
                self._named.append(path)
        except OSError as exc:
            failed = 1
            log.error("cannot finish a file", sink=self._name, file=str(file.path), error=str(exc))
            file.abandon()
        with self._counting:  # the writing and the finishing thread may both be here
            self.finished_files += finished
            self.failed_files += failed
            self.ending_bytes += written

    def _look(self, *, is_applied: bool) -> None:
        with self._telling():
            files = find_finished(self._pattern, on_error=self._complain)
            if self._is_compressing:
                known = set(self._named)
                plain = (Path(file.path) for file in sorted(files) if not file.path.endswith(ZST))
                self._named.extend(path for path in plain if path not in known)
            if self.retention is not None and is_applied:
                self.retention.enforce(files, self._clock_ns())

    def _tidy_next(self) -> None:
        path = self._named.popleft()
        if self._is_compressing:
            try:
                path = compress(path, pause=trio.from_thread.check_cancelled)
                self.compressed_files += 1
            except (FileNotFoundError, BlockingIOError):
                return  # another sink was quicker to compress or to remove it
            except (OSError, ValueError) as exc:
                self.failed_compressions += 1
                self._complain(exc, "cannot compress a file, it stays as it is")
        if self.retention is not None:
            self.retention.add(path)

    def _apply(self) -> None:
        if self.retention is not None:
            with self._telling():
                self.retention.apply(self._clock_ns())

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """The disk says no: tell it, and try again at the next look."""
        try:
            yield
        except OSError as exc:
            self._complain(exc)

    def _complain(self, exc: OSError | ValueError, event: str = "cannot look after finished files") -> None:
        if (held := self._throttle.admit(event)) is not None:
            log.error(event, sink=self._name, error=str(exc), more=held)
