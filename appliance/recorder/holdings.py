"""What a recorder has at this moment: finished segments, growing ones, and memory. For any thread."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from appliance.extract.names import plain_of
from appliance.extract.sources import FileSource
from appliance.runtime.packets import Source

from .catalogue import Catalogue
from .group import Group
from .segment import GrowingSegment

__all__ = ["Holdings"]


class Holdings:
    """See the module.

    Args:
        catalogue: of the finished segments.
        group: the rings that run.
    """

    def __init__(self, catalogue: Catalogue, group: Callable[[], Group | None]) -> None:
        self._catalogue, self._group = catalogue, group
        self.linktype = 1
        """Of the interface, since it was first recorded."""

    def unfinished(self) -> list[GrowingSegment]:
        """Segments that grow, or wait to be finished."""
        group = self._group()
        return [segment for shelf in group.files for segment in list(shelf.unfinished)] if group is not None else []

    @property
    def growing_bytes(self) -> int:
        """Of those, as readers find them."""
        return sum(segment.bytes for segment in self.unfinished())

    @property
    def reserved_bytes(self) -> int:
        """That the disk holds for those, and for those to come, in addition. Blocks."""
        group = self._group()
        spares = [shelf.opener.spare for shelf in group.files] if group is not None else []
        return sum(segment.reserved for segment in [*self.unfinished(), *spares] if segment is not None)

    def sources(self) -> list[Source]:
        """Everything that has packets, the oldest first."""
        # In this order, for one that is finished meanwhile is then in both, and not in neither.
        growing = self.unfinished()
        found: dict[Path, Source] = {}
        for segment in growing:
            if (seen := segment.seen) is not None:
                times = {"first_ns": seen.first_ns, "last_ns": seen.last_ns}
                path = segment.path
                found[plain_of(path)] = FileSource(path, **times, linktype=segment.linktype, is_growing=True)
        for entry in self._catalogue.entries():
            source = FileSource(entry.path, first_ns=entry.first_ns, last_ns=entry.last_ns, linktype=self.linktype)
            found[plain_of(entry.path)] = source
        return sorted([*found.values(), *self._memory()], key=lambda source: source.first_ns)

    def _memory(self) -> list[Source]:
        group = self._group()
        return [source for shelf in group.memories for source in shelf.sources()] if group is not None else []

    @property
    def oldest_ns(self) -> int | None:
        """Time of the earliest packet; None if there is none."""
        times = [source.first_ns for source in self._memory()]
        if (oldest := self._catalogue.oldest) is not None:
            times.append(oldest.first_ns)
        times += [segment.seen.first_ns for segment in self.unfinished() if segment.seen is not None]
        return min(times, default=None)

    def forgotten(self, now_ns: int) -> tuple[int, int]:
        """What is neither on the disk nor in memory, if packets are in memory only: from when to when, both included.
        Segments on the disk are of a time when that was otherwise.
        """
        on_disk = [segment.seen.last_ns for segment in self.unfinished() if segment.seen is not None]
        if (newest := self._catalogue.newest) is not None:
            on_disk.append(newest.last_ns)
        group = self._group()
        shelves = [shelf.sources() for shelf in group.memories] if group is not None else []
        since_ns = max((sources[0].first_ns for sources in shelves if sources), default=now_ns + 1)
        return max(on_disk, default=-1) + 1, since_ns - 1

    @property
    def newest_ns(self) -> int | None:
        """Time of the latest packet; None if there is none."""
        times = [source.last_ns for source in self._memory()]
        if (newest := self._catalogue.newest) is not None:
            times.append(newest.last_ns)
        times += [segment.seen.last_ns for segment in self.unfinished() if segment.seen is not None]
        return max(times, default=None)
