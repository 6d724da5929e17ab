"""Segments as they are planned: where a handler's files go, what they look like, and what has gone into one so far."""

from __future__ import annotations

from typing import Any

import msgspec
import trio

from appliance import __version__
from appliance.config import Capture, Handler
from appliance.model import Segment
from appliance.native.pcap import SNAPLEN_MAX, PcapBlock, PcapFormat, make_file_header
from appliance.native.synth import LINKTYPE_RAW
from appliance.runtime.pattern import PathPattern
from appliance.runtime.rotation import Rotation

__all__ = ["FIELDS", "LINKTYPE_ETHERNET", "LINKTYPE_USER0", "Load", "Plan", "Style", "pattern_of", "rotation_of"]

FIELDS = frozenset({"name", "capture", "host", "pid", "seq"})
LINKTYPE_ETHERNET = 1
LINKTYPE_USER0 = 147
"""DLT_USER0: the payload alone. Source: https://www.tcpdump.org/linktypes.html."""
SNAPLEN = 65535
_STATISTICS = 128
"""Bytes kept free at the end of a pcapng file for its statistics, which are 84."""


def pattern_of(handler: Handler) -> PathPattern:
    """Where the handler's files go.

    Raises:
        ValueError: it is no pattern, or leaves its directory; the text says so.
    """
    if handler.file_name_pattern.startswith("/"):
        raise ValueError(f"{handler.file_name_pattern!r} is absolute; the folder is log_dir")
    return PathPattern(f"{handler.log_dir}/{handler.file_name_pattern}", fields=FIELDS)


def rotation_of(handler: Handler) -> Rotation:
    """When the handler's files are complete."""
    size = None if handler.rotate_size is None else int(handler.rotate_size)
    items = handler.rotate_packets or None
    if not handler.rotate_log:
        return Rotation.never(max_bytes=size, max_items=items)
    return Rotation.calendar(
        handler.rotate_log_index, handler.rotate_log_delta, aligned=handler.align, max_bytes=size, max_items=items
    )


class Style(msgspec.Struct, frozen=True, kw_only=True):
    """What a handler's files look like."""

    format: PcapFormat
    linktype: int
    with_headers: bool
    """Packets get the headers of their network."""
    snaplen: int
    header: bytes
    """What each file begins with."""

    @classmethod
    def of(cls, capture: Capture, handler: Handler) -> Style:
        """As the tables say."""
        pcap_format = PcapFormat.PCAPNG if handler.format == "pcapng" else PcapFormat.PCAP
        is_ip = handler.linktype == "ip"
        if capture.conn_type == "ethernet":
            linktype, snaplen = LINKTYPE_ETHERNET, capture.snaplen
        else:
            linktype = LINKTYPE_RAW if is_ip else LINKTYPE_USER0
            # With its headers a datagram may be longer than 65535; a frame of a stream is as long as the site allows.
            snaplen = SNAPLEN_MAX if is_ip or capture.conn_type == "tcp" else SNAPLEN
        host, port = capture.address
        header = make_file_header(
            pcap_format,
            snaplen=snaplen,
            linktype=linktype,
            interface=host if capture.conn_type == "ethernet" else f"{capture.conn_type} {host or '*'}:{port}",
            comment=f"capture {capture.name}, handler {handler.name}",
            application=f"broappliance {__version__}",
            filter=capture.filter,
        )
        return cls(format=pcap_format, linktype=linktype, with_headers=is_ip, snaplen=snaplen, header=header)

    @property
    def has_tail(self) -> bool:
        """Whether a file ends with its statistics."""
        return self.format is PcapFormat.PCAPNG

    @property
    def frame_bytes(self) -> int:
        """Bytes of a file that are not packets, at most."""
        return len(self.header) + (_STATISTICS if self.has_tail else 0)

    def make_block(self, capacity: int) -> PcapBlock:
        """A block for packets of such a file."""
        return PcapBlock(capacity, format=self.format, snaplen=self.snaplen, ip_headers=self.with_headers)


class Plan(msgspec.Struct, kw_only=True, eq=False):
    """One segment. Made when its first packet arrives."""

    handler: str
    path: str
    """The name that it is to have."""
    due_s: float | None
    """When it must end, on Trio's clock; None: never."""
    size: int
    """Bytes planned, those that are not packets included; at the end those on the disk."""
    packets: int = 0
    first_ns: int = 0
    last_ns: int = 0
    drops: int = 0
    done: Any = msgspec.field(default_factory=trio.Event)
    """Set when `outcome` is known."""
    outcome: Segment | Exception | None = None
    """The finished segment, or why there is none; None: it had no packet, or was cut short."""

    def settle(self, outcome: Segment | Exception | None) -> None:
        """Tell those who wait for it how it ended."""
        self.outcome = outcome
        self.done.set()


class Load(msgspec.Struct, kw_only=True, eq=False):
    """A block on its way to the file of `plan`."""

    plan: Plan
    block: PcapBlock | None
    """None: there is nothing more to write."""
    packets: int
    ends: bool
    """It is the last one of its segment."""
