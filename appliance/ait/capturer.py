"""AIT's `SocketStreamCapturer`: one socket and its handlers, under the names that its users know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import trio

from appliance.capture.capturer import SocketCapture
from appliance.config import Capture, CaptureGroup

from .own import DRAIN_S, make_surroundings
from .shapes import config_data, stats_of
from .tables import make_capture

__all__ = ["SocketStreamCapturer"]

Handlers = Mapping[str, Any] | Sequence[Mapping[str, Any]]


class _Watched(SocketCapture):
    """A capture that tells when packets have gone to its handlers."""

    def __init__(self, group: CaptureGroup, *, root: Path) -> None:
        super().__init__(group, around=make_surroundings(root))
        self.taken = 0
        self.more = trio.lowlevel.ParkingLot()

    def note_taken(self, count: int) -> None:
        super().note_taken(count)
        self.taken += count
        self.more.unpark_all()


class SocketStreamCapturer:
    """See the module. The socket is open while `socket_monitor_loop` runs.

    Args:
        capture_handlers: one dict or several; each needs ``name`` and has ``log_dir``, else files go to the working
            directory. They are not changed.
        address: ``[host, port]``, or ``[interface, protocol]``.
        conn_type: ``udp``, ``tcp`` or ``ethernet``.
        legacy: lengths and rates as AIT's texts with units.

    Raises:
        ValueError: an argument is wrong; the text says how.
    """

    def __init__(
        self, capture_handlers: Handlers, address: Sequence[Any], conn_type: str, *, legacy: bool = False
    ) -> None:
        handlers = [capture_handlers] if isinstance(capture_handlers, Mapping) else list(capture_handlers)
        self.address, self.conn_type = list(address), conn_type
        self._root = Path.cwd()
        self._legacy = legacy
        self._capture = self._table(handlers)
        self._service: _Watched | None = None
        self._seen = 0
        self._ended: trio.Event | None = None
        self._scope = trio.CancelScope()

    def _table(self, handlers: Sequence[Mapping[str, Any]]) -> Capture:
        return make_capture(handlers, self.address, self.conn_type, name=self.conn_type, root=str(self._root))

    @property
    def handler_count(self) -> int:
        """Number of handlers."""
        return len(self._capture.handler)

    async def add_handler(self, capture_handler: Mapping[str, Any]) -> None:
        """Add a handler; it gets what arrives from now on.

        Raises:
            ValueError: it is wrong, or there is one of its name.
        """
        (handler,) = self._table([capture_handler]).handler
        if any(each.name == handler.name for each in self._capture.handler):
            raise ValueError(f"there is a handler {handler.name!r} already")
        if self._service is not None:
            await self._service.add_handler(handler)
        self._keep(*self._capture.handler, handler)

    async def remove_handler(self, name: str) -> int:
        """Take the handler of that name off and finish its files; returns how many there were, 0 or 1."""
        kept = [each for each in self._capture.handler if each.name != name]
        count = self.handler_count - len(kept)
        self._keep(*kept)
        if count and self._service is not None:
            await self._service.remove_handler(name)
        return count

    def _keep(self, *handlers: Any) -> None:
        self._capture = msgspec.structs.replace(self._capture, handler=handlers)

    async def capture_packet(self) -> None:
        """Wait until one more packet has gone to the handlers than earlier calls have waited for.

        Raises:
            RuntimeError: `socket_monitor_loop` does not run.
        """
        service = self._service
        if service is None:
            raise RuntimeError("the socket is open only while socket_monitor_loop runs")
        await trio.lowlevel.checkpoint()
        while service.taken <= self._seen:
            await service.more.park()
        self._seen += 1

    async def socket_monitor_loop(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Open the socket and capture until `clean_up`.

        Raises:
            Exception: the socket cannot be opened, or failed.

        Cancellation: what is in no file is lost; `clean_up` first to lose nothing.
        """
        self._service = _Watched(CaptureGroup((self._capture,)), root=self._root)
        self._seen, self._ended, self._scope = 0, trio.Event(), trio.CancelScope()
        try:
            with self._scope:
                await self._service.run(task_status=task_status)
        finally:
            self._service = None
            self._ended.set()

    async def clean_up(self) -> None:
        """Write what has arrived, finish the files, close the socket; `socket_monitor_loop` ends.

        What a disk does not take within ten seconds is lost.
        """
        if self._service is None or self._ended is None:
            await trio.lowlevel.checkpoint()
            return
        self._service.stop()
        with trio.move_on_after(DRAIN_S):
            await self._ended.wait()
            return
        self._scope.cancel()
        await self._ended.wait()

    def dump_handler_config_data(self) -> list[dict[str, Any]]:
        """``handler``, ``log_file_path``, ``conn_type`` and ``address`` of each handler."""
        return config_data(self._capture, self._service.statistics() if self._service else None)

    def dump_all_handler_stats(self, *, legacy: bool | None = None) -> list[dict[str, Any]]:
        """Figures of each handler; see `appliance.ait.shapes.stats_of`. Empty while the socket is closed."""
        figures = self._service.statistics() if self._service else None
        return stats_of(self._capture, figures, legacy=self._legacy if legacy is None else legacy)
