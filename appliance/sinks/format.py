"""What a kind of file has of its own: how records become lines, and what stands before and after them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from appliance.model import EventBatch, LogBatch, NodeStatus, Print
from appliance.runtime.partfile import Repair

__all__ = ["Batch", "Columns", "Encoded", "LineFormat"]

Batch = LogBatch | EventBatch | Print | NodeStatus
Columns = tuple[tuple[str, str], ...]


class Encoded(NamedTuple):
    """A batch as it is to be written."""

    data: bytes
    """One line for each record that is not refused, each with its newline and holding no other."""
    refused: Sequence[int] = ()
    """Positions, in order, of records that the format has no line for."""
    reason: str = ""
    """Why they are refused."""


class LineFormat(Protocol):
    """Pure but for `repair`. Called in worker threads, `key` also in the loop."""

    def key(self, batch: LogBatch) -> tuple[str, Columns]:
        """What batches of one file have in common."""
        ...

    def encode(self, batch: Batch, now_ns: int) -> Encoded: ...

    def begin(self, key: tuple[str, Columns], now_ns: int) -> bytes:
        """What a file begins with; only written together with the first line."""
        ...

    def end(self, now_ns: int) -> bytes:
        """What a file ends with, always of the same length."""
        ...

    def repair(self, part: Path) -> Repair:
        """Make a file whole that a crash left, in place; blocks.

        Raises:
            OSError: cannot be read or changed.
        """
        ...
