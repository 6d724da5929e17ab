"""The newest packets of one ring in memory, for those who ask in time."""

from __future__ import annotations

import contextlib
import errno
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import NamedTuple, TypeVar

from appliance.native import MemoryRing, MemorySegment, RingOutput, RingTap

__all__ = ["MemoryShelf", "MemorySource", "OpenMemory"]

SEGMENT_BYTES = 16 << 20
"""Of each segment of the ring, if that does not make them too few."""
SEGMENTS = 8
_T = TypeVar("_T")


class OpenMemory(NamedTuple):
    """A segment in memory, while it is held."""

    pcap_fd: int
    index_fd: int | None
    pcap_bytes: int
    """Behind them are packets of the segment before in the same memory."""


class MemorySource:
    """A segment in memory. A `Source`, for any thread but that of the ring.

    Args:
        shelf: that has it.
        found: as it was.
        linktype: of the packets.
        is_growing: it is being written.
    """

    def __init__(self, shelf: MemoryShelf, found: MemorySegment, *, linktype: int, is_growing: bool) -> None:
        self._shelf, self._found = shelf, found
        self.first_ns, self.last_ns = found.segment.first_ns, found.segment.last_ns
        self.linktype, self.is_growing = linktype, is_growing

    def __str__(self) -> str:
        return f"memory of ring {self._shelf.number}"

    @contextlib.contextmanager
    def open(self) -> Iterator[OpenMemory]:
        """Hold it: it is not overwritten meanwhile, and its memory comes in addition. Blocks for a moment.

        Raises:
            FileNotFoundError: it was overwritten.
        """
        with self._shelf.hold(self._found) as segment:
            yield OpenMemory(segment.fd, segment.index_fd if segment.index_fd >= 0 else None, segment.bytes)


class MemoryShelf:
    """A `Shelf` in memory.

    Args:
        number: of the ring.
        size: bytes.
        tap: of the ring; None: no index.
        linktype: of its packets.
        snaplen: of the ring.
        troubled: called when there is no memory.

    Raises:
        MemoryError: there is not enough memory.
    """

    reason = "memory"

    def __init__(
        self,
        number: int,
        size: int,
        *,
        tap: RingTap | None,
        linktype: int,
        snaplen: int,
        troubled: Callable[[Exception], None],
    ) -> None:
        self.number = number
        self._linktype, self._snaplen, self._troubled = linktype, snaplen, troubled
        segment_bytes = max(1 << 20, min(SEGMENT_BYTES, size // SEGMENTS))
        self._memory = MemoryRing(size, segment_bytes=segment_bytes, tap=tap)
        self.order: Callable[[Callable[[], None]], bool] = lambda _: False
        """Has something done in the ring's thread; False if that does not run."""
        self._lock = threading.Lock()
        """For those who look when it does not."""
        self._found: tuple[MemorySegment, ...] = ()
        self.output: RingOutput | None = None

    # ── from any thread ──

    def sources(self) -> list[MemorySource]:
        """Its segments as they were at the last look, the oldest first."""
        found = self._found
        return [
            MemorySource(self, each, linktype=self._linktype, is_growing=each is found[-1] and self.output is not None)
            for each in found
        ]

    @contextlib.contextmanager
    def hold(self, wanted: MemorySegment) -> Iterator[MemorySegment]:
        """Keep a segment from being overwritten; see `MemorySource.open`."""
        holding = contextlib.ExitStack()

        def enter() -> MemorySegment | None:
            found = holding.enter_context(self._memory.reading(wanted.fd))
            if found and found[0].segment.first_ns == wanted.segment.first_ns:
                return found[0]
            holding.close()
            return None

        segment = self._do(enter)
        if segment is None:
            raise FileNotFoundError(errno.ENOENT, "the segment in memory was overwritten")
        try:
            yield segment
        finally:
            self._do(holding.close)

    def _do(self, work: Callable[[], _T]) -> _T:
        """Something in the ring's thread, or if it does not run, here."""
        answer: Future[_T] = Future()

        def do() -> None:
            try:
                answer.set_result(work())
            except BaseException as exc:  # noqa: BLE001 - it belongs to whoever asked
                answer.set_exception(exc)

        if not self.order(do):
            with self._lock:
                do()
        return answer.result()

    # ── in the ring's thread ──

    def begin(self) -> None:
        """Open a segment if none is open."""
        if self.output is None:
            self.next()

    def next(self) -> None:
        self.output = None
        try:
            self.output = self._memory.begin(linktype=self._linktype, snaplen=self._snaplen)
        except (MemoryError, OSError) as exc:
            self._troubled(exc)
        self._look()

    def tick(self, now_ns: int, *, drops: int) -> None:  # noqa: ARG002 - a `Shelf`
        self.begin()
        self._look()

    def _look(self) -> None:
        with self._memory.reading() as found:
            self._found = tuple(each for each in found if each.segment.packets)

    def close(self) -> None:
        self._memory.end()
        self.output = None
        self._look()
