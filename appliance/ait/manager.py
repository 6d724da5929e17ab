"""AIT's `StreamCaptureManager`: many sockets, each with many handlers, under the names that its users know.

What waits for a socket or a disk there is asynchronous here. Everything else has the same arguments and shapes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import trio

from appliance.capture.figures import CaptureFigures
from appliance.config import Capture, ConfigError
from appliance.model import Segment

from .own import OwnCaptures
from .shapes import config_data, key_of, stats_of
from .tables import make_capture, tell

__all__ = ["StreamCaptureManager"]

DEFAULT_ROOT = "/tmp"  # noqa: S108 - AIT's own default
Logger = tuple[str, Sequence[Any], str, str | None, Mapping[str, Any]]


class Captures(Protocol):
    """What starts and stops captures: `OwnCaptures`, or an appliance's `CaptureControl`."""

    def captures(self) -> Sequence[Capture]: ...

    def statistics(self) -> dict[str, CaptureFigures]: ...

    async def start(self, capture: Capture) -> None: ...

    async def stop(self, name: str) -> int: ...

    async def stop_socket(self, conn_type: str, address: tuple[str, int]) -> int: ...

    async def rotate(self, name: str) -> list[Segment]: ...


class StreamCaptureManager:
    """See the module.

    Args:
        mngr_conf: ``root_log_directory``, the folder of loggers that name none; the rest is not looked at.
        lgr_conf: loggers to begin with: name, address, connection type, folder or None, further keys.
        captures: a running appliance's captures, which then remembers what is started here; None: captures of the
            manager's own, which run in `run_socket_event_loop`, and are forgotten with it.
        legacy: lengths and rates as AIT's texts with units.

    Raises:
        ValueError: a logger is wrong; the text says how.
    """

    def __init__(
        self,
        mngr_conf: Mapping[str, Any],
        lgr_conf: Sequence[Logger],
        *,
        captures: Captures | None = None,
        legacy: bool = False,
    ) -> None:
        self._root = os.path.abspath(Path(mngr_conf.get("root_log_directory") or DEFAULT_ROOT).expanduser())  # noqa: PTH100
        self._own = OwnCaptures(Path(self._root)) if captures is None else None
        self._captures: Captures = captures or self._own  # type: ignore[assignment]  # one of the two is there
        self._legacy = legacy
        self._waiting = [self._table(*each[:4], **each[4]) for each in lgr_conf]

    def _table(
        self, name: str, address: Sequence[Any], conn_type: str, log_dir_path: str | None = None, **more: Any
    ) -> Capture:
        host, port = [*address, "", ""][:2]
        key = str([host or "", port])
        captures = (each for each in self._captures.captures() if (each.conn_type, key_of(each)) == (conn_type, key))
        known = next((each.name for each in captures), None)
        handler = {**more, "name": name, "log_dir": log_dir_path}
        stem = "-".join(str(part) for part in (conn_type, host, port) if part != "")
        safe = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in stem)[:60]
        return make_capture([handler], address, conn_type, name=known or safe, root=self._root)

    async def add_logger(
        self, name: str, address: Sequence[Any], conn_type: str, log_dir_path: str | None = None, **kwargs: Any
    ) -> None:
        """Add a handler: to the socket of that address, or with one of its own.

        Raises:
            ValueError: an argument is wrong, the address has such a handler, or another connection type.
            Exception: the socket cannot be opened; nothing has changed.
        """
        await self._begin()
        await self._start(self._table(name, address, conn_type, log_dir_path, **kwargs))

    def has_logger(
        self, name: str, address: Sequence[Any], conn_type: str, log_dir_path: str | None = None, **kwargs: Any
    ) -> bool:
        """Whether `add_logger` would add just what there is.

        Raises:
            ValueError: an argument is wrong.
        """
        wanted = self._table(name, address, conn_type, log_dir_path, **kwargs)
        return any(each.name == wanted.name and wanted.handler[0] in each.handler for each in self._all())

    async def _begin(self) -> None:
        """Hand on the loggers that the manager was made with."""
        while self._waiting:
            await self._start(self._waiting[0])
            del self._waiting[0]

    async def _start(self, capture: Capture) -> None:
        told = ""
        try:
            await self._captures.start(capture)
        except* ConfigError as group:
            told = tell(group)
        if told:
            raise ValueError(told)

    async def stop_capture_handler(self, name: str) -> int:
        """Stop every handler of that name and finish its files; a socket without handlers is closed.

        Returns:
            How many there were.
        """
        await self._begin()
        return await self._captures.stop(name)

    async def stop_stream_capturer(self, address: Sequence[Any]) -> int:
        """Close the socket of that address, and finish the files of its handlers.

        Returns:
            How many handlers it had.

        Raises:
            ValueError: there is none.
        """
        await self._begin()
        found = [each for each in self._captures.captures() if key_of(each) == str([address[0] or "", *address[1:]])]
        if not found:
            raise ValueError(f"no capturer for {list(address)}")
        return sum([await self._captures.stop_socket(each.conn_type, each.address) for each in found])

    async def rotate_capture_handler_log(self, name: str) -> list[Segment]:
        """End the files of every handler of that name.

        Returns:
            What became of those that were open: path, packets, bytes, first and last time.

        Raises:
            KeyError: there is no such handler.
            OSError: a file cannot be finished.
        """
        await self._begin()
        return await self._captures.rotate(name)

    # ── what there is ──

    def _figures(self, capture: Capture) -> CaptureFigures | None:
        """Those of the capture's socket, which another capture may have opened."""
        sockets = self._captures.statistics().values()
        return next((each for each in sockets if any(h.capture == capture.name for h in each.handlers)), None)

    def get_logger_data(self) -> dict[str, list[dict[str, Any]]]:
        """Text of the address → ``handler``, ``log_file_path``, ``conn_type``, ``address`` of each of its handlers."""
        data: dict[str, list[dict[str, Any]]] = {}
        for capture in self._all():
            data.setdefault(key_of(capture), []).extend(config_data(capture, self._figures(capture)))
        return data

    def get_handler_stats(self, *, legacy: bool | None = None) -> dict[str, list[dict[str, Any]]]:
        """Text of the address → figures of each of its handlers; see `appliance.ait.shapes.stats_of`.

        Args:
            legacy: as in the constructor, for this call.
        """
        is_legacy = self._legacy if legacy is None else legacy
        stats: dict[str, list[dict[str, Any]]] = {}
        for capture in self._all():
            stats.setdefault(key_of(capture), []).extend(stats_of(capture, self._figures(capture), legacy=is_legacy))
        return stats

    def get_capture_handler_config_by_name(self, name: str) -> list[dict[str, Any]]:
        """What `get_logger_data` has of the handlers of that name, over all sockets; empty if there is none."""
        return [each for found in self.get_logger_data().values() for each in found if each["handler"]["name"] == name]

    def _all(self) -> Sequence[Capture]:
        return [*self._captures.captures(), *self._waiting]

    # ── life ──

    async def run_socket_event_loop(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Capture until cancelled; with an appliance's captures only wait for that.

        Raises:
            Exception: a socket cannot be opened.

        Cancellation: files are finished; see `OwnCaptures.run`.
        """
        await self._begin()
        if self._own is None:
            task_status.started()
            await trio.sleep_forever()
        else:
            await self._own.run(task_status=task_status)
