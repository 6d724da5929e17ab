"""Which packets get the room that `max_size` gives a file, if it is not enough for all of them. Pure.

Those of a connection from its first one on, which says what it is. Of hosts, those that are nearest to the alarm: what
lies before it has half of the room, its latest packets first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .jobs import Job, Piece, Span, uncovered

__all__ = ["Portion", "next_portion", "split_excess"]


class Portion(NamedTuple):
    """What is to be taken next."""

    span: Span
    room: int
    """Bytes that its file may have; 0 or less: it is left out."""
    is_latest_first: bool
    """If there is more than that, the later packets are wanted."""


def next_portion(job: Job, until_ns: int, max_size: int) -> Portion | None:
    """What comes next of that which was not taken yet and lies before `until_ns`; None: nothing."""
    spans = uncovered(job.from_ns, min(until_ns, job.to_ns), job.covered)
    if not spans:
        return None
    if job.selection.select != "conn":
        begin, end = next((span for span in reversed(spans) if span[0] < job.ts_ns), (0, 0))
        end = min(end, job.ts_ns)
        if begin < end:
            return Portion((begin, end), max_size // 2 - _size(job.pieces, job.ts_ns), is_latest_first=True)
    begin, end = spans[0]
    if job.capped_ns is not None and job.capped_ns <= begin:
        return Portion((begin, end), 0, is_latest_first=False)
    return Portion((begin, end), max_size - _size(job.pieces, begin), is_latest_first=False)


def _size(pieces: Iterable[Piece], before_ns: int) -> int:
    """Of those that lie before a time."""
    return sum(piece.size for piece in pieces if piece.from_ns < before_ns)


def split_excess(pieces: Sequence[Piece], max_size: int) -> tuple[list[Piece], list[Piece]]:
    """Pieces in the order of time that fit, and those that do not, of which the first may in part."""
    ordered = sorted(pieces, key=lambda piece: piece.from_ns)
    size = 0
    for number, piece in enumerate(ordered):
        size += piece.size
        if size > max_size:
            return ordered[:number], ordered[number:]
    return ordered, []
