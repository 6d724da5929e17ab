"""What a running recorder offers to those who want packets: where they are, what is missing, and when to look."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from appliance.native.flows import FlowKey

__all__ = ["Gap", "OpenSource", "PacketStore", "Source"]


class Gap(msgspec.Struct, frozen=True):
    """A span of time in which packets are missing; both ends belong to it."""

    from_ns: int
    """Nanoseconds since the epoch."""
    to_ns: int
    reason: str
    """``kernel``: no room in the ring; ``disk``: not written; ``budget``: deleted to make room; ``deleted``: by
    somebody else; ``stopped``: nobody recorded; ``down``: the interface was down; and others.
    """
    packets: int | None = None
    """How many; None if nobody can know."""
    bytes: int | None = None
    """Their true lengths, or of ``budget`` and ``deleted`` the size of the files."""


class OpenSource(Protocol):
    """Descriptors to read with pread(2), good until the context that gave them is left."""

    @property
    def pcap_fd(self) -> int: ...

    @property
    def index_fd(self) -> int | None:
        """An index or a journal; None: the packets are found by reading all of them."""

    @property
    def pcap_bytes(self) -> int | None:
        """How much of the PCAP is good; None: all that the descriptor gives."""


class Source(Protocol):
    """Packets of one interface that are in one PCAP, which is opened on demand."""

    @property
    def first_ns(self) -> int:
        """Time of the earliest packet, nanoseconds since the epoch; 0 if unknown."""

    @property
    def last_ns(self) -> int:
        """Time of the latest packet so far."""

    @property
    def linktype(self) -> int: ...

    @property
    def is_growing(self) -> bool: ...

    def open(self) -> AbstractContextManager[OpenSource]:
        """Blocks.

        Raises:
            FileNotFoundError: it was deleted meanwhile.
            OSError: it cannot be read.
        """


class PacketStore(Protocol):
    """A running recorder."""

    @property
    def name(self) -> str: ...

    @property
    def directory(self) -> Path: ...

    @property
    def oldest_ns(self) -> int | None:
        """Time of the earliest packet it still has; None if it has none."""

    def sources(self) -> Sequence[Source]:
        """Finished and growing segments and those in memory, the oldest first. From any thread."""

    def gaps(self, from_ns: int, to_ns: int) -> list[Gap]:
        """What is missing between two times, as far as it is known. From any thread."""

    async def wait_recorded(self, until_ns: int) -> None:
        """Wait until every packet with a time before `until_ns` is in the sources, or counted as lost."""

    def lift(self, key: FlowKey, now_ns: int) -> None:
        """Store a flow in full from now on, whatever the cutoff says, until it is idle.

        Args:
            key: of the flow.
            now_ns: the present of the packets.
        """
