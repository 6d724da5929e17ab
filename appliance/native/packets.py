"""Packets to PCAP: blocks of a file in memory, datagrams received into them, and the scan of torn files."""

from __future__ import annotations

import enum
import errno
from typing import Any, NamedTuple

from appliance._native import ffi, lib
from appliance.native.handles import Owner, fail, opened

__all__ = ["DatagramCounts", "DatagramReceiver", "PcapBlock", "PcapScan", "Received", "scan_pcap", "scan_pcap_bytes"]


class PcapBlock(Owner):
    """A piece of a nanosecond PCAP file in memory.

    Args:
        capacity: bytes; 128 KiB or more is sensible.

    Raises:
        MemoryError: there is not enough memory for it.

    Source: pcap-savefile(5).
    """

    def __init__(self, capacity: int) -> None:
        out = ffi.new("struct pcap_block **")
        super().__init__(opened("PcapBlock", lib.pcap_block_open(capacity, out), out, lib.pcap_block_close))
        self.last_written = 0
        """Bytes that the last `flush` wrote, also if it failed."""

    def header(self, snaplen: int, linktype: int) -> None:
        """Append the file header.

        Raises:
            OSError: `errno.ENOBUFS`, 24 bytes do not fit; flush and try again.
        """
        error = lib.pcap_block_header(self.open_handle, snaplen, linktype)
        if error:
            fail(error)

    def record(self, ts_ns: int, data: bytes, wire_len: int) -> None:
        """Append one packet, whole or not at all.

        Args:
            ts_ns: nanoseconds since the epoch, until the year 2106.
            data: what was captured, at most 262144 bytes.
            wire_len: the true length in bytes, at least that of `data`.

        Raises:
            OSError: `errno.ENOBUFS`, the record does not fit; flush and try again.
            ValueError: an argument is out of range.
        """
        try:
            error = lib.pcap_block_record(self.open_handle, ts_ns, data, len(data), wire_len)
        except OverflowError:
            error = errno.EINVAL
        if error == errno.EINVAL:
            raise ValueError(f"no PCAP record: {ts_ns=}, {len(data)} bytes captured, {wire_len=}")
        if error:
            fail(error)

    @property
    def used(self) -> int:
        """Bytes that wait for `flush`."""
        return int(lib.pcap_block_used(self.open_handle))

    @property
    def free(self) -> int:
        """Bytes that still fit."""
        return int(lib.pcap_block_free(self.open_handle))

    def flush(self, fd: int) -> int:
        """Write the block to `fd` at its position and empty it. Blocks, without the GIL.

        After a failure the block begins with what was not written, so that a later call continues without a gap.

        Returns:
            Bytes written.

        Raises:
            OSError: the descriptor's error; `last_written` bytes were written before it.
        """
        written = ffi.new("size_t *")
        error = lib.pcap_block_flush(self.open_handle, fd, written)
        self.last_written = int(written[0])
        if error:
            fail(error)
        return self.last_written


class Received(enum.IntEnum):
    """Why `DatagramReceiver.receive` came back."""

    EMPTY = 0
    """The socket is empty: wait until it is readable."""
    FULL = 1
    """The block has no room for another datagram: flush it."""
    MORE = 2
    """`max_packets` came and there may be more."""


_RECEIVED = {0: Received.MORE, errno.EAGAIN: Received.EMPTY, errno.ENOBUFS: Received.FULL}


class DatagramCounts(NamedTuple):
    """Datagrams since the receiver was made, and the span since `DatagramReceiver.clear_span`."""

    packets: int
    bytes: int
    """The sum of the true lengths."""
    truncated: int
    """Longer than a slot."""
    kernel_drops: int
    """Not received because the socket's buffer was full, as the kernel tells since the socket was made."""
    untimed: int
    """Without a time from the kernel; they got that of the call."""
    first_ns: int
    """Time of the span's first packet, nanoseconds since the epoch; 0 if there is none."""
    last_ns: int
    span_packets: int


class DatagramReceiver(Owner):
    """Receives datagrams into a `PcapBlock`, with the kernel's times, true lengths and drop counts.

    Args:
        fd: a datagram socket, which stays the caller's and must outlive the receiver's last call. Its options
            ``SO_TIMESTAMPNS`` and ``SO_RXQ_OVFL`` are set.
        slots: datagrams for each system call, 1 to 1024.
        slot_bytes: longest datagram that is kept whole, 1 to 65535.

    Raises:
        ValueError: a limit is out of range.
        MemoryError: there is not enough memory for it.
        OSError: `fd` is no datagram socket.

    Source: recvmmsg(2), socket(7).
    """

    def __init__(self, fd: int, *, slots: int = 64, slot_bytes: int = 65535) -> None:
        out = ffi.new("struct dgram_receiver **")
        error = lib.dgram_open(fd, slots, slot_bytes, out)
        super().__init__(opened("DatagramReceiver", error, out, lib.dgram_close))

    def receive(self, block: PcapBlock, max_packets: int) -> Received:
        """Receive without waiting until the socket or the room is exhausted, or `max_packets` have come.

        A block with less room than ``16 + slot_bytes`` counts as full.

        Raises:
            OSError: the socket's error, e.g. `errno.ECONNREFUSED`; what came before it is in the block.
        """
        error = lib.dgram_receive(self.open_handle, block.open_handle, max_packets)
        reason = _RECEIVED.get(error)
        if reason is None:
            fail(error)
        return reason

    def counts(self) -> DatagramCounts:
        """What came since the receiver was made."""
        counts = ffi.new("struct dgram_counts *")
        lib.dgram_get_counts(self.open_handle, counts)
        return DatagramCounts(*(getattr(counts, field) for field in DatagramCounts._fields))

    def clear_span(self) -> None:
        """Begin a new span: the next packet is its first."""
        lib.dgram_clear_span(self.open_handle)


class PcapScan(NamedTuple):
    """What a PCAP file holds up to its last whole record."""

    good_bytes: int
    """Length up to there; 0 if not even the file header is whole."""
    packets: int
    first_ns: int
    """Nanoseconds since the epoch; 0 if there are no packets."""
    last_ns: int
    linktype: int
    snaplen: int


def scan_pcap(fd: int) -> PcapScan:
    """Find where a regular PCAP file (micro- or nanosecond, either byte order) is still good. Blocks, without the GIL.

    Args:
        fd: readable; its position is neither used nor moved.

    Raises:
        ValueError: it is no PCAP file.
        OSError: it cannot be read, or is not a regular file (`errno.ESPIPE`).
    """
    out = ffi.new("struct pcap_scan *")
    return _scanned(lib.pcap_scan_fd(fd, out), out)


def scan_pcap_bytes(data: bytes) -> PcapScan:
    """Like `scan_pcap`, on memory."""
    out = ffi.new("struct pcap_scan *")
    return _scanned(lib.pcap_scan_bytes(data, len(data), out), out)


def _scanned(error: int, out: Any) -> PcapScan:
    if error == errno.EBADMSG:
        raise ValueError("not a PCAP file")
    if error:
        fail(error)
    return PcapScan(*(getattr(out, field) for field in PcapScan._fields))
