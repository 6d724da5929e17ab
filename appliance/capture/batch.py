"""Packets on their way from a socket to the handlers: a batch, and the view of it that a handler writes.

The kernel's datagrams and frames stay in C (`NativeBatch`); what arrives as a stream is made of Python objects anyway
(`ChunkBatch`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from appliance.native.pcap import PcapBlock, Stored
from appliance.native.receivers import Packet, PacketBatch

__all__ = ["Batch", "ChunkBatch", "NativeBatch", "Record", "RecordView", "View"]

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
