"""The index of PCAP segments: written beside them, looked up, and made again from any PCAP."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any, NamedTuple

from appliance._native import ffi, lib
from appliance.native.flows import FlowKey, FlowQuery, FlowTable, FlowTotals, Seen, fill_packets, make_key
from appliance.native.handles import Owner, fail, opened

__all__ = [
    "Extent",
    "SegmentCounts",
    "SegmentFlow",
    "SegmentIndex",
    "SegmentIndexWriter",
    "SegmentInfo",
    "index_pcap",
]

_ALL = (1 << 64) - 1


class Extent(NamedTuple):
    """A part of a PCAP file that begins and ends between records."""

    offset: int
    length: int


class SegmentCounts(NamedTuple):
    """What a writer has got of its segment."""

    packets: int
    unindexed: int
    """Packets of flows that were too many; they are found, but less exactly."""
    first_ns: int
    last_ns: int
    pcap_bytes: int
    """Where the last record ends."""
    flows: int
    chunks: int


class SegmentInfo(NamedTuple):
    """What an index says about its segment. A journal knows the link type and seed only."""

    linktype: int
    community_seed: int
    flows: int
    chunks: int
    pcap_bytes: int
    packets: int
    unindexed: int
    first_ns: int
    last_ns: int
    is_complete: int
    """0: it is the journal of a growing segment."""


class SegmentFlow(NamedTuple):
    """A flow of a segment and its counts there."""

    key: FlowKey
    totals: FlowTotals


class SegmentIndexWriter(Owner):
    """Collects the index of one segment after another.

    Memory and file are bounded, see `native/segment_index.h`. Finishing takes some 0.1 s for 65,000 flows in 1 GiB,
    without the GIL: two writers in turn let it run in a thread beside the next segment.

    Args:
        max_flows: of a segment, 64 to 2**24; 104 bytes each when they come.

    Raises:
        ValueError: a limit is out of range.
        MemoryError: there is not enough memory for it.
    """

    def __init__(self, max_flows: int = 1 << 18) -> None:
        out = ffi.new("struct segidx_writer **")
        error = lib.segidx_writer_open(max_flows, out)
        super().__init__(opened("SegmentIndexWriter", error, out, lib.segidx_writer_close))

    def begin(self, linktype: int, community_seed: int = 0) -> None:
        """Begin a segment; the one before is forgotten."""
        lib.segidx_begin(self.open_handle, linktype, community_seed)

    def add(self, table: FlowTable, linktype: int, packets: list[Seen], offset: int) -> int:
        """Track and post packets one by one; for tools and tests, as the recorder does this in C by the block.

        Args:
            table: where their flows are counted.
            linktype: as it was given to `begin`.
            packets: whose records follow each other in the PCAP.
            offset: where the first record begins.

        Returns:
            Where the last record ends.
        """
        views, hits, _kept = fill_packets(packets)
        lib.flow_table_track(table.open_handle, linktype, views, len(hits), hits)
        for view, hit in zip(views, hits, strict=True):
            end = offset + 16 + view.caplen
            handle = ffi.addressof(hit)
            lib.segidx_post(self.open_handle, table.open_handle, handle, view.ts_ns, view.wire_len, offset, end)
            offset = end
        return offset

    def counts(self) -> SegmentCounts:
        """What came since `begin`."""
        out = ffi.new("struct segidx_counts *")
        lib.segidx_get_counts(self.open_handle, out)
        return _counts(out)

    def journal(self, fd: int, pcap_bytes: int = _ALL) -> None:
        """Append what was completed since the last call, for readers of the growing segment. Blocks, without the GIL.

        Args:
            fd: of a file that is empty at the first call for a segment.
            pcap_bytes: how much of the PCAP a reader finds; what ends behind it is left out until then.

        Raises:
            OSError: the write failed; so do all further calls for this segment.
        """
        _check(lib.segidx_journal(self.open_handle, fd, pcap_bytes))

    def finish(self, fd: int, pcap_bytes: int = _ALL) -> None:
        """Write the index to an empty file. Blocks, without the GIL.

        Args:
            fd: of the file.
            pcap_bytes: how much of the PCAP there is if a write of it failed; what lies behind it is left out, but
                stays in the counts of flows that had packets before it.

        Raises:
            OSError: the write failed.
            MemoryError: there is not enough memory to sort it.
        """
        _check(lib.segidx_finish(self.open_handle, fd, pcap_bytes))


class SegmentIndex(Owner):
    """An index or a journal that is looked up.

    Args:
        fd: readable; stays the caller's and must outlive the object.

    Raises:
        ValueError: it is damaged, of another version, or something else: index the PCAP again.
        OSError: it cannot be read.
    """

    def __init__(self, fd: int) -> None:
        out = ffi.new("struct segidx_reader **")
        error = lib.segidx_reader_open(fd, out)
        _check(error)
        super().__init__(opened("SegmentIndex", error, out, lib.segidx_reader_close))

    def info(self) -> SegmentInfo:
        """What it says about the segment."""
        out = ffi.new("struct segidx_info *")
        lib.segidx_get_info(self.open_handle, out)
        return SegmentInfo(*(getattr(out, field) for field in SegmentInfo._fields))

    def lookup(self, query: FlowQuery, pcap_bytes: int) -> list[Extent]:
        """Which parts of the PCAP to read: they hold every wanted packet, and others. Blocks, without the GIL.

        Args:
            query: what is wanted.
            pcap_bytes: the present size of the PCAP. What the index does not cover counts as wanted.

        Raises:
            ValueError: the index is damaged.
            OSError: it cannot be read.
        """
        out, n = ffi.new("struct segidx_extent **"), ffi.new("size_t *")
        _check(lib.segidx_lookup(self.open_handle, query.fill(), pcap_bytes, out, n))
        extents = ffi.gc(out[0], lib.segidx_free_extents)
        return [Extent(extents[i].offset, extents[i].bytes) for i in range(n[0])]

    def flows(self, query: FlowQuery, limit: int = 1000) -> tuple[list[SegmentFlow], int]:
        """At most `limit` of the wanted flows, and how many there are. Blocks, without the GIL.

        A flow counts whose first or last packet, or the time between, is in the query's time.

        Raises:
            ValueError: the index is damaged, or it is a journal.
            OSError: it cannot be read.
        """
        out, n = ffi.new("struct segidx_flow[]", limit), ffi.new("size_t *")
        _check(lib.segidx_find_flows(self.open_handle, query.fill(), out, limit, n))
        return [_flow(out[i]) for i in range(min(limit, n[0]))], int(n[0])


def index_pcap(
    path: Path,
    out: Path,
    *,
    table: FlowTable | None = None,
    writer: SegmentIndexWriter | None = None,
    community_seed: int = 0,
) -> SegmentCounts:
    """Index a PCAP file; `out` appears whole or not at all. Blocks, without the GIL.

    Args:
        path: the PCAP; a torn end is left out.
        out: where the index goes, with the PCAP's mode; an older one is replaced.
        table: to use and go on counting in; None: one of its own.
        writer: to use; None: one of its own.
        community_seed: of the Community IDs that lookups will use.

    Raises:
        ValueError: it is no PCAP file.
        OSError: it cannot be read, or the index not written.
        MemoryError: there is not enough memory.
    """
    table, writer = table or FlowTable(), writer or SegmentIndexWriter()
    counts = ffi.new("struct segidx_counts *")
    part = out.with_name(out.name + ".part")
    try:
        with path.open("rb") as pcap, part.open("wb") as file:
            # It tells who talked with whom: for those who may read the packets.
            os.fchmod(file.fileno(), stat.S_IMODE(os.fstat(pcap.fileno()).st_mode))
            handles = (writer.open_handle, table.open_handle)
            _check(lib.segidx_index_pcap(*handles, community_seed, pcap.fileno(), file.fileno(), counts))
            os.fsync(file.fileno())
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return _counts(counts)


def _check(error: int) -> None:
    if error == errno.EBADMSG:
        raise ValueError("damaged, or not what it should be")
    if error == errno.EOPNOTSUPP:
        raise ValueError("a journal does not list flows")
    if error == errno.ENOMEM:
        raise MemoryError("no memory")
    if error:
        fail(error)


def _counts(out: Any) -> SegmentCounts:
    return SegmentCounts(*(getattr(out, field) for field in SegmentCounts._fields))


def _flow(flow: Any) -> SegmentFlow:
    pairs = (tuple(flow.packets), tuple(flow.bytes), tuple(flow.wire_bytes))
    return SegmentFlow(make_key(flow.key), FlowTotals(flow.first_ns, flow.last_ns, *pairs))
