"""The file systems that we write to. Looked at in a thread, and not waited for: a disk that is away answers nobody."""

from __future__ import annotations

import os
from collections.abc import Iterable

import trio

from .exposition import PREFIX, Metric, Page, make_labels

__all__ = ["METRICS", "Disks"]

PATIENCE_S = 1.0
MAX_FOLDERS = 64

_SIZE = Metric(f"{PREFIX}filesystem_size_bytes", "gauge", "Size of the file system of a folder that we write to.")
_FREE = Metric(f"{PREFIX}filesystem_available_bytes", "gauge", "What we may still write there.")

METRICS = (_SIZE, _FREE)


def _look(folders: Iterable[str]) -> list[tuple[str, os.statvfs_result]]:
    found = []
    for folder in folders:
        try:
            found.append((folder, os.statvfs(folder)))
        except OSError:
            continue  # not made yet, or away: there is nothing to tell
    return found


class Disks:
    """See the module. While one look takes for ever there is no other."""

    def __init__(self) -> None:
        self._limiter = trio.CapacityLimiter(1)

    async def add(self, page: Page, folders: Iterable[str]) -> None:
        """Add what is known of the file systems of `folders`; what is not told within `PATIENCE_S` is left out.

        Cancellation: the thread is left alone.
        """
        chosen = list(dict.fromkeys(folders))[:MAX_FOLDERS]
        found: list[tuple[str, os.statvfs_result]] = []
        with trio.move_on_after(PATIENCE_S):
            found = await trio.to_thread.run_sync(_look, chosen, abandon_on_cancel=True, limiter=self._limiter)
        for folder, disk in found:
            labels = make_labels({"directory": folder}, page.labels)
            page.add(_SIZE, labels, disk.f_blocks * disk.f_frsize)
            page.add(_FREE, labels, disk.f_bavail * disk.f_frsize)
