"""Packets on their way from a socket to the handlers: a batch, and the view of it that a handler writes.

The kernel's datagrams and frames stay in C: in a `NativeBatch` if several handlers want them, or even in the socket
until the block of the only one is filled (`SocketView`). What arrives as a stream is made of Python objects anyway
(`ChunkBatch`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from appliance.native.pcap import PcapBlock, Received, Stored
from appliance.native.receivers import DatagramReceiver, EthernetReceiver, Packet, PacketBatch

__all__ = ["Batch", "ChunkBatch", "NativeBatch", "Record", "RecordView", "SocketView", "View"]

Record = tuple[int, bytes, int]
"""Nanoseconds since the epoch, data, true length."""


class View(Protocol):
    """Packets as one handler writes them, by index."""

    def __len__(self) -> int: ...

    def copy_to(
        self, block: PcapBlock, *, start: int = 0, max_packets: int | None = None, max_bytes: int | None = None
    ) -> Stored:
        """Append packets from `start` on; see `PacketBatch.copy_to`."""
        ...


class Batch(Protocol):
    """Packets that arrived together; lent to the handlers until the next ones are received."""

    def __len__(self) -> int: ...

    def view(self, *, with_headers: bool) -> View:
        """The packets, or what they are with the headers of their network."""
        ...

    def packets(self) -> list[Packet]:
        """The packets as objects, for transforms."""
        ...


class NativeBatch(PacketBatch):
    """A `Batch` in C. The block knows whether headers are made."""

    def view(self, *, with_headers: bool) -> View:  # noqa: ARG002 - a `Batch` has it
        return self


class SocketView:
    """A `View` of packets that the kernel still has; copying receives them.

    How many there are shows when there are no more: its length is what may come, and then what came.

    Args:
        receiver: of the socket.
        longest: bytes of the longest packet that is kept whole.
    """

    def __init__(self, receiver: DatagramReceiver | EthernetReceiver, *, longest: int) -> None:
        self.longest = longest
        self.error: OSError | None = None
        """Of the socket, behind the packets that came."""
        self.is_empty = False
        """The socket had nothing more."""
        self._receiver = receiver
        self._len = 0

    def begin(self, limit: int) -> None:
        """Forget what came before; take up to `limit` packets, for which the file has room whatever their length."""
        self._len, self.error, self.is_empty = limit, None, False

    def __len__(self) -> int:
        return self._len

    def copy_to(
        self, block: PcapBlock, *, start: int = 0, max_packets: int | None = None, max_bytes: int | None = None
    ) -> Stored:
        receiver, room = self._receiver, self._len - start
        before = receiver.packets
        reason = Received.EMPTY
        try:
            reason = receiver.receive(
                block, room if max_packets is None else min(room, max_packets), max_bytes=max_bytes
            )
        except OSError as exc:
            self.error = exc
        end = start + receiver.packets - before
        if reason is Received.EMPTY:
            self._len, self.is_empty = end, self.error is None
        return Stored(end, reason)


class RecordView:
    """A `View` of packets that are Python objects."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records

    def __len__(self) -> int:
        return len(self.records)

    def copy_to(
        self, block: PcapBlock, *, start: int = 0, max_packets: int | None = None, max_bytes: int | None = None
    ) -> Stored:
        return block.extend(self.records, start=start, max_packets=max_packets, max_bytes=max_bytes)


class ChunkBatch:
    """A `Batch` of pieces of a stream.

    Args:
        pieces: as they came, or as the framing cut them.
        headed: the same as segments of a TCP connection, and those that open and close it.
    """

    def __init__(self, pieces: Sequence[Record], headed: Sequence[Record] = ()) -> None:
        self._pieces = RecordView(pieces)
        self._headed = RecordView(headed)

    def __len__(self) -> int:
        return len(self._pieces)

    @property
    def bytes(self) -> int:
        """The sum of the lengths of the pieces."""
        return sum(wire_len for _, _, wire_len in self._pieces.records)

    def view(self, *, with_headers: bool) -> View:
        return self._headed if with_headers else self._pieces

    def packets(self) -> list[Packet]:
        return [Packet(ts_ns, data, wire_len, None, None) for ts_ns, data, wire_len in self._pieces.records]
