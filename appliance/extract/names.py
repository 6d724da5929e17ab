"""The names of segments: recorder, time of the first packet in nanoseconds (UTC), and the ring that it came through.

``edge-20261121T101500.123456789Z-0.pcap``; while it grows ``.pcap.part``, with the time of its opening until there is a
packet, and beside it the index as ``.pcap.idx``, or its journal as ``.pcap.idx.part``.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

__all__ = ["AHEAD", "GAPS", "INDEX", "PART", "PCAP", "ZST", "SegmentName", "index_of", "plain_of"]

PCAP = ".pcap"
PART = ".part"
AHEAD = ".next"
"""Of a segment that was opened ahead of time; not to be read before it is called ``.part``."""
INDEX = ".idx"
ZST = ".zst"
GAPS = ".gaps.jsonl"

_NS = 10**9
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAME = re.compile(
    r"(?P<recorder>.+)-(?P<time>[0-9]{8}T[0-9]{6})\.(?P<ns>[0-9]{9})Z-(?P<member>[0-9]{1,2})"
    r"\.pcap(?:\.zst|\.idx)?(?:\.part|\.new|\.next)?"
)


class SegmentName(NamedTuple):
    """A name without its endings."""

    recorder: str
    time_ns: int
    """Nanoseconds since the epoch."""
    member: int

    @classmethod
    def parse(cls, name: str) -> SegmentName | None:
        """Read the name of a segment, or of an index or journal; None: it is something else.

        Args:
            name: without a directory.
        """
        found = _NAME.fullmatch(name)
        if found is None:
            return None
        try:
            time = datetime.strptime(found["time"], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
        except ValueError:
            return None
        seconds = (time - _EPOCH) // timedelta(seconds=1)
        return cls(found["recorder"], seconds * _NS + int(found["ns"]), int(found["member"]))

    def __str__(self) -> str:
        seconds, ns = divmod(self.time_ns, _NS)
        time = _EPOCH + timedelta(seconds=seconds)
        return f"{self.recorder}-{time:%Y%m%dT%H%M%S}.{ns:09}Z-{self.member}{PCAP}"


def plain_of(path: Path) -> Path:
    """The name of a segment without what says that it grows or is compressed."""
    return path.with_name(path.name.removesuffix(PART).removesuffix(ZST))


def index_of(path: Path) -> Path:
    """The index of a finished segment, compressed or not; of a growing one its journal."""
    name = path.name
    if name.endswith(PART):
        return path.with_name(f"{name.removesuffix(PART)}{INDEX}{PART}")
    return path.with_name(f"{name.removesuffix(ZST)}{INDEX}")
