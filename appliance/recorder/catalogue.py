"""The finished segments of a recorder, the oldest first; and which of them go so that the disk holds what it should."""

from __future__ import annotations

import bisect
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from appliance.extract.names import PCAP, ZST, SegmentName, index_of

__all__ = ["Catalogue", "Entry"]


class Entry(NamedTuple):
    """A finished segment, ordered by time."""

    first_ns: int
    path: Path
    last_ns: int
    """The file's own time, which whoever finishes it sets so."""
    size: int
    """Bytes on the disk, with the index."""


class Catalogue:
    """See the module; for any thread. What blocks says so.

    Args:
        directory: where they are.
        recorder: whose they are.
    """

    def __init__(self, directory: Path, recorder: str) -> None:
        self._directory, self._recorder = directory, recorder
        self._lock = threading.Lock()
        self._entries: list[Entry] = []
        self.bytes = 0
        """Of all."""
        self.deleted_files = self.deleted_bytes = 0
        """To make room."""

    def entries(self) -> list[Entry]:
        """All, the oldest first."""
        with self._lock:
            return list(self._entries)

    @property
    def oldest(self) -> Entry | None:
        with self._lock:
            return self._entries[0] if self._entries else None

    @property
    def newest(self) -> Entry | None:
        with self._lock:
            return self._entries[-1] if self._entries else None

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, path: Path) -> Entry | None:
        """There is a new one; None if it has gone already. Blocks."""
        entry = self._look(path)
        if entry is not None:
            with self._lock:
                at = bisect.bisect_left(self._entries, (entry.first_ns, path))
                if at < len(self._entries) and self._entries[at].path == path:  # a scan was quicker
                    self.bytes -= self._entries.pop(at).size
                self._entries.insert(at, entry)
                self.bytes += entry.size
        return entry

    def remove(self, path: Path) -> None:
        """That one has another name now, or none."""
        with self._lock:
            gone = [entry for entry in self._entries if entry.path == path]
            self._entries = [entry for entry in self._entries if entry.path != path]
            self.bytes -= sum(entry.size for entry in gone)

    def scan(self) -> list[Entry]:
        """Compare with the disk; returns those that somebody else has removed. Blocks.

        Raises:
            OSError: the directory cannot be read, for another reason than that there is none.
        """
        before = {entry.path: entry for entry in self.entries()}
        found = {path: entry for path in self._list() if (entry := self._look(path)) is not None}
        with self._lock:
            # What was finished meanwhile is newer than the look at the disk.
            fresh = [entry for entry in self._entries if entry.path not in before and entry.path not in found]
            self._entries = sorted([*found.values(), *fresh])
            self.bytes = sum(entry.size for entry in self._entries)
        return [entry for path, entry in before.items() if path not in found]

    def _list(self) -> list[Path]:
        try:
            names = [path.name for path in self._directory.iterdir()]
        except FileNotFoundError:
            return []
        found = []
        for name in names:
            parsed = SegmentName.parse(name) if name.endswith((PCAP, PCAP + ZST)) else None
            if parsed is not None and parsed.recorder == self._recorder:
                found.append(self._directory / name)
        return found

    def _look(self, path: Path) -> Entry | None:
        name = SegmentName.parse(path.name)
        try:
            status = path.lstat()
        except FileNotFoundError:
            return None
        try:
            index_bytes = index_of(path).lstat().st_size
        except FileNotFoundError:
            index_bytes = 0
        first_ns = name.time_ns if name is not None else status.st_mtime_ns
        return Entry(first_ns, path, max(first_ns, status.st_mtime_ns), status.st_size + index_bytes)

    def enforce(self, room: Callable[[int], int], growing: int) -> list[Entry]:
        """Remove the oldest, exactly as many as it takes; returns them. Blocks.

        Args:
            room: from the bytes that are used to those that may be.
            growing: bytes of the segments that are being written, which stay.

        Raises:
            OSError: one cannot be removed, or the disk not be looked at; those before it are gone.
        """
        gone: list[Entry] = []
        limit = room(self.bytes + growing)
        while self.bytes + growing > limit and (entry := self.oldest) is not None:
            self._delete(entry.path)
            self.remove(entry.path)
            self.deleted_files += 1
            self.deleted_bytes += entry.size
            gone.append(entry)
        return gone

    def _delete(self, path: Path) -> None:
        # The packets first: an index without them is nothing, which the next start removes.
        path.unlink(missing_ok=True)
        index_of(path).unlink(missing_ok=True)
