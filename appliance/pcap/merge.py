"""Several capture files as one stream of packets in the order of time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from heapq import heappop, heappush, heapreplace
from pathlib import Path
from typing import NamedTuple

from .reader import CaptureReader, Packet

__all__ = ["Flaw", "Merge"]


class Flaw(NamedTuple):
    """A file that could not be read to its end."""

    path: Path
    torn: int
    """Bytes after the last whole record."""
    damage: str


class Merge:
    """Merges files by time. Within one file the order is kept, also where it is not that of time.

    A file is open only from the time of its first packet to its last one, so that many files which follow each other
    cost no more than one.

    Args:
        paths: the files.
        from_ns: leave out what is earlier.
        to_ns: leave out this time and what is later.
        progress: as in `CaptureReader`.

    Raises:
        ApplianceError: one of them cannot be read, or is no capture file.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        from_ns: int | None = None,
        to_ns: int | None = None,
        progress: Callable[[int], object] = lambda _: None,
    ) -> None:
        self.flaws: list[Flaw] = []
        """Of the files that were read to their end."""
        self._range = from_ns, to_ns
        self._progress = progress
        found = [_first(path, number) for number, path in enumerate(paths)]
        self.linktypes = {linktype for _, _, _, linktypes in found for linktype in linktypes}
        """Those of the files' first blocks."""
        self._waiting = deque(sorted((first, number, path) for first, number, path, _ in found))

    def packets(self) -> Iterator[Packet]:
        """The packets, once. Closing the generator closes the files."""
        heap: list[tuple[Packet, Generator[Packet, None, None]]] = []
        try:
            while heap or self._waiting:
                while self._waiting and (not heap or self._waiting[0][0] <= heap[0][0].ts_ns):
                    _, number, path = self._waiting.popleft()
                    source = self._read(path, number)
                    if (packet := next(source, None)) is not None:
                        heappush(heap, (packet, source))
                if heap:
                    packet, source = heap[0]
                    yield packet
                    if (packet := next(source, None)) is not None:
                        heapreplace(heap, (packet, source))
                    else:
                        heappop(heap)
        finally:
            for _, source in heap:
                source.close()

    def _read(self, path: Path, number: int) -> Generator[Packet, None, None]:
        with CaptureReader(path, number=number, progress=self._progress) as reader:
            yield from reader.packets(*self._range)
            if reader.torn or reader.damage:
                self.flaws.append(Flaw(path, reader.torn, reader.damage))


def _first(path: Path, number: int) -> tuple[int, int, Path, set[int]]:
    """Time of the first packet, 0 if there is none; the number and path; the link types seen so far."""
    with CaptureReader(path, number=number) as reader:
        packet = next(reader.packets(), None)
        return packet.ts_ns if packet else 0, number, path, {each.linktype for each in reader.interfaces}
