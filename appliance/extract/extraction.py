"""The packets of a query out of many sources, as one PCAP in the order of time. Blocks; memory is bounded.

A source is opened when its first packet may be the next one, and closed when it has ended. Only the parts of it that
its index points to are read, each packet there is checked, and all of that is done by the block, in C.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from appliance.errors import ApplianceError, ConfigError
from appliance.native import (
    SNAPLEN_MAX,
    Extent,
    MergeCounts,
    MergeEnd,
    PcapFormat,
    PcapMerge,
    SegmentIndex,
    compile_filter,
    make_file_header,
)
from appliance.pcap.write import new_file
from appliance.runtime.packets import Gap, OpenSource, Source

from .query import Query
from .report import Flaw, Report

__all__ = ["Extraction", "plan"]

_HEADER_BYTES = 24
_NEVER_NS = (1 << 64) - 1


def plan(query: Query, sources: Iterable[Source]) -> list[Source]:
    """Those that may have packets in the query's time, in the order in which they are to be opened."""

    def is_wanted(source: Source) -> bool:
        return source.first_ns <= query.to_ns and (source.is_growing or source.last_ns >= query.from_ns)

    return sorted(filter(is_wanted, sources), key=lambda source: source.first_ns)


class Extraction:
    """See the module. Iterated once: blocks of bytes, the first one begins with the file's header.

    A block may be empty: so often there is a chance to stop or to tell about the progress, every 4 MiB that are read.

    Args:
        query: what is wanted.
        sources: where it may be, all of one link type.
        gaps: what is known to be missing in the query's time.
        max_bytes: the PCAP is no larger.
        progress: is told how many sources, of how many, are done.

    Raises:
        ConfigError: the query's expression is none.
        ApplianceError: the sources have different link types, or libpcap is needed and not installed.
    """

    def __init__(
        self,
        query: Query,
        sources: Iterable[Source],
        gaps: Sequence[Gap] = (),
        *,
        max_bytes: int | None = None,
        progress: Callable[[float, int], object] | None = None,
    ) -> None:
        self._query = query
        self._flow_query = query.flow_query()
        self._waiting = deque(plan(query, sources))
        self._total = len(self._waiting)
        linktypes = {source.linktype for source in self._waiting}
        if len(linktypes) > 1:
            told = ", ".join(map(str, sorted(linktypes)))
            raise ApplianceError(
                f"the packets have different link types ({told}), and one PCAP holds one only",
                hint="ask for one recorder, or for another time",
            )
        self._linktype = linktypes.pop() if linktypes else 1
        room = _NEVER_NS if max_bytes is None else max(max_bytes - _HEADER_BYTES, 0)
        self._merge = PcapMerge(self._flow_query, filter=self._compile(), max_bytes=room)
        self._counts: MergeCounts | None = None
        """When all is done."""
        self._open: dict[int, tuple[Source, ExitStack]] = {}
        self._gaps = [gap for gap in gaps if gap.from_ns <= query.to_ns and gap.to_ns >= query.from_ns]
        self._flaws: list[Flaw] = []
        self._unindexed = self._skipped = self._opened = self._to_read = 0
        self._progress = progress

    def _compile(self) -> bytes:
        if not self._query.bpf:
            return b""
        try:
            return compile_filter(self._query.bpf, linktype=self._linktype)
        except ValueError as exc:
            raise ConfigError(str(exc), key="bpf") from None

    def __iter__(self) -> Iterator[bytes]:
        yield make_file_header(PcapFormat.PCAP, snaplen=SNAPLEN_MAX, linktype=self._linktype)
        try:
            yield from self._blocks()
        finally:
            self._counts = self._merge.counts()
            for _, stack in self._open.values():
                stack.close()
            self._open = {}
            self._merge.close()

    def write(self, path: Path) -> Path:
        """Write the PCAP to a new file, which appears when it is complete, under that name or the next free one.

        Raises:
            ApplianceError: the disk says no.
        """
        with new_file(path) as file:
            for block in self:
                file.write([block])
        return file.path

    @property
    def read_bytes(self) -> int:
        """What was read of the sources so far."""
        return (self._merge.counts() if self._counts is None else self._counts).read_bytes

    @property
    def report(self) -> Report:
        """What was given so far, and what is missing."""
        counts = self._merge.counts() if self._counts is None else self._counts
        gaps, cutoff_packets = Report.split_cutoff(self._gaps)
        return Report(
            packets=counts.packets,
            bytes=_HEADER_BYTES + counts.bytes,
            first_ns=counts.first_ns if counts.packets else None,
            last_ns=counts.last_ns if counts.packets else None,
            linktype=self._linktype,
            sources=self._total,
            read_packets=counts.read_packets,
            read_bytes=counts.read_bytes,
            unindexed=self._unindexed,
            is_capped=self._merge.is_full,
            gaps=gaps,
            cutoff_packets=cutoff_packets,
            flaws=tuple(self._flaws),
        )

    # ── sources ──

    def _blocks(self) -> Iterator[bytes]:
        merge, waiting = self._merge, self._waiting
        while True:
            block = merge.read(waiting[0].first_ns if waiting else _NEVER_NS)
            for end in merge.ended():
                self._close(end)
            if block is not None:
                yield block
            elif merge.is_full or not waiting:
                break
            else:
                self._open_next()
            if self._progress:
                self._progress(self._done(), self._total)

    def _done(self) -> float:
        """Sources done with, and how much of those that were opened."""
        read = self._merge.counts().read_bytes
        return self._skipped + self._opened * (min(1.0, read / self._to_read) if self._to_read else 1.0)

    def _open_next(self) -> None:
        source = self._waiting.popleft()
        stack = ExitStack()
        try:
            opened = stack.enter_context(source.open())
            extents = self._look_up(opened, source)
            if extents == [] or (source.is_growing and _size(opened) < _HEADER_BYTES):
                stack.close()
                self._skipped += 1
                return
            number, linktype = self._merge.add(opened.pcap_fd, extents)
        except (OSError, ValueError) as exc:
            stack.close()
            if isinstance(exc, OSError) and exc.errno in (errno.EMFILE, errno.ENFILE, errno.ENOSPC):
                raise ApplianceError(f"cannot read {source}: {exc.strerror}") from exc
            self._skipped += 1
            is_gone = isinstance(exc, FileNotFoundError)
            self._miss(source, "deleted" if is_gone else "damaged", getattr(exc, "strerror", None) or str(exc))
            return
        if linktype != self._linktype:
            stack.close()
            raise ApplianceError(f"{source}: its link type is {linktype}, and not {self._linktype}")
        self._opened += 1
        self._to_read += _size(opened) if extents is None else _HEADER_BYTES + sum(each.length for each in extents)
        self._open[number] = (source, stack)

    def _look_up(self, opened: OpenSource, source: Source) -> list[Extent] | None:
        """The parts to read; None: all of it."""
        if opened.index_fd is not None:
            try:
                index = SegmentIndex(opened.index_fd)
                info = index.info()
                # What is packed need not be unpacked to know its size: it was finished, so the index covers it.
                size = info.pcap_bytes if getattr(opened, "is_packed", False) else _size(opened)
                extents = index.lookup(self._flow_query, size)
                index.close()
            except (OSError, ValueError) as exc:
                self._flaws.append(Flaw(str(source), f"its index cannot be used: {exc}"))
            else:
                return extents
        self._unindexed += 1
        return None if opened.pcap_bytes is None else [Extent(_HEADER_BYTES, opened.pcap_bytes - _HEADER_BYTES)]

    def _close(self, end: MergeEnd) -> None:
        source, stack = self._open.pop(end.number)
        stack.close()
        if end.error:
            self._miss(source, "damaged", f"cannot be read: {os.strerror(end.error)}")
        elif end.damaged or (end.torn and not source.is_growing):
            self._miss(source, "damaged", "the end of a packet is missing, or what stands there is none")

    def _miss(self, source: Source, reason: str, what: str) -> None:
        first_ns, last_ns = max(source.first_ns, self._query.from_ns), min(source.last_ns, self._query.to_ns)
        self._gaps.append(Gap(first_ns, max(first_ns, last_ns), reason))
        self._flaws.append(Flaw(str(source), what))


def _size(opened: OpenSource) -> int:
    return os.fstat(opened.pcap_fd).st_size if opened.pcap_bytes is None else opened.pcap_bytes
