"""What is in a store: values and when they expire, by key, all in Broker's binary format."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator

__all__ = ["Content", "Entry", "Frozen"]

Entry = tuple[bytes, int | None]
"""A value, and when its time is over: nanoseconds since the epoch, or None."""


class Frozen:
    """Keys and values as they were at one moment. Made at once, however many they are."""

    __slots__ = ("_entries",)

    def __init__(self, entries: dict[bytes, Entry]) -> None:
        self._entries = entries

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, pair: object) -> bool:
        return any(pair == each for each in self)

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        return ((key, entry[0]) for key, entry in self._entries.items())


class Content:
    """See the module. Keys are `canonical`.

    Args:
        entries: to begin with: key, value, expiry.
    """

    def __init__(self, entries: Iterable[tuple[bytes, bytes, int | None]] = ()) -> None:
        self._entries: dict[bytes, Entry] = {key: (value, expiry_ns) for key, value, expiry_ns in entries}
        self._deadlines = [(expiry_ns, key) for key, (_, expiry_ns) in self._entries.items() if expiry_ns is not None]
        heapq.heapify(self._deadlines)
        self.size = sum(len(key) + len(entry[0]) for key, entry in self._entries.items())
        """Bytes of keys and values."""

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

    def frozen(self) -> Frozen:
        """The same for many of them: they are not touched here and now."""
        return Frozen(self._entries.copy())

    def put(self, key: bytes, value: bytes, expiry_ns: int | None) -> None:
        before = self._entries.get(key)
        self.size += len(value) - len(before[0]) if before is not None else len(key) + len(value)
        self._entries[key] = (value, expiry_ns)
        if expiry_ns is not None:
            heapq.heappush(self._deadlines, (expiry_ns, key))
            if len(self._deadlines) > 64 + 4 * len(self._entries):
                self._weed()

    def erase(self, key: bytes) -> bool:
        """Whether it was there."""
        before = self._entries.pop(key, None)
        if before is None:
            return False
        self.size -= len(key) + len(before[0])
        return True

    def clear(self) -> None:
        self._entries.clear()
        self._deadlines.clear()
        self.size = 0

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
                self.erase(key)
                expired.append(key)
        return expired

    def _weed(self) -> None:
        """Most deadlines are of values that were put again since."""
        self._deadlines = [(entry[1], key) for key, entry in self._entries.items() if entry[1] is not None]
        heapq.heapify(self._deadlines)
