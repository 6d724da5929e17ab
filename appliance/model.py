"""The items that flow from doors to consumers: plain values, no behaviour beyond slicing.

An item says what it is (`kind`, `name`: what a consumer's ``on`` patterns match), which door it came through
(`source`, e.g. ``zmq.bro``), and how much it weighs (`count` records, `size` bytes) so that queues can be bounded.
"""

from __future__ import annotations

import msgspec

__all__ = ["Item", "LogBatch", "Segment"]


class LogBatch(msgspec.Struct, frozen=True, kw_only=True):
    """Log records of one path that arrived together, still encoded."""

    path: str
    """Zeek's log path, e.g. ``conn``."""
    source: str
    """The door, e.g. ``zmq.bro``."""
    data: bytes
    """`count` JSON objects, each followed by one newline and holding none."""
    count: int
    """Number of records, at least 1."""
    node: str = ""
    """The Zeek node that wrote them, empty if the records do not say."""
    stream: str = ""
    """Zeek's stream, e.g. ``Conn::LOG``, empty if the door cannot know."""
    columns: tuple[tuple[str, str], ...] = ()
    """Name and type of each column in Zeek's order, e.g. ``("id.orig_h", "addr")`` and ``("tags", "set[string]")``;
    empty if the door cannot know."""

    @property
    def kind(self) -> str:
        return "log"

    @property
    def name(self) -> str:
        return self.path

    @property
    def size(self) -> int:
        return len(self.data)

    def rows(self) -> list[bytes]:
        """The records, `count` of them, without their newlines."""
        rows = self.data.split(b"\n")
        rows.pop()
        return rows

    def split(self, count: int) -> tuple[LogBatch, LogBatch]:
        """The first `count` records and the rest; ``0 < count < self.count``."""
        end = 0
        for _ in range(count):
            end = self.data.index(b"\n", end) + 1
        return (
            msgspec.structs.replace(self, data=self.data[:end], count=count),
            msgspec.structs.replace(self, data=self.data[end:], count=self.count - count),
        )


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """One finished capture file."""

    handler: str
    """The handler that wrote it."""
    source: str
    """The door, e.g. ``capture.telemetry``."""
    path: str
    """Absolute path of the finished file."""
    packets: int
    size: int
    """Bytes on disk."""
    first_ns: int
    """Time of the first packet, nanoseconds since the epoch; 0 if there is none."""
    last_ns: int
    linktype: int
    """LINKTYPE_ value of the file (https://www.tcpdump.org/linktypes.html)."""

    @property
    def kind(self) -> str:
        return "segment"

    @property
    def name(self) -> str:
        return self.handler

    @property
    def count(self) -> int:
        return 1


Item = LogBatch | Segment
