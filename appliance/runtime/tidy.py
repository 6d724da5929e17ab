"""What happens to files that have their names: they are compressed, then the oldest are removed.

One task for the files of one pattern, with one worker thread at a time.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

import msgspec
import structlog
import trio

from appliance.config import Keep

from .compress import ZST, compress, remove_leftover
from .keep import Budget, Retention, find_compressor_parts, find_finished
from .logs import Throttle
from .pattern import PathPattern

__all__ = ["LOOK_EVERY_S", "Tidier", "TidyFigures"]

log = structlog.get_logger("files")

LOOK_EVERY_S = 60.0
"""How often the disk is compared with what is known, which is also when ages are told and failures tried again."""
PENDING = 100_000
"""Names that wait for the compressor; what is beyond is found again at the next look."""


class TidyFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What became of finished files so far."""

    compressed_files: int
    failed_compressions: int
    """Each is tried again a minute later."""
    deleted_files: int
    """Files that went because of `keep`."""
    deleted_bytes: int


class Tidier:
    """See the module.

    Args:
        pattern: whose files.
        compress: ``none`` or ``zstd``.
        keep: limits; None: nothing is removed.
        owner: for the log, e.g. ``{"sink": "archive"}``.
        clock_ns: wall time.
        budget: may grant less than `keep` asks for.
        limiter: bounds the worker threads of many tidiers; None: as Trio bounds all.
        tidied: called in the loop for each file that was added, when it has its last name: with the old one and that.
    """

    def __init__(
        self,
        pattern: PathPattern,
        *,
        compress: str,
        keep: Keep | None,
        owner: dict[str, str],
        clock_ns: Callable[[], int],
        budget: Budget = lambda wanted, _: wanted,
        limiter: trio.CapacityLimiter | None = None,
        tidied: Callable[[Path, Path], Awaitable[None]] | None = None,
    ) -> None:
        self._pattern = pattern
        self._owner = owner
        self._clock_ns = clock_ns
        self._limiter = limiter
        self._tidied = tidied
        self._is_compressing = compress != "none"
        self._retention = Retention(keep, pattern, on_error=self._complain, budget=budget) if keep else None
        self._throttle = Throttle(clock=time.monotonic)  # used in worker threads
        self._named: deque[Path] = deque(maxlen=PENDING)
        """Appended to by worker threads of whoever finishes files."""
        self._changed = trio.lowlevel.ParkingLot()
        self._look_at_s = -math.inf
        self._is_over = False
        self._put_off: set[Path] = set()
        """Files that could not be compressed; each is tried again after the next look."""
        self._compressed = self._failed = 0

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to do with files at all."""
        return self._is_compressing or self._retention is not None

    def statistics(self) -> TidyFigures:
        retention = self._retention
        return TidyFigures(
            compressed_files=self._compressed,
            failed_compressions=self._failed,
            deleted_files=retention.deleted_files if retention else 0,
            deleted_bytes=retention.deleted_bytes if retention else 0,
        )

    def add(self, path: Path) -> None:
        """There is one more file; may be called in a worker thread, `wake` follows in the loop."""
        if self.is_needed:
            self._named.append(path)

    def wake(self) -> None:
        """Files were added."""
        self._changed.unpark_all()

    def look_soon(self) -> None:
        """Compare with the disk now: it is full."""
        self._look_at_s = -math.inf
        self.wake()

    def end(self) -> None:
        """No more files are added; `run` ends when what there is is done."""
        self._is_over = True
        self.wake()

    async def run(self, patience: trio.CancelScope) -> None:
        """Compress and remove, one file after the other.

        Args:
            patience: a scope. When it ends, files that are not compressed stay as they are; the next start goes on.

        Cancellation: the file that is being compressed stays as it is.
        """
        try:
            with patience:
                await self._run()
        finally:
            self._is_over = False

    async def _run(self) -> None:
        looks, self._look_at_s = 0, trio.current_time()
        while self.is_needed:
            if trio.current_time() >= self._look_at_s:
                self._look_at_s = math.inf
                # Files that are about to become smaller are no reason to remove others, but for one interval only.
                await self._in_thread(partial(self._look, is_applied=looks > 0))
                looks += 1
                # From its end, or a disk that takes longer than the interval would leave no time for the files.
                self._look_at_s = min(self._look_at_s, trio.current_time() + LOOK_EVERY_S)
            elif self._named:
                path = self._named.popleft()
                last = await trio.to_thread.run_sync(self._tidy, path, limiter=self._limiter)
                if self._tidied is not None:
                    await self._tidied(path, last)
            else:
                await self._in_thread(self._apply)
                if self._is_over and not self._named:
                    return
                while not (self._named or self._is_over or trio.current_time() >= self._look_at_s):
                    with trio.move_on_at(self._look_at_s):
                        await self._changed.park()

    async def _in_thread(self, work: Callable[[], None]) -> None:
        await trio.to_thread.run_sync(work, limiter=self._limiter)

    # ── in a worker thread, one at a time ──

    def recover(self) -> None:
        """Remove what a compressor of an earlier run left behind."""
        for part in find_compressor_parts(self._pattern, on_error=self._complain):
            with self._telling():
                if remove_leftover(part):
                    log.info("removed half of a compressed file", **self._owner, file=str(part))

    def _look(self, *, is_applied: bool) -> None:
        with self._telling():
            files = find_finished(self._pattern, on_error=self._complain)
            if self._is_compressing:
                self._put_off.clear()
                known = set(self._named)
                plain = (Path(file.path) for file in sorted(files) if not file.path.endswith(ZST))
                self._named.extend(path for path in plain if path not in known)
            if self._retention is not None and is_applied:
                self._retention.enforce(files, self._clock_ns())

    def _tidy(self, path: Path) -> Path:
        """Returns its last name."""
        if path in self._put_off:
            return path  # whoever finished it, and a look at the disk at that moment, have both named it
        if self._is_compressing:
            try:
                path = compress(path, pause=trio.from_thread.check_cancelled)
                self._compressed += 1
            except (FileNotFoundError, BlockingIOError):
                return path  # somebody else was quicker to compress or to remove it
            except (OSError, ValueError) as exc:
                self._failed += 1
                self._put_off.add(path)
                self._complain(exc, "cannot compress a file, it stays as it is")
        if self._retention is not None:
            self._retention.add(path)
        return path

    def _apply(self) -> None:
        if self._retention is not None:
            with self._telling():
                self._retention.apply(self._clock_ns())

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """The disk says no: tell it, and try again at the next look."""
        try:
            yield
        except OSError as exc:
            self._complain(exc)

    def _complain(self, exc: OSError | ValueError, event: str = "cannot look after finished files") -> None:
        if (held := self._throttle.admit(event)) is not None:
            log.error(event, **self._owner, error=str(exc), more=held)
