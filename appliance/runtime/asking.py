"""What hooks ask the recorders for, and what they get: packets as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol

import msgspec

__all__ = ["PacketMaker", "PacketRequest", "Packets"]


class PacketRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Which packets; all conditions together. It passes pipes."""

    fields: bytes = b""
    """Of the log record that they are about, as JSON; empty: there is none."""
    event: bytes = b""
    """The event that they are about, as a message; likewise."""
    select: Literal["conn", "pair", "host", "all"] = "conn"
    """Those of the record or event, if nothing else says which."""
    uid: str = ""
    """Zeek's name of a connection."""
    conditions: dict[str, list[str]] = {}
    """As `appliance.extract.query.parse_query` takes them, but for the times."""
    from_ns: int | None = None
    """Nanoseconds since the epoch, inclusive as is `to_ns`; None: by the record or the uid."""
    to_ns: int | None = None
    ts_ns: int | None = None
    """Of the record, if it is an event's."""
    before_ns: int
    after_ns: int
    is_waiting: bool = False
    """For what comes until `to_ns`; else what is there is given."""
    recorder: str = ""
    """Empty: all of them."""
    path: str = ""
    """Below the hook's folder; empty: a file that the hook has for as long as its call lasts."""
    max_bytes: int


class Packets(msgspec.Struct, frozen=True, kw_only=True):
    """What was found. Times are nanoseconds since the epoch."""

    path: str | None
    """Of a nanosecond PCAP; None: there are no packets."""
    packets: int
    size: int
    """Bytes of the file."""
    from_ns: int
    """What was looked through."""
    to_ns: int
    first_ns: int | None
    """The earliest packet, and the latest."""
    last_ns: int | None
    is_complete: bool
    """Nothing is known to be missing."""
    missing: tuple[str, ...]
    """What is missing and why, one text each."""


class PacketMaker(Protocol):
    """Makes files of packets."""

    async def extract(self, request: PacketRequest, target: Path) -> Packets:
        """Write the packets to `target`, in place of what is there; nothing if there are none.

        Cancellation: the file is not there, or the one that was.

        Raises:
            ApplianceError: it cannot be done: no such recorder, a condition is wrong, the uid is not known.
            OSError: the disk says no.
        """
