"""The wanted packets of many PCAP files as one stream in the order of time."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import NamedTuple

from appliance._native import ffi, lib
from appliance.errors import ApplianceError
from appliance.native.flows import FlowQuery
from appliance.native.handles import Owner, allocate, fail, opened
from appliance.native.segments import Extent

__all__ = ["MergeCounts", "MergeEnd", "PcapMerge"]

_BLOCK_BYTES = 1 << 20
_ALL = [Extent(24, (1 << 63) - 1)]
_NO_LIMIT = (1 << 64) - 1


class MergeCounts(NamedTuple):
    """What was read and given."""

    read_packets: int
    read_bytes: int
    packets: int
    """Given."""
    bytes: int
    """Of these, with the headers of their records."""
    first_ns: int
    """The earliest of them; 0 if there is none."""
    last_ns: int


class MergeEnd(NamedTuple):
    """How a file ended."""

    number: int
    error: int
    """The errno of a read that failed, after which the rest of the file is missing; or 0."""
    damaged: int
    """Extents that end before their end, because of a record that cannot be."""
    torn: int
    """Extents that end in a piece of a record, or that the file does not reach. A growing file may."""


class PcapMerge(Owner):
    """Merges PCAP files of one link type by time. Within one file the order is kept, also where it is not that of time.

    Each file takes 512 KiB from when it is added until it has ended; there may be 1,024 of them.

    Args:
        query: what is wanted; each packet is checked.
        filter: of `compile_filter` for the link type of the files; every packet is kept if it is empty.
        max_bytes: of all records that are given.

    Raises:
        ValueError: the filter or the query is none.
        ApplianceError: libpcap, which runs the filter, is not installed.
    """

    def __init__(self, query: FlowQuery, *, filter: bytes = b"", max_bytes: int = _NO_LIMIT) -> None:  # noqa: A002 - pcap's term
        out = ffi.new("struct pcap_merge **")
        code = ffi.from_buffer("uint8_t[]", filter) if filter else ffi.NULL
        error = lib.pcap_merge_open(query.fill(), code, len(filter), max_bytes, out)
        if error == errno.ELIBACC:
            raise ApplianceError("cannot run a filter: libpcap is not installed", hint="install the package libpcap0.8")
        super().__init__(opened("PcapMerge", error, out, lib.pcap_merge_close))
        self._buffer = allocate("uint8_t[]", _BLOCK_BYTES)
        self._used = ffi.new("size_t *")
        self.is_full = False
        """`read` ended because the next packet would go beyond `max_bytes`."""

    def add(self, fd: int, extents: list[Extent] | None = None) -> tuple[int, int]:
        """Add a file. Blocks.

        Args:
            fd: of the PCAP; stays the caller's and must be open until `ended` names the file. Its position is neither
                used nor moved.
            extents: the parts to read, in their order; None: all.

        Returns:
            The file's number, which may come again when it has ended, and its link type.

        Raises:
            ValueError: it is no PCAP file.
            OSError: it cannot be read; EMFILE: there are too many.
        """
        parts = _ALL if extents is None else extents
        array = ffi.new("struct segidx_extent[]", [tuple(part) for part in parts])
        number, linktype = ffi.new("uint32_t *"), ffi.new("uint32_t *")
        error = lib.pcap_merge_add(self.open_handle, fd, array, len(parts), number, linktype)
        if error == errno.EBADMSG:
            raise ValueError("no PCAP file")
        if error == errno.ENOMEM:
            raise MemoryError("no memory to read another PCAP file")
        if error:
            fail(error)
        return int(number[0]), int(linktype[0])

    def read(self, until_ns: int = _NO_LIMIT) -> bytes | None:
        """The next records, of 1 MiB at most; empty if nothing was wanted in the 4 MiB that were read for it.

        They have nanosecond headers in host order. Blocks, without the GIL and with idle priority for the disk.

        Args:
            until_ns: the first time that is not given yet: files that are to be added may have packets from then on.

        Returns:
            None if no file that was added has earlier packets any more, or the limit is reached.
        """
        error = lib.pcap_merge_read(self.open_handle, until_ns, self._buffer, _BLOCK_BYTES, self._used)
        self.is_full = error == errno.EFBIG
        if error not in (0, errno.EAGAIN, errno.EFBIG):
            fail(error)
        if error != errno.EAGAIN and self._used[0] == 0:
            return None
        return bytes(ffi.buffer(self._buffer, self._used[0]))

    def ended(self) -> Iterator[MergeEnd]:
        """The files that ended since the last call; each is told once."""
        out = ffi.new("struct pcap_merge_ended *")
        while lib.pcap_merge_take_ended(self.open_handle, out) == 0:
            yield MergeEnd(*(getattr(out, field) for field in MergeEnd._fields))

    def counts(self) -> MergeCounts:
        """What was done so far."""
        out = ffi.new("struct pcap_merge_counts *")
        lib.pcap_merge_get_counts(self.open_handle, out)
        return MergeCounts(*(getattr(out, field) for field in MergeCounts._fields))
