"""The C module as Python classes: frames to rows, datagrams to PCAP, by the block and never by the record.

The only importer of `appliance._native`. Every class owns one C object, for one thread at a time; the calls that can
take long release the GIL. A closed object raises `ValueError`. Whatever is not closed goes with its Python object.
"""

from __future__ import annotations

import enum
import errno
import os
from typing import Any, NamedTuple, NoReturn

from appliance._native import ffi, lib
from appliance.errors import ApplianceError

__all__ = [
    "DatagramCounts",
    "DatagramReceiver",
    "LogCounts",
    "LogGroup",
    "LogIntake",
    "LogSequence",
    "PcapBlock",
    "PcapScan",
    "Received",
    "ZmqDrain",
    "check_json_row",
    "scan_pcap",
    "scan_pcap_bytes",
]

_REFUSED_BYTES = 512
_allocate = ffi.new_allocator(should_clear_after_alloc=False)


def _fail(error: int) -> NoReturn:
    raise OSError(error, os.strerror(error))


def _text(pointer: Any, length: int) -> str:
    return bytes(ffi.buffer(pointer, length)).decode() if length else ""


class _Owner:
    """Holds one C object.

    Closing only drops our reference, so that a call that is still running in another thread keeps the C object until
    it returns.
    """

    def __init__(self, handle: Any) -> None:
        self._handle: Any = handle

    def close(self) -> None:
        """Free the C object; harmless if that has been done."""
        self._handle = None

    @property
    def _open_handle(self) -> Any:
        if self._handle is None:
            raise ValueError(f"{type(self).__name__} is closed")
        return self._handle


def _opened(kind: str, error: int, out: Any, closer: Any) -> Any:
    if error == errno.EINVAL:
        raise ValueError(f"a limit of {kind} is out of range")
    if error == errno.ENOMEM:
        raise MemoryError(f"no memory for {kind}")
    if error:
        _fail(error)
    return ffi.gc(out[0], closer)


def check_json_row(row: bytes) -> bool:
    """Whether `row` is exactly one JSON object without line breaks, valid UTF-8, nested at most 64 deep.

    Source: RFC 8259, RFC 3629. Duplicate names and lone surrogates in escapes are legal there.
    """
    return bool(lib.json_row_check(row, len(row), ffi.NULL) == 0)


class LogGroup(NamedTuple):
    """Rows of one log path and node, in the order of their arrival."""

    path: str
    """Log path, ASCII."""
    node: str
    """Value of ``_node``; empty if the rows carry none."""
    data: bytes
    """`count` JSON objects, each followed by one newline and holding none."""
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody wants here
    """At least 1."""


class LogCounts(NamedTuple):
    """Messages since the intake was made; `messages` is the sum of the others."""

    messages: int
    accepted: int
    bad_frames: int
    """Not exactly two frames."""
    bad_path: int
    """Empty, too long, or with characters that do not belong into a log path."""
    too_large: int
    """The row is longer than `max_row`."""
    bad_json: int
    """The row is not one JSON object on one line."""


class LogSequence(NamedTuple):
    """Sequence counter of one log path and node, from the rows that carry ``_seq``."""

    path: str
    node: str
    last: int
    """The number of the last row."""
    missing: int
    """Numbers skipped between rows that arrived: lost on the way."""
    unseen: int
    """Numbers before the first row of each run of the writer: sent before it was connected, or lost."""
    restarts: int
    """How often the writer began again."""


class LogIntake(_Owner):
    """Checks two-frame messages of the ZeroMQ log writer and collects their rows by path and node.

    Args:
        max_row: longest row in bytes, at least 2.
        max_rows: rows that one round, from `take` to `take`, may hold.
        arena: bytes that one round may hold; raised if it could not hold one row.
        max_sequences: pairs of path and node whose sequence is followed.

    Raises:
        ValueError: a limit is out of range.
        MemoryError: there is not enough memory for it.
    """

    def __init__(self, *, max_row: int, max_rows: int = 4096, arena: int = 4 << 20, max_sequences: int = 4096) -> None:
        out = ffi.new("struct lw_intake **")
        error = lib.lw_open(max_row, max_rows, arena, max_sequences, out)
        super().__init__(_opened("LogIntake", error, out, lib.lw_close))

    def frame(self, data: bytes, *, more: bool) -> bool:
        """Give one frame; `more` if further frames of the same message follow.

        Check `has_room` before the first frame of each message: without room, it is refused as too large.

        Returns:
            Whether the frame ended a message that was accepted.
        """
        return bool(lib.lw_frame(self._open_handle, data, len(data), more))

    def has_room(self) -> bool:
        """Whether one more message of any legal size fits before `take`."""
        return bool(lib.lw_has_room(self._open_handle))

    def take(self) -> list[LogGroup]:
        """The groups of this round in order of first arrival; starts the next round."""
        handle = self._open_handle
        groups = [self._copy_group(handle, i) for i in range(lib.lw_group_count(handle))]
        lib.lw_reset(handle)
        return groups

    @staticmethod
    def _copy_group(handle: Any, i: int) -> LogGroup:
        group = ffi.new("struct lw_group *")
        lib.lw_group(handle, i, group)
        data = _allocate("uint8_t[]", group.bytes)
        lib.lw_copy_group(handle, i, data)
        path, node = _text(group.path, group.path_len), _text(group.node, group.node_len)
        return LogGroup(path, node, bytes(ffi.buffer(data)), group.rows)

    def counts(self) -> LogCounts:
        """What was accepted and refused since the intake was made."""
        counts = ffi.new("struct lw_counts *")
        lib.lw_get_counts(self._open_handle, counts)
        return LogCounts(*(getattr(counts, field) for field in LogCounts._fields))

    def sequences(self) -> list[LogSequence]:
        """The sequence counters, in order of first arrival."""
        handle = self._open_handle
        sequence = ffi.new("struct lw_sequence *")
        sequences = []
        for i in range(lib.lw_sequence_count(handle)):
            lib.lw_get_sequence(handle, i, sequence)
            path, node = _text(sequence.path, sequence.path_len), _text(sequence.node, sequence.node_len)
            sequences.append(
                LogSequence(path, node, sequence.last, sequence.missing, sequence.unseen, sequence.restarts)
            )
        return sequences

    @property
    def untracked(self) -> int:
        """Rows with a sequence number that no counter followed: the table was full, or the node's name too long."""
        return int(lib.lw_untracked(self._open_handle))

    def last_refused(self) -> bytes:
        """The beginning (512 bytes) of the frame for which the last message was refused; empty if none was."""
        out = ffi.new("uint8_t[]", _REFUSED_BYTES)
        return bytes(ffi.buffer(out, lib.lw_last_refused(self._open_handle, out, _REFUSED_BYTES)))


class ZmqDrain(_Owner):
    """Moves the messages of a pyzmq socket into a `LogIntake` without making Python objects of them.

    Uses the libzmq that pyzmq has loaded, so ``import zmq`` comes first.

    Raises:
        ApplianceError: no usable libzmq is loaded.
    """

    def __init__(self) -> None:
        out = ffi.new("struct zd_api **")
        error = lib.zd_open(out)
        if error == errno.ENOENT:
            raise ApplianceError(
                "no libzmq is loaded in this process",
                hint="import zmq first; a pyzmq that hides libzmq's functions cannot be used, install its wheel",
            )
        if error == errno.ENOTSUP:
            raise ApplianceError("the loaded libzmq is not version 4", hint="install a current pyzmq")
        super().__init__(_opened("ZmqDrain", error, out, lib.zd_close))

    def drain(self, socket_pointer: int, intake: LogIntake, max_messages: int) -> tuple[int, bool]:
        """Receive without waiting until the socket is empty, the intake is full, or `max_messages` have come.

        Args:
            socket_pointer: ``zmq.Socket.underlying`` of an open socket that no other thread uses meanwhile.
            intake: gets the messages.
            max_messages: at least 0.

        Returns:
            How many messages were received, refused ones included, and whether the socket is empty. Only if it is,
            its ``ZMQ_FD`` may be waited for: that descriptor is edge-triggered.

        Raises:
            OSError: libzmq's error, e.g. `errno.ENOTSOCK` or ``zmq.ETERM``; what came before it is in the intake.
        """
        received = ffi.new("size_t *")
        socket = ffi.cast("void *", socket_pointer)
        error = lib.zd_drain(self._open_handle, socket, intake._open_handle, max_messages, received)  # noqa: SLF001
        if error not in (0, errno.EAGAIN):
            _fail(error)
        return int(received[0]), error == errno.EAGAIN


class PcapBlock(_Owner):
    """A piece of a nanosecond PCAP file in memory.

    Args:
        capacity: bytes; 128 KiB or more is sensible.

    Raises:
        MemoryError: there is not enough memory for it.

    Source: pcap-savefile(5).
    """

    def __init__(self, capacity: int) -> None:
        out = ffi.new("struct pcap_block **")
        super().__init__(_opened("PcapBlock", lib.pcap_block_open(capacity, out), out, lib.pcap_block_close))
        self.last_written = 0
        """Bytes that the last `flush` wrote, also if it failed."""

    def header(self, snaplen: int, linktype: int) -> None:
        """Append the file header.

        Raises:
            OSError: `errno.ENOBUFS`, 24 bytes do not fit; flush and try again.
        """
        error = lib.pcap_block_header(self._open_handle, snaplen, linktype)
        if error:
            _fail(error)

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
            error = lib.pcap_block_record(self._open_handle, ts_ns, data, len(data), wire_len)
        except OverflowError:
            error = errno.EINVAL
        if error == errno.EINVAL:
            raise ValueError(f"no PCAP record: {ts_ns=}, {len(data)} bytes captured, {wire_len=}")
        if error:
            _fail(error)

    @property
    def used(self) -> int:
        """Bytes that wait for `flush`."""
        return int(lib.pcap_block_used(self._open_handle))

    @property
    def free(self) -> int:
        """Bytes that still fit."""
        return int(lib.pcap_block_free(self._open_handle))

    def flush(self, fd: int) -> int:
        """Write the block to `fd` at its position and empty it. Blocks, without the GIL.

        After a failure the block begins with what was not written, so that a later call continues without a gap.

        Returns:
            Bytes written.

        Raises:
            OSError: the descriptor's error; `last_written` bytes were written before it.
        """
        written = ffi.new("size_t *")
        error = lib.pcap_block_flush(self._open_handle, fd, written)
        self.last_written = int(written[0])
        if error:
            _fail(error)
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


class DatagramReceiver(_Owner):
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
        super().__init__(_opened("DatagramReceiver", error, out, lib.dgram_close))

    def receive(self, block: PcapBlock, max_packets: int) -> Received:
        """Receive without waiting until the socket or the room is exhausted, or `max_packets` have come.

        A block with less room than ``16 + slot_bytes`` counts as full.

        Raises:
            OSError: the socket's error, e.g. `errno.ECONNREFUSED`; what came before it is in the block.
        """
        error = lib.dgram_receive(self._open_handle, block._open_handle, max_packets)  # noqa: SLF001
        reason = _RECEIVED.get(error)
        if reason is None:
            _fail(error)
        return reason

    def counts(self) -> DatagramCounts:
        """What came since the receiver was made."""
        counts = ffi.new("struct dgram_counts *")
        lib.dgram_get_counts(self._open_handle, counts)
        return DatagramCounts(*(getattr(counts, field) for field in DatagramCounts._fields))

    def clear_span(self) -> None:
        """Begin a new span: the next packet is its first."""
        lib.dgram_clear_span(self._open_handle)


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
        _fail(error)
    return PcapScan(*(getattr(out, field) for field in PcapScan._fields))
