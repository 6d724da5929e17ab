"""What looks at every packet of a `Ring`: counts its flow, cuts what is past the cutoff, indexes what is stored."""

from __future__ import annotations

import errno

from appliance._native import ffi, lib
from appliance.native.flows import FlowCounts, FlowKey, FlowTable, FlowTotals, fill_key, make_counts, make_totals
from appliance.native.handles import Owner, fail, opened
from appliance.native.ring_output import RingSegment
from appliance.native.segments import SegmentIndexWriter

__all__ = ["RingTap"]

_NEVER = (1 << 64) - 1


class RingTap(Owner):
    """The flow table of one ring, and the index of the segment that it fills. Give it to `Ring.attach`.

    For each segment: `begin` with a writer beside `RingOutput.begin`; `journal` from time to time; and when the output
    has finished the segment, `begin` with the next writer (or None) and only then `finish` with the former one, which
    may take its time in another thread while the ring goes on.

    Every method may be called from any thread while the ring runs, but for `begin` and `take`. They
    wait for a batch of 32 packets, some 0.1 ms, and longer where threads compete for processors.

    Args:
        table: of this ring alone, and used through the tap alone from now on; with its cutoff.
        community_seed: of the Community IDs that lookups will use, 0 to 65535.

    Raises:
        ValueError: the seed is out of range.
        MemoryError: there is not enough memory for it.
    """

    def __init__(self, table: FlowTable, *, community_seed: int = 0) -> None:
        if not 0 <= community_seed <= 0xFFFF:
            raise ValueError(f"the seed of Community IDs is a number of 16 bits: {community_seed}")
        self._seed = community_seed
        self._table = table.open_handle  # C has pointers to it and to the writer
        self._writer: object = None
        out = ffi.new("struct ring_index **")
        error = lib.ring_index_open(self._table, out)
        super().__init__(opened("RingTap", error, out, lib.ring_index_close))

    def begin(self, writer: SegmentIndexWriter | None, *, linktype: int) -> None:
        """From now on packets go into another segment. Between two runs of the ring only.

        Args:
            writer: of the new segment's index; it is begun here. None: flows are counted and cut, nothing is indexed.
            linktype: `Ring.linktype`.
        """
        if writer is not None:
            self.prepare(writer, linktype=linktype)
        self.take(writer)

    def prepare(self, writer: SegmentIndexWriter, *, linktype: int) -> None:
        """The first half of `begin`: make a writer that is not in use ready for `take`."""
        writer.begin(linktype, self._seed)

    def take(self, writer: SegmentIndexWriter | None) -> None:
        """The second half of `begin`. Between two runs of the ring only."""
        handle = None if writer is None else writer.open_handle
        lib.ring_index_begin(self.open_handle, ffi.NULL if handle is None else handle)
        self._writer = handle

    def journal(self, writer: SegmentIndexWriter, fd: int, visible: int) -> None:
        """Append to a growing segment's journal what readers can find in it by now. Blocks, without the GIL.

        Args:
            writer: of the segment, be it the current one or just ended; for one thread at a time.
            fd: of the journal, empty at the first call for a segment.
            visible: `RingOutput.visible` of the segment: packets that are not in the file yet are left out.

        Raises:
            OSError: the write failed; so do all further calls for this segment. What was written stays good.
            MemoryError: there is not enough memory.
        """
        error = lib.ring_index_journal(self.open_handle, writer.open_handle, fd, visible)
        if error == errno.ENOMEM:
            raise MemoryError("no memory for the journal")
        if error:
            fail(error)

    def finish(self, writer: SegmentIndexWriter, fd: int, segment: RingSegment) -> None:
        """Write the index of an ended segment to an empty file. Blocks, without the GIL.

        Args:
            writer: of the segment, which is not the current one any more.
            fd: of the index, empty.
            segment: what `RingOutput.finish` has told: nothing beyond its `bytes` is pointed at. If packets were lost
                with a failed write, flows' counts may still have them; `index_pcap` on the file counts exactly.

        Raises:
            OSError: the write failed.
            MemoryError: there is not enough memory to sort it.
        """
        writer.finish(fd, segment.bytes)

    def set_cutoff(self, cutoff: int | None) -> None:
        """Change the cutoff from the next packets on; None: nothing is cut."""
        lib.ring_index_set_cutoff(self.open_handle, _NEVER if cutoff is None else cutoff)

    def lift(self, key: FlowKey, now_ns: int) -> None:
        """Cut a flow no more until it is idle; it need not have begun.

        Args:
            key: of the flow.
            now_ns: the present of the packets.

        Raises:
            OSError: `errno.ENOSPC`, too many are lifted.
        """
        error = lib.ring_index_lift(self.open_handle, fill_key(key), now_ns)
        if error:
            fail(error)

    def unlift(self, key: FlowKey) -> bool:
        """Let the cutoff apply again; False if the flow is not known."""
        return not lib.ring_index_unlift(self.open_handle, fill_key(key))

    def get(self, key: FlowKey) -> FlowTotals | None:
        """Counts of a flow, None if it is not known (any more)."""
        out = ffi.new("struct flow_totals *")
        return None if lib.ring_index_get(self.open_handle, fill_key(key), out) else make_totals(out)

    def counts(self) -> FlowCounts:
        """What was done since the table was made."""
        out = ffi.new("struct flow_counts *")
        lib.ring_index_get_counts(self.open_handle, out)
        return make_counts(out)
