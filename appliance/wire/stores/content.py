"""What is in a store: values and when they expire, by key, all in Broker's binary format."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator

__all__ = ["Content", "Entry"]

Entry = tuple[bytes, int | None]
"""A value, and when its time is over: nanoseconds since the epoch, or None."""


class Content:
    """See the module. Keys are `canonical`.

    Args:
        entries: to begin with: key, value, expiry.
    """

    def __init__(self, entries: Iterable[tuple[bytes, bytes, int | None]] = ()) -> None:
        self._entries: dict[bytes, Entry] = {key: (value, expiry_ns) for key, value, expiry_ns in entries}
        self._deadlines = [(expiry_ns, key) for key, (_, expiry_ns) in self._entries.items() if expiry_ns is not None]
        heapq.heapify(self._deadlines)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: bytes) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._entries)

    def get(self, key: bytes) -> bytes | None:
        entry = self._entries.get(key)
        return None if entry is None else entry[0]

    def expiry_ns(self, key: bytes) -> int | None:
        return self._entries[key][1]

    def pairs(self) -> tuple[tuple[bytes, bytes], ...]:
        """Keys and values."""
        return tuple([(key, entry[0]) for key, entry in self._entries.items()])

    def put(self, key: bytes, value: bytes, expiry_ns: int | None) -> None:
        self._entries[key] = (value, expiry_ns)
        if expiry_ns is not None:
            heapq.heappush(self._deadlines, (expiry_ns, key))
            if len(self._deadlines) > 64 + 4 * len(self._entries):
                self._weed()

    def erase(self, key: bytes) -> bool:
        """Whether it was there."""
        return self._entries.pop(key, None) is not None

    def clear(self) -> None:
        self._entries.clear()
        self._deadlines.clear()

    @property
    def next_expiry_ns(self) -> int | None:
        """When there is something to expire, at the earliest."""
        return self._deadlines[0][0] if self._deadlines else None

    def expire(self, now_ns: int) -> list[bytes]:
        """Remove what is over; returns the keys."""
        expired = []
        while self._deadlines and self._deadlines[0][0] <= now_ns:
            due_ns, key = heapq.heappop(self._deadlines)
            entry = self._entries.get(key)
            if entry is not None and entry[1] == due_ns:
                del self._entries[key]
                expired.append(key)
        return expired

    def _weed(self) -> None:
        """Most deadlines are of values that were put again since."""
        self._deadlines = [(entry[1], key) for key, entry in self._entries.items() if entry[1] is not None]
        heapq.heapify(self._deadlines)
