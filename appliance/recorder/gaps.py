"""What is missing and why, in ``<recorder>.gaps.jsonl``: a line for each gap, the newest 10,000.

The time of the file's last change is that until which the recorder listened, so that the next start knows how long
nobody did, whatever became of the last one.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from pathlib import Path

import msgspec

from appliance.runtime.packets import Gap

__all__ = ["MAX_GAPS", "GapLog"]

MAX_GAPS = 10_000
_SLACK_NS = 2 * 10**9
"""Gaps for the same reason that are no farther apart are one: they are seen once a second."""

_decode = msgspec.json.Decoder(Gap).decode


class GapLog:
    """See the module; for any thread. What cannot be written is remembered all the same.

    Args:
        path: the file.
        limit: how many gaps are kept.
    """

    def __init__(self, path: Path, *, limit: int = MAX_GAPS) -> None:
        self.path = path
        self._limit = limit
        self._lock = threading.Lock()
        self._gaps: deque[Gap] = deque(maxlen=limit)
        self._unwritten: deque[Gap] = deque(maxlen=limit)
        self._lines = 0
        """Of the file, or so many that it is to be written again."""
        self.errors = 0
        """How often it could not be written."""

    def load(self) -> int | None:
        """Read what is there; returns until when somebody listened, None if nobody knows. Blocks.

        Raises:
            OSError: it cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                until_ns = os.fstat(file.fileno()).st_mtime_ns
                for line in file:
                    self._lines += 1
                    try:
                        self._merge(_decode(line))
                    except msgspec.DecodeError:  # a torn line: nothing is to be appended to it
                        self._lines = 2 * self._limit + 1
        except FileNotFoundError:
            return None
        return until_ns

    def add(self, gap: Gap) -> None:
        """One more; `flush` writes it."""
        with self._lock:
            self._merge(gap)
            self._unwritten.append(gap)

    def flush(self, heard_ns: int) -> None:
        """Write what came, and until when somebody listened. Blocks."""
        with self._lock:
            gaps, self._unwritten = list(self._unwritten), deque(maxlen=self._limit)
            try:
                if self._lines + len(gaps) > 2 * self._limit or not self.path.exists():
                    self._compact()
                elif gaps:
                    self._append(gaps)
                os.utime(self.path, ns=(heard_ns, heard_ns))
            except OSError:
                self.errors += 1
                self._lines = 2 * self._limit + 1  # all that is remembered is written when that is possible again

    def between(self, from_ns: int, to_ns: int) -> list[Gap]:
        """Those that have a part in that span, in the order in which they were noticed."""
        with self._lock:
            return [gap for gap in self._gaps if gap.from_ns <= to_ns and gap.to_ns >= from_ns]

    def __len__(self) -> int:
        return len(self._gaps)

    def _merge(self, gap: Gap) -> None:
        last = self._gaps[-1] if self._gaps else None
        if last is None or last.reason != gap.reason or not 0 <= gap.from_ns - last.to_ns <= _SLACK_NS:
            self._gaps.append(gap)
            return
        self._gaps[-1] = Gap(
            last.from_ns,
            max(last.to_ns, gap.to_ns),
            gap.reason,
            _sum(last.packets, gap.packets),
            _sum(last.bytes, gap.bytes),
        )

    def _append(self, gaps: list[Gap]) -> None:
        with self.path.open("ab") as file:
            file.write(b"".join(msgspec.json.encode(gap) + b"\n" for gap in gaps))
        self._lines += len(gaps)

    def _compact(self) -> None:
        part = self.path.with_name(self.path.name + ".part")
        part.write_bytes(b"".join(msgspec.json.encode(gap) + b"\n" for gap in self._gaps))
        part.replace(self.path)
        self._lines = len(self._gaps)


def _sum(first: int | None, second: int | None) -> int | None:
    return None if first is None or second is None else first + second
