"""What comes out of a capture file: interfaces, and packets in columns, a block of the file at a time."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import msgspec

__all__ = ["LONGEST", "SNAPLEN_MAX", "UNTIMED", "Batch", "Decoder", "Interface"]

UNTIMED = -1
"""Stands for the time of a packet that has none, or one before 1970."""
SNAPLEN_MAX = 262144
"""MAXIMUM_SNAPLEN of libpcap: its readers refuse longer packets."""
LONGEST = 16 << 20
"""Bytes of a record or block; what claims to be longer is damage. Wireshark's limit for pcapng blocks."""


class Interface(msgspec.Struct, frozen=True, kw_only=True):
    """Where packets were captured; a PCAP file has one."""

    linktype: int
    """LINKTYPE_ value, https://www.tcpdump.org/linktypes.html."""
    snaplen: int
    """Bytes kept of each packet; 0: no limit."""
    name: str = ""


class Batch(NamedTuple):
    """Packets that stand one after the other in a file, in columns of equal length."""

    data: bytes
    """A block of the file."""
    times: list[int]
    """Nanoseconds since the epoch, or `UNTIMED`."""
    starts: list[int]
    """Where the packet's bytes begin in `data`."""
    caplens: list[int]
    """How many there are."""
    lengths: list[int]
    """How long it was on the wire."""
    interfaces: list[int]
    """Index into the decoder's interfaces."""

    @classmethod
    def empty(cls, data: bytes) -> Batch:
        return cls(data, [], [], [], [], [])


class Decoder(Protocol):
    """Blocks of a file in, packets out; knows no file. After `damage` nothing more comes."""

    format: str
    """``pcap`` or ``pcapng``."""
    interfaces: list[Interface]
    """Those seen so far."""
    damage: str
    """Why it cannot go on; empty if it can."""
    need: int
    """Bytes that the next call needs at least to get anywhere."""
    headers: int
    """File headers, or sections."""

    @property
    def drops(self) -> int:
        """Packets that the file says were lost."""
        ...

    @property
    def precision(self) -> str:
        """``us``, ``ns``, another unit or, if interfaces differ, ``mixed``."""
        ...

    def decode(self, data: bytes) -> tuple[Batch, int]:
        """Take whole records from the start of `data`.

        Returns:
            Their packets, and how many bytes they took; the rest belongs to the start of the next call's `data`.
        """
        ...
