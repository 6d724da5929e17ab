"""PCAP files: blocks of a file in memory, nanosecond `pcap` or `pcapng`, and the scan of torn files."""

from __future__ import annotations

import array
import enum
import errno
from collections.abc import Sequence
from typing import Any, NamedTuple

from appliance._native import ffi, lib
from appliance.native.handles import Owner, fail, opened
from appliance.native.pcapng import make_start, make_statistics

__all__ = [
    "SNAPLEN_MAX",
    "PcapBlock",
    "PcapFormat",
    "PcapScan",
    "PcapSpan",
    "Received",
    "Stored",
    "make_file_header",
    "no_limit",
    "record_bytes",
    "scan_pcap",
    "scan_pcap_bytes",
]

SNAPLEN_MAX = 262144
"""MAXIMUM_SNAPLEN of libpcap: its readers refuse longer records."""
_NO_LIMIT = 2**64 - 1


class PcapFormat(enum.IntEnum):
    """What a capture file looks like."""

    PCAP = 0
    """Nanosecond PCAP, pcap-savefile(5)."""
    PCAPNG = 1
    """draft-ietf-opsawg-pcapng, one section with one interface, times in nanoseconds."""


class Received(enum.IntEnum):
    """Why packets stopped going into a `PcapBlock` or a `PacketBatch`."""

    EMPTY = 0
    """There is no packet left: everything of the batch is stored, or the socket is empty: wait until it is readable."""
    FULL = 1
    """The block has no room for another packet: flush it."""
    MORE = 2
    """`max_packets` are stored, or the batch is full, and there may be more."""
    LIMIT = 3
    """The next packet would exceed `max_bytes`: begin another file with it."""


_RECEIVED = {0: Received.MORE, errno.EAGAIN: Received.EMPTY, errno.ENOBUFS: Received.FULL, errno.EFBIG: Received.LIMIT}


class Stored(NamedTuple):
    """How far packets of a batch or a list went into a block."""

    next: int
    """Index of the first packet that is not stored; the length if all are."""
    reason: Received
    """`EMPTY` if all are."""


class PcapSpan(NamedTuple):
    """The packets that went into a block since the last `PcapBlock.take_span`."""

    packets: int
    size: int
    """Bytes in the file, with the record headers."""
    wire_bytes: int
    """The sum of the true lengths, without synthesised headers."""
    truncated: int
    """Packets of which less is stored than their true length."""
    first_ns: int
    """The earliest time, nanoseconds since the epoch; 0 if there are no packets."""
    last_ns: int
    """The latest one."""


def no_limit(limit: int | None) -> int:
    """The limit as C takes it."""
    return _NO_LIMIT if limit is None else max(limit, 0)


def received(error: int) -> Received:
    """What the error of C says; raises those that are one."""
    reason = _RECEIVED.get(error)
    if reason is None:
        fail(error)
    return reason


def record_bytes(format: PcapFormat, caplen: int) -> int:  # noqa: A002 - the key of the configuration
    """How large the record of a packet is of which `caplen` bytes are stored, synthesised headers included."""
    return int(lib.pcap_record_bytes(format, caplen))


def make_file_header(
    format: PcapFormat,  # noqa: A002 - the key of the configuration
    *,
    snaplen: int,
    linktype: int,
    interface: str = "",
    comment: str = "",
    application: str = "",
    os: str = "",
    filter: str = "",  # noqa: A002 - the key of the configuration
) -> bytes:
    """What a capture file begins with; what PCAP cannot say (everything but the first two) is left out there.

    Args:
        format: of the file.
        snaplen: bytes kept of each packet at most.
        linktype: 1 Ethernet, 101 raw IP, 147 user 0. Source: https://www.tcpdump.org/linktypes.html.
        interface: name of the interface or of what stands for it; in it as ``if_name``.
        comment: of the section.
        application: that wrote it.
        os: that it was written on.
        filter: the capture filter's text.
    """
    if format is PcapFormat.PCAPNG:
        return make_start(
            snaplen=snaplen,
            linktype=linktype,
            interface=interface,
            comment=comment,
            application=application,
            os=os,
            filter=filter,
        )
    block = PcapBlock(24)
    block.header(snaplen, linktype)
    return block.peek()


class PcapBlock(Owner):
    """A piece of a capture file in memory: whole records of one file.

    Args:
        capacity: bytes; 128 KiB or more is sensible.
        format: of the records.
        snaplen: bytes stored of each packet at most, synthesised headers included; 1 to 262144.
        ip_headers: store datagrams of a `PacketBatch` or `DatagramReceiver` with IP and UDP headers made from their
            addresses (link type 101); those without known addresses, e.g. of unix sockets, are stored without.

    Raises:
        MemoryError: there is not enough memory for it.
        ValueError: a limit is out of range.

    Source: pcap-savefile(5), draft-ietf-opsawg-pcapng.
    """

    def __init__(
        self,
        capacity: int,
        *,
        format: PcapFormat = PcapFormat.PCAP,  # noqa: A002 - the key of the configuration
        snaplen: int = SNAPLEN_MAX,
        ip_headers: bool = False,
    ) -> None:
        out = ffi.new("struct pcap_block **")
        super().__init__(opened("PcapBlock", lib.pcap_block_open(capacity, out), out, lib.pcap_block_close))
        self.last_written = 0
        """Bytes that the last `flush` wrote, also if it failed."""
        self.format = format
        self.configure(format, snaplen=snaplen, ip_headers=ip_headers)

    def configure(self, format: PcapFormat, *, snaplen: int = SNAPLEN_MAX, ip_headers: bool = False) -> None:  # noqa: A002
        """Use the block for another kind of file from now on.

        Raises:
            ValueError: it is not empty, or a limit is out of range.
        """
        error = lib.pcap_block_configure(self.open_handle, format, snaplen, ip_headers)
        if error:
            raise ValueError(f"a PcapBlock that is not empty, or {snaplen=} out of range")
        self.format = format

    # ── what goes in ──

    def header(
        self,
        snaplen: int,
        linktype: int,
        *,
        interface: str = "",
        comment: str = "",
        application: str = "",
        os: str = "",
        filter: str = "",  # noqa: A002 - the key of the configuration
    ) -> None:
        """Append the file header; arguments as in `make_file_header`. Write it before any packet of its file.

        Raises:
            OSError: `errno.ENOBUFS`, it does not fit; flush and try again.
            ValueError: one waits in the block already.
        """
        if self.format is PcapFormat.PCAP:
            error = lib.pcap_block_header(self.open_handle, snaplen, linktype)
            if error == errno.EEXIST:
                raise ValueError("a file header waits in the block already")
            if error:
                fail(error)
        else:
            self._raw(
                make_file_header(
                    self.format,
                    snaplen=snaplen,
                    linktype=linktype,
                    interface=interface,
                    comment=comment,
                    application=application,
                    os=os,
                    filter=filter,
                )
            )

    def statistics(
        self, *, ts_ns: int, first_ns: int, last_ns: int, received: int, if_dropped: int = 0, os_dropped: int = 0
    ) -> None:
        """Append the file's statistics, the last thing in it; does nothing in a PCAP file, which has no place for them.

        Args:
            ts_ns: now, nanoseconds since the epoch.
            first_ns: when the file's capture began.
            last_ns: when it ended.
            received: packets of the file that came from the interface or socket.
            if_dropped: lost in the interface.
            os_dropped: lost in the kernel, because nobody read them in time.

        Raises:
            OSError: `errno.ENOBUFS`, they do not fit; flush and try again.
        """
        if self.format is PcapFormat.PCAPNG:
            self._raw(
                make_statistics(
                    ts_ns=ts_ns,
                    first_ns=first_ns,
                    last_ns=last_ns,
                    received=received,
                    if_dropped=if_dropped,
                    os_dropped=os_dropped,
                )
            )

    def _raw(self, data: bytes) -> None:
        error = lib.pcap_block_raw(self.open_handle, data, len(data))
        if error:
            fail(error)

    def record(self, ts_ns: int, data: bytes, wire_len: int) -> None:
        """Append one packet, whole or not at all.

        Args:
            ts_ns: nanoseconds since the epoch; in a PCAP file until the year 2106.
            data: what was captured, at most 262144 bytes; what exceeds the block's `snaplen` is not stored.
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

    def append(self, ts_ns: int, data: bytes, wire_len: int | None = None) -> None:
        """Like `record`; without `wire_len` it is the length of `data`."""
        self.record(ts_ns, data, len(data) if wire_len is None else wire_len)

    def extend(
        self,
        packets: Sequence[tuple[int, bytes, int]],
        *,
        start: int = 0,
        max_packets: int | None = None,
        max_bytes: int | None = None,
    ) -> Stored:
        """Append packets made in Python, `(ts_ns, data, wire_len)` each, in one call and without the GIL.

        Args:
            packets: as in `record`.
            start: index of the first one.
            max_packets: how many the file takes.
            max_bytes: how many bytes of records the file takes.

        Raises:
            ValueError: a packet has an argument out of range; those before it are stored.
        """
        rest = packets[start:] if start else packets
        if not rest:
            return Stored(start, Received.EMPTY)
        times, data, lengths = zip(*rest, strict=True)
        done = ffi.new("size_t *")
        try:
            columns = (array.array("Q", times), array.array("I", map(len, data)), array.array("I", lengths))
        except OverflowError:
            raise ValueError("no PCAP records: a time or length is out of range") from None
        error = lib.pcap_block_extend(
            self.open_handle,
            len(rest),
            *(ffi.from_buffer(kind, column) for kind, column in zip(_COLUMNS, columns, strict=True)),
            b"".join(data),
            no_limit(max_packets),
            no_limit(max_bytes),
            done,
        )
        if error == errno.EINVAL:
            raise ValueError(f"no PCAP record: the packet with index {start + done[0]} has an argument out of range")
        return Stored(start + int(done[0]), received(error))

    # ── what is in it ──

    @property
    def used(self) -> int:
        """Bytes that wait for `flush`."""
        return int(lib.pcap_block_used(self.open_handle))

    @property
    def free(self) -> int:
        """Bytes that still fit."""
        return int(lib.pcap_block_free(self.open_handle))

    def peek(self) -> bytes:
        """A copy of the bytes that wait for `flush`."""
        return bytes(ffi.buffer(lib.pcap_block_bytes(self.open_handle), self.used))

    def take_span(self) -> PcapSpan:
        """What went in since the last call; flushing does not change it."""
        span = ffi.new("struct pcap_span *")
        lib.pcap_block_take_span(self.open_handle, span)
        return PcapSpan(*(getattr(span, field) for field in PcapSpan._fields))

    # ── what goes out ──

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

    @property
    def torn(self) -> int:
        """Bytes at the end of the file, after a failed `flush`, that belong to a record which is not whole there."""
        return int(lib.pcap_block_torn(self.open_handle))

    def rewind(self) -> int:
        """Take the torn record back, because its `torn` bytes are cut off the file: the next `flush` writes it whole.

        Returns:
            How many bytes to cut.
        """
        return int(lib.pcap_block_rewind(self.open_handle))


_COLUMNS = ("uint64_t[]", "uint32_t[]", "uint32_t[]")


class PcapScan(NamedTuple):
    """What a capture file holds up to its last whole record."""

    good_bytes: int
    """Length up to there; 0 if not even the file header is whole."""
    packets: int
    first_ns: int
    """Time of the first packet that has one, nanoseconds since the epoch; 0 if there is none."""
    last_ns: int
    """Of the last one."""
    linktype: int
    """Of the first interface, in pcapng."""
    snaplen: int
    """Of the first interface, in pcapng; 0: no limit."""
    format: PcapFormat = PcapFormat.PCAP
    interfaces: int = 1
    """In pcapng, how many of them; else 1, and 0 if there is no header."""


def scan_pcap(fd: int) -> PcapScan:
    """Find where a regular file is still good. Blocks, without the GIL.

    It may be PCAP (micro- or nanosecond) or pcapng, either byte order.

    Args:
        fd: readable; its position is neither used nor moved.

    Raises:
        ValueError: it is no capture file.
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
    scan = PcapScan(*(getattr(out, field) for field in PcapScan._fields))
    return scan._replace(format=PcapFormat(scan.format))
