"""Drives a ring as a recorder does: a thread that stays in C, files that follow each other, a finish of each."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from appliance.native import OutputKind, Ring, RingOutput, RingSegment, RingStatus

from .readers import Record, records

HEADER_BYTES = 24


class Recording:
    """Records into ``directory/000000.pcap`` and so on, until it is left."""

    def __init__(
        self, ring: Ring, directory: Path, *, kind: OutputKind = OutputKind.AUTOMATIC, max_bytes: int = 1 << 30
    ) -> None:
        self.ring, self.directory, self.max_bytes = ring, directory, max_bytes
        self.segments: list[RingSegment] = []
        self.seen: list[RingStatus] = []
        self.output = RingOutput(kind)
        self._opened = 0
        self._fd = -1
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._begin()
        self.ring.listen()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self.ring.wake()
        self._thread.join()

    def _begin(self) -> None:
        path = self.directory / f"{self._opened:06}.pcap"
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC)
        self._opened += 1
        self.output.begin(self._fd, linktype=self.ring.linktype, max_bytes=self.max_bytes, preallocate=1 << 24)

    def _end(self) -> None:
        self.segments.append(self.output.finish())
        os.close(self._fd)

    def _turn(self, run_ms: int) -> RingStatus:
        status = self.ring.run(self.output, run_ms=run_ms)
        if status not in (RingStatus.IDLE, RingStatus.MORE, RingStatus.WOKEN):
            self.seen.append(status)
        if status is RingStatus.FULL:
            self._end()
            self._begin()
        return status

    def _run(self) -> None:
        while not self._stop.is_set() and self._turn(1000) is not RingStatus.GONE:
            pass
        self.ring.deafen()
        while self.ring.pending:
            self._turn(20)
        self._end()

    def records(self) -> list[Record]:
        """Of all files, in their order."""
        found = []
        for path in sorted(self.directory.glob("*.pcap")):
            found += records(path.read_bytes()[HEADER_BYTES:])
        return found


def recorded(ring: Ring, directory: Path, kind: OutputKind = OutputKind.AUTOMATIC) -> list[Record]:
    """What is in the ring or comes within its retire time, through one file."""
    path = directory / "recorded.pcap"
    output = RingOutput(kind)
    with path.open("xb+") as file:
        output.begin(file.fileno(), linktype=ring.linktype)
        drain(ring, output)
        segment = output.finish()
    assert (segment.error, segment.bytes) == (0, path.stat().st_size)
    found = records(path.read_bytes()[HEADER_BYTES:])
    path.unlink()
    return found


def drain(ring: Ring, output: RingOutput | None) -> None:
    """Take what has come so far."""
    while ring.pending:
        assert ring.run(output, run_ms=20) in (RingStatus.IDLE, RingStatus.MORE)
