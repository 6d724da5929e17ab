"""A stream of packets into pieces, by bytes, packets and time; what crosses a limit begins the next piece."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from appliance.runtime.partfile import PartFile
from appliance.runtime.pattern import PathPattern, numbered

from .encode import Format
from .reader import Packet
from .write import Nowhere, Output, refusal, telling

__all__ = ["FIELDS", "Limits", "Piece", "cut"]

FIELDS = frozenset({"seq"})
"""Fields of a piece's name, beside the directives of strftime."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """When a piece ends; 0: no limit."""

    max_bytes: int = 0
    """Of the file, if it holds more than one packet."""
    max_packets: int = 0
    every_ns: int = 0
    """Pieces begin at multiples of this since the epoch."""


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """One new file."""

    path: str
    packets: int
    size: int
    first_ns: int
    last_ns: int


class _Names:
    """The name of each piece. A dry run does without files, so it remembers which names would be taken."""

    def __init__(self, pattern: PathPattern) -> None:
        self._pattern = pattern
        self._count = 0
        self._taken: set[str] = set()

    def next(self, ts_ns: int) -> Path:
        self._count += 1
        return Path(self._pattern.render(ts_ns, {"seq": f"{self._count:06}"}))

    def free(self, path: Path) -> Path:
        counter = 0
        while (name := numbered(str(path), counter)) in self._taken or os.path.lexists(name):
            counter += 1
        self._taken.add(name)
        return Path(name)


def cut(
    packets: Iterable[Packet], limits: Limits, pattern: PathPattern, *, kind: Format = "pcap", dry_run: bool = False
) -> Iterator[Piece]:
    """Write pieces, each of which is reported when it is finished. Blocks.

    A piece's name has the time of its first packet, or with `Limits.every_ns` that of the multiple before. A name that
    exists gets a number.

    Args:
        packets: in the order of time; one that is earlier than its piece stays in it.
        pattern: of the files' names, with the fields `FIELDS`.
        dry_run: only tell what would be written.

    Raises:
        ApplianceError: a file cannot be written, or the format cannot hold a packet. Finished pieces stay.

    Resource handling: an unfinished piece is removed when the generator is closed.
    """
    names = _Names(pattern)
    piece: _Open | None = None
    try:
        for packet in packets:
            if piece is not None and piece.is_over(packet, limits):
                yield piece.finish()
                piece = None
            if piece is None:
                piece = _Open(packet, limits, names, kind, is_real=not dry_run)
            try:  # for each packet a context manager would cost as much as all the rest
                piece.output.add(packet)
            except OSError as exc:
                raise refusal(piece.path, exc) from exc
        if piece is not None:
            yield piece.finish()
    except BaseException:
        if piece is not None:
            piece.discard()
        raise


class _Open:
    """The piece that is being written."""

    def __init__(self, packet: Packet, limits: Limits, names: _Names, kind: Format, *, is_real: bool) -> None:
        every = limits.every_ns
        begin = packet.ts_ns // every * every if every else packet.ts_ns
        self._end = begin + every if every else None
        self.path = names.next(begin)
        self._file: PartFile | None = None
        if is_real:
            with telling(self.path):
                self._file = PartFile.create(self.path)
        else:
            self.path = names.free(self.path)
        self.output = Output(self._file or Nowhere(), kind)

    def is_over(self, packet: Packet, limits: Limits) -> bool:
        if self._end is not None and packet.ts_ns >= self._end:
            return True
        if limits.max_packets and self.output.packets >= limits.max_packets:
            return True
        return bool(limits.max_bytes) and self.output.size + 16 + len(packet.data) > limits.max_bytes

    def finish(self) -> Piece:
        with telling(self.path):
            self.output.flush()
            if self._file is not None:
                # The originals remain: nothing is lost that cannot be made again, so no piece waits for the disk.
                self.path = self._file.finish(sync=False) or self.path
        output = self.output
        return Piece(
            path=str(self.path),
            packets=output.packets,
            size=output.size,
            first_ns=output.first_ns,
            last_ns=output.last_ns,
        )

    def discard(self) -> None:
        if self._file is not None:
            self._file.discard()
