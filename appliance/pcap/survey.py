"""What a capture file holds: counts, times, the ranges that it covers, and what is wrong with it."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from operator import gt, lt
from pathlib import Path

import msgspec

from .batch import UNTIMED, Interface
from .reader import CaptureReader

__all__ = ["MAX_RANGES", "CaptureInfo", "Coverage", "survey"]

MAX_RANGES = 10_000
"""Ranges that are told apart; beyond that a packet extends the nearest one."""


class Coverage:
    """Ranges of time that packets cover: a pause longer than `gap_ns` ends one. Bounded; takes any order of times."""

    def __init__(self, gap_ns: int) -> None:
        self._gap_ns = gap_ns
        self._starts: list[int] = []
        self._ends: list[int] = []

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """First and last time of each, sorted, at most `MAX_RANGES`."""
        return list(zip(self._starts, self._ends, strict=True))

    def add(self, times: list[int]) -> None:
        """Take the times of some packets, at least one."""
        first, last = min(times), max(times)
        if last - first <= self._gap_ns:
            self._insert(first, last)
            return
        ordered = sorted(times)
        start = ordered[0]
        for before, after in pairwise(ordered):
            if after - before > self._gap_ns:
                self._insert(start, before)
                start = after
        self._insert(start, ordered[-1])

    def _insert(self, first: int, last: int) -> None:
        """Add a range and join it with those that are near."""
        starts, ends, gap = self._starts, self._ends, self._gap_ns
        low = bisect.bisect_left(ends, first - gap)
        high = bisect.bisect_right(starts, last + gap)
        if low == high and len(starts) >= MAX_RANGES:
            low = max(0, low - 1)
            high = low + 1
        if low < high:
            first, last = min(first, starts[low]), max(last, ends[high - 1])
        starts[low:high] = [first]
        ends[low:high] = [last]


class CaptureInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One file. Times are nanoseconds since the epoch."""

    file: str
    file_bytes: int
    format: str
    """``pcap``, ``pcapng``, or ``empty``: no byte or not even a whole header."""
    precision: str
    compression: str
    interfaces: tuple[Interface, ...]
    interface_packets: tuple[int, ...]
    packets: int
    captured_bytes: int
    wire_bytes: int
    first_ns: int | None
    """The earliest time; None if no packet has one."""
    last_ns: int | None
    ranges: tuple[tuple[int, int], ...]
    """What is covered, see `Coverage`."""
    truncated: int
    """Packets of which less was kept than was on the wire."""
    untimed: int
    """Packets without a time."""
    disordered: int
    """Packets that are earlier than the one before."""
    drops: int
    """Packets that were lost, as the file says."""
    headers: int
    """Sections of a pcapng file; more than 1 in a PCAP file: two programs wrote it."""
    torn_bytes: int
    """After the last whole record."""
    damage: str
    """Why what follows cannot be read; empty if nothing follows."""

    @property
    def is_whole(self) -> bool:
        return not (self.torn_bytes or self.damage or (self.format == "pcap" and self.headers > 1))


def survey(path: Path, *, gap_ns: int, progress: Callable[[int], object] = lambda _: None) -> CaptureInfo:
    """Read a file once. Blocks.

    Args:
        gap_ns: a longer pause ends a range.
        progress: as in `CaptureReader`.

    Raises:
        ApplianceError: it cannot be read, or is no capture file.
    """
    coverage = Coverage(gap_ns)
    counts: Counter[int] = Counter()
    captured = wire = truncated = untimed = disordered = 0
    last = 0
    with CaptureReader(path, progress=progress) as reader:
        for _, times, _, caplens, lengths, interfaces in reader.batches():
            counts.update(interfaces)
            captured += sum(caplens)
            wire += sum(lengths)
            truncated += sum(map(lt, caplens, lengths))
            if UNTIMED in times:
                untimed += times.count(UNTIMED)
                times = [time for time in times if time != UNTIMED]
            if times:
                disordered += (last > times[0]) + sum(map(gt, times, times[1:]))
                last = times[-1]
                coverage.add(times)
        decoder = reader.decoder
        ranges = coverage.ranges
        return CaptureInfo(
            file=str(path),
            file_bytes=path.stat().st_size,
            format=decoder.format if decoder else "empty",
            precision=decoder.precision if decoder else "",
            compression=reader.compression,
            interfaces=tuple(reader.interfaces),
            interface_packets=tuple(counts[i] for i in range(len(reader.interfaces))),
            packets=counts.total(),
            captured_bytes=captured,
            wire_bytes=wire,
            first_ns=ranges[0][0] if ranges else None,
            last_ns=ranges[-1][1] if ranges else None,
            ranges=tuple(ranges),
            truncated=truncated,
            untimed=untimed,
            disordered=disordered,
            drops=decoder.drops if decoder else 0,
            headers=decoder.headers if decoder else 0,
            torn_bytes=reader.torn,
            damage=reader.damage,
        )
