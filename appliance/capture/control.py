"""Starting, stopping and rotating handlers while the appliance runs: each change all or nothing, and remembered.

Everybody who changes captures from outside (the API, the command line, AIT's calls) goes through here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec
import structlog
import trio

from appliance.config import Capture, mistakes_in_captures
from appliance.errors import ConfigError
from appliance.model import Segment

from .capturer import SocketCapture
from .changes import FILE, Changes, Key, write_changes
from .figures import CaptureFigures
from .plan import pattern_of

__all__ = ["FINISH_TIMEOUT_S", "CaptureControl"]

FINISH_TIMEOUT_S = 50.0
"""How long a stop waits for files: a disk may be full."""

log = structlog.get_logger("capture")


class CaptureControl:
    """See the module.

    Args:
        state_dir: where the changes are remembered, and where relative outputs go.
        changes: those that were read there.
        configured: the captures that the file has.
        running: the captures that run.
        apply: makes what runs what the file and the changes say, or raises and leaves it as it was.
    """

    def __init__(
        self,
        state_dir: Path,
        changes: Changes,
        *,
        configured: Callable[[], Sequence[Capture]],
        running: Callable[[], Sequence[SocketCapture]],
        apply: Callable[[Changes], Awaitable[None]],
    ) -> None:
        self.changes = changes
        self._state_dir = state_dir
        self._configured, self._running, self._apply = configured, running, apply
        self._lock = trio.Lock()

    # ── what there is ──

    def captures(self) -> tuple[Capture, ...]:
        """The tables in effect."""
        return self.changes.merge(self._configured())[0]

    def statistics(self) -> dict[str, CaptureFigures]:
        """Figures of each socket, by the name of the capture that opened it."""
        return {service.group.first.name: service.statistics() for service in self._running()}

    def find(self, name: str) -> list[Key]:
        """The handlers of that name; ``capture/handler`` names one exactly."""
        capture, slash, handler = name.rpartition("/")
        return [
            (table.name, each.name)
            for table in self.captures()
            for each in table.handler
            if each.name == (handler if slash else name) and (not slash or table.name == capture)
        ]

    # ── changes ──

    async def start(self, capture: Capture) -> None:
        """Add handlers: to a capture of that name, to the socket of that address, or with a socket of their own.

        Args:
            capture: with the handlers to add. If there is a capture of its name, its address and `conn_type` must be
                the same.

        Raises:
            ExceptionGroup: of `ConfigError`: what is wrong with the tables, as in a file.
            Exception: why it could not be started; nothing has changed.

        Cancellation: it is started, or nothing has changed.
        """
        async with self._lock:
            _check_types(capture)
            running = {key for table in self.captures() for key in ((table.name, h.name) for h in table.handler)}
            for handler in capture.handler:
                if (capture.name, handler.name) in running:
                    raise ExceptionGroup(
                        "the handler cannot be started",
                        [ConfigError(f"capture {capture.name!r} has a handler {handler.name!r} already")],
                    )
            other = next((table for table in self.captures() if table.name == capture.name), None)
            if other is not None and (other.conn_type, other.address) != (capture.conn_type, capture.address):
                raise ExceptionGroup(
                    "the handler cannot be started", [ConfigError(f"capture {capture.name!r} has another address")]
                )
            await self._change(self.changes.adding(capture))

    async def stop(self, name: str) -> int:
        """Stop every handler of that name; a socket without handlers is closed. Waits until their files are finished.

        Returns:
            How many handlers were stopped.

        Raises:
            trio.TooSlowError: they are stopped, and their files are not finished after `FINISH_TIMEOUT_S`.
            Exception: why not; nothing has changed.

        Cancellation: they are stopped or not, and files are finished all the same.
        """
        async with self._lock:
            keys = self.find(name)
            over = await self._stop(keys)
        await _wait_for(over)
        return len(keys)

    async def stop_socket(self, conn_type: str, address: tuple[str, int]) -> int:
        """Stop all handlers at an address; as `stop`."""
        async with self._lock:
            keys = [
                (table.name, handler.name)
                for table in self.captures()
                if table.conn_type == conn_type and table.address == address
                for handler in table.handler
            ]
            over = await self._stop(keys)
        await _wait_for(over)
        return len(keys)

    async def rotate(self, name: str) -> list[Segment]:
        """End the open segments of the handlers of that name; returns those that had one, finished.

        Raises:
            KeyError: there is no such handler.
            OSError: a segment cannot be finished.
        """
        keys = self.find(name)
        if not keys:
            raise KeyError(name)
        segments: list[Segment] = []
        for capture, handler in keys:
            for service in self._running():
                if service.find(handler, capture=capture):
                    segments += await service.rotate(handler, capture=capture)
        return segments

    async def _stop(self, keys: list[Key]) -> list[trio.Event]:
        """Stop handlers; returns what is set when they have ended."""
        over = [
            event
            for capture, handler in keys
            for service in self._running()
            for event in service.ending(handler, capture=capture)
        ]
        in_file = frozenset((table.name, handler.name) for table in self._configured() for handler in table.handler)
        if keys:
            await self._change(self.changes.stopping(keys, in_file=in_file))
        return over

    async def _change(self, changes: Changes) -> None:
        captures, _ = changes.merge(self._configured())
        if mistakes := mistakes_in_captures(captures, str(self._state_dir)):
            raise ExceptionGroup("the captures have mistakes", mistakes)
        _check_patterns(captures)
        before = self.changes
        await self._apply(changes)
        self.changes = changes
        try:
            await trio.to_thread.run_sync(write_changes, self._state_dir / FILE, changes)
        except OSError:
            self.changes = before
            with trio.CancelScope(shield=True):
                await self._apply(before)
            raise
        log.info("captures changed", handlers=sum(len(table.handler) for table in captures))


async def _wait_for(over: list[trio.Event]) -> None:
    with trio.fail_after(FINISH_TIMEOUT_S):
        for event in over:
            await event.wait()


def _check_types(capture: Capture) -> None:
    """What msgspec judges only when it converts: names, ranges, spellings.

    Raises:
        ExceptionGroup: of one `ConfigError`.
    """
    try:
        msgspec.convert(msgspec.to_builtins(capture, enc_hook=int), Capture, dec_hook=lambda kind, value: kind(value))
    except msgspec.ValidationError as exc:
        raise ExceptionGroup("the capture has a mistake", [ConfigError(str(exc))]) from exc


def _check_patterns(captures: Sequence[Capture]) -> None:
    """Names that could become too long, and folders that are not absolute.

    Raises:
        ExceptionGroup: of `ConfigError`.
    """
    mistakes = []
    for table in captures:
        for handler in table.handler:
            try:
                pattern_of(handler)
            except ValueError as exc:
                mistakes.append(ConfigError(f"handler {table.name}/{handler.name}: {exc}"))
    if mistakes:
        raise ExceptionGroup("the captures have mistakes", mistakes)
