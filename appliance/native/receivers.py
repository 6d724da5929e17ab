"""Packets from the kernel, by the batch: datagrams of a socket, frames of an interface."""

from __future__ import annotations

import errno
import struct
from typing import Any, NamedTuple

from appliance._native import ffi, lib
from appliance.native.handles import Owner, fail, opened
from appliance.native.pcap import SNAPLEN_MAX, PcapBlock, Received, Stored, no_limit, received
from appliance.native.synth import Address, unpack_endpoint

__all__ = ["DatagramCounts", "DatagramReceiver", "EthernetReceiver", "Packet", "PacketBatch", "ReceiverCounts"]

ETH_P_ALL = 3
_PACKET = struct.Struct("=QQII20s20s")
_ADDRESSES_KEPT = 4096


class Packet(NamedTuple):
    """One packet of a batch."""

    ts_ns: int
    """Nanoseconds since the epoch, the kernel's."""
    data: bytes
    wire_len: int
    """The true length; more than that of `data` if the slot was too short."""
    sender: Address | None
    """Numeric host and port; None for frames, for unix sockets, and if addresses are not wanted."""
    local: Address | None
    """Where it went to: our address, or the multicast group."""


class PacketBatch(Owner):
    """Room for packets between the kernel and several blocks, or Python.

    Args:
        slots: packets, 1 to 1024.
        slot_bytes: longest packet kept whole, 1 to 262144. Memory is used only for what comes.

    Raises:
        ValueError: a limit is out of range.
        MemoryError: there is not enough memory for it.
    """

    def __init__(self, *, slots: int = 64, slot_bytes: int = 65535) -> None:
        out = ffi.new("struct packet_batch **")
        error = lib.packet_batch_open(slots, slot_bytes, out)
        super().__init__(opened("PacketBatch", error, out, lib.packet_batch_close))
        self._addresses: dict[bytes, Address | None] = {}

    def __len__(self) -> int:
        """Packets in it, since the last `fill`."""
        return int(lib.packet_batch_count(self.open_handle))

    def copy_to(
        self, block: PcapBlock, *, start: int = 0, max_packets: int | None = None, max_bytes: int | None = None
    ) -> Stored:
        """Append packets to a block, without the GIL. The batch stays as it is, for the next block.

        Args:
            block: its format, `snaplen` and `ip_headers` hold.
            start: index of the first packet.
            max_packets: how many the block's file takes.
            max_bytes: how many bytes of records the block's file takes; none that would exceed it is stored.

        Raises:
            IndexError: there are less than `start` packets.
            ValueError: the time of a packet is not one for the format; those before it are stored.
        """
        done = ffi.new("size_t *", start)
        error = lib.packet_batch_copy(
            self.open_handle, block.open_handle, no_limit(max_packets), no_limit(max_bytes), done
        )
        if error == errno.ERANGE:
            raise IndexError(f"no packet {start} in a batch of {len(self)}")
        if error == errno.EINVAL:
            raise ValueError(f"no PCAP record: the time of the packet with index {done[0]} is out of range")
        return Stored(int(done[0]), received(error))

    def packets(self, start: int = 0, stop: int | None = None) -> list[Packet]:
        """Copies of the packets as Python objects, for transforms."""
        handle = self.open_handle
        stop = len(self) if stop is None else min(stop, len(self))
        if start >= stop:
            return []
        table = ffi.buffer(lib.packet_batch_packets(handle) + start, (stop - start) * _PACKET.size)
        store = memoryview(ffi.buffer(lib.packet_batch_data(handle), lib.packet_batch_data_bytes(handle)))
        address = self._address
        return [
            Packet(ts_ns, bytes(store[at : at + caplen]), wire_len, address(sender), address(local))
            for ts_ns, at, caplen, wire_len, sender, local in _PACKET.iter_unpack(table)
        ]

    def _address(self, key: bytes) -> Address | None:
        try:
            return self._addresses[key]
        except KeyError:
            if len(self._addresses) >= _ADDRESSES_KEPT:
                self._addresses.clear()
            address = self._addresses[key] = unpack_endpoint(key)
            return address


class ReceiverCounts(NamedTuple):
    """Packets since the receiver was made, and the span since `clear_span`."""

    packets: int
    """Handed over to a block or a batch."""
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


DatagramCounts = ReceiverCounts


class _Receiver(Owner):
    """What both kinds have in common."""

    def receive(self, block: PcapBlock, max_packets: int, *, max_bytes: int | None = None) -> Received:
        """Receive without waiting until the socket or the room is exhausted, or `max_packets` have come.

        A block with less room than the record of a full slot counts as full. After `LIMIT` the packet that did not
        fit, and perhaps some that came with it, are `pending`: they are the first of the next call.

        Args:
            block: its format, `snaplen` and `ip_headers` hold.
            max_packets: how many the block's file takes.
            max_bytes: how many bytes of records the block's file takes; none that would exceed it is stored.

        Raises:
            OSError: the socket's error, e.g. `errno.ECONNREFUSED`; what came before it is in the block.
        """
        return received(
            lib.receiver_receive(self.open_handle, block.open_handle, no_limit(max_packets), no_limit(max_bytes))
        )

    def fill(self, batch: PacketBatch) -> Received:
        """Replace what is in the batch by what waits in the socket, without waiting: one system call.

        Returns:
            `EMPTY` if the socket is empty now (there may be packets in the batch), else `MORE`.

        Raises:
            OSError: the socket's error; the batch is empty then.
            ValueError: packets are `pending`, because `receive` was used before.
        """
        error = lib.receiver_fill(self.open_handle, batch.open_handle)
        if error == errno.EBUSY:
            raise ValueError("packets are pending: receive() must take them")
        return received(error)

    @property
    def pending(self) -> int:
        """Packets that were taken from the kernel and are in no block yet."""
        return int(lib.receiver_pending(self.open_handle))

    @property
    def packets(self) -> int:
        """As in `counts`; cheap."""
        return int(lib.receiver_packets(self.open_handle))

    def memory(self) -> tuple[int, int]:
        """Bytes of the socket's receive buffer: used now, and that there are, as the kernel counts them.

        It counts what it allocated, for a small packet many times its length. Both 0 if it does not tell.

        Source: socket(7), sock_diag(7), ``SO_MEMINFO``.
        """
        sizes = ffi.new("uint32_t[2]")
        lib.receiver_get_memory(self.open_handle, sizes, sizes + 1)
        return sizes[0], sizes[1]

    def counts(self) -> ReceiverCounts:
        """What came since the receiver was made."""
        counts = ffi.new("struct receiver_counts *")
        lib.receiver_get_counts(self.open_handle, counts)
        return ReceiverCounts(*(getattr(counts, field) for field in ReceiverCounts._fields))

    def clear_span(self) -> None:
        """Begin a new span: the next packet is its first."""
        lib.receiver_clear_span(self.open_handle)


class DatagramReceiver(_Receiver):
    """Receives datagrams with the kernel's times, true lengths, addresses and drop counts.

    Args:
        fd: a datagram socket, which stays the caller's and must outlive the receiver's last call. Its options
            ``SO_TIMESTAMPNS`` and ``SO_RXQ_OVFL`` are set.
        slots: datagrams for each system call, 1 to 1024.
        slot_bytes: longest datagram that is kept whole, 1 to 65535.
        addresses: see `set_addresses`.

    Raises:
        ValueError: a limit is out of range.
        MemoryError: there is not enough memory for it.
        OSError: `fd` is no datagram socket.

    Source: recvmmsg(2), socket(7), ip(7), ipv6(7).
    """

    def __init__(self, fd: int, *, slots: int = 64, slot_bytes: int = 65535, addresses: bool = True) -> None:
        out = ffi.new("struct receiver **")
        error = lib.dgram_open(fd, slots, slot_bytes, out)
        super().__init__(opened("DatagramReceiver", error, out, lib.receiver_close))
        if addresses:
            self.set_addresses(wanted=True)

    def set_addresses(self, *, wanted: bool) -> None:
        """Let datagrams come with sender and own address, which costs a tenth of what receiving one costs, or not.

        Without them a `Packet` has none, and blocks with `ip_headers` store payloads without. Sets or clears
        ``IP_PKTINFO`` or ``IPV6_RECVPKTINFO`` of the socket, which is bound already: its port is read now. Those that
        are `pending` stay as they are.

        Raises:
            OSError: the socket's error.
        """
        error = lib.dgram_set_addresses(self.open_handle, wanted)
        if error:
            fail(error)


class EthernetReceiver(_Receiver):
    """Receives the frames of one interface, in both directions, as tcpdump does.

    VLAN tags that the kernel took off are put back. What is filtered or of another interface never reaches it, not even
    between its making and its binding. It owns its socket: tell the loop before you `close` it.

    Args:
        interface: name.
        protocol: the EtherType to receive; 3 (``ETH_P_ALL``) and 0 mean all. With a single one, frames that go out
            are not seen.
        snaplen: bytes kept of each frame at most, 1 to 262144.
        promiscuous: also what is for others.
        receive_buffer: bytes wanted for what waits in the kernel; 0: its default. Read back what was granted as
            `granted`.
        program: of `compile_filter` for that interface; None: everything.
        slots: frames for each system call, 1 to 1024.

    Raises:
        ValueError: a limit is out of range, or the kernel does not take the program.
        MemoryError: there is not enough memory for it.
        PermissionError: CAP_NET_RAW is missing.
        OSError: `errno.ENODEV`, there is no such interface; `errno.EPFNOSUPPORT`, it is not an Ethernet one.

    `receive` and `fill` raise OSError with `errno.ENETDOWN` once when the interface goes down (it goes on by itself
    when it is up again), and with `errno.ENODEV` when it is gone for good.

    Source: packet(7).
    """

    linktype = 1

    def __init__(
        self,
        interface: str,
        *,
        protocol: int = ETH_P_ALL,
        snaplen: int = SNAPLEN_MAX,
        promiscuous: bool = True,
        receive_buffer: int = 0,
        program: bytes | None = None,
        slots: int = 64,
    ) -> None:
        out = ffi.new("struct receiver **")
        options: Any = ffi.new(
            "struct ether_options *",
            {
                "protocol": protocol,
                "snaplen": snaplen,
                "promiscuous": promiscuous,
                "receive_buffer": receive_buffer,
                "slots": slots,
            },
        )
        code = ffi.from_buffer(program or b"")
        options.program, options.program_bytes = code, len(program or b"")
        error = lib.ether_open(interface.encode(), options, out)
        super().__init__(opened("EthernetReceiver", error, out, lib.receiver_close))

    def fileno(self) -> int:
        """The socket, to wait for; do not read from it."""
        return int(lib.receiver_fd(self.open_handle))

    @property
    def granted(self) -> int:
        """Bytes that the kernel granted for what waits."""
        return int(lib.ether_granted(self.open_handle))

    def set_filter(self, program: bytes | None) -> int:
        """Change the filter; what waits in the kernel is thrown away, so that only what passes the new one comes.

        Returns:
            How many frames were thrown away.

        Raises:
            ValueError: the kernel does not take the program; nothing has changed.
            OSError: the socket's error, as from `receive`; the filter is the new one.
        """
        discarded = ffi.new("uint64_t *")
        code = ffi.from_buffer(program or b"")
        error = lib.ether_set_filter(self.open_handle, code, len(program or b""), discarded)
        if error == errno.EINVAL:
            raise ValueError("the kernel does not take the filter program")
        if error:
            fail(error)
        return int(discarded[0])
