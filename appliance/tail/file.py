"""One file that is followed: what was read of it, and the next block.

Blocks on the disk: everything but the attributes belongs to the worker thread.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import msgspec

from appliance.logfile.lines import LineReader, Piece
from appliance.logfile.naming import log_path_of
from appliance.logfile.source import HEAD_BYTES, Plain, Source, is_archive, open_source
from appliance.native.lines import LineBuffer

from .finder import Seen
from .position import Position, fingerprint

__all__ = ["Chunk", "TailedFile"]

BLOCK = 1 << 20
"""Bytes for each read: some 7000 records, 5 ms of work."""


class Chunk(NamedTuple):
    """What one block of a file held."""

    file: TailedFile
    piece: Piece
    position: Position
    """Behind it; committed when its records were handed on."""
    size: int
    """Bytes that were read."""


class TailedFile:
    """See the module.

    Args:
        seen: the file as it was found.
        order: files of one group are read in this order.
        max_line, buffer: see `LineReader`.
    """

    def __init__(self, seen: Seen, *, order: int, max_line: int, buffer: LineBuffer) -> None:
        folder, name = os.path.split(seen.path)
        log_path = log_path_of(name)
        self.identity = seen.identity
        self.path = seen.path
        self.log_path = log_path
        """What the name tells, see `log_path_of`."""
        self.group = (folder, log_path)
        """Files that continue each other: one is read after the other, never interleaved."""
        self.order = order
        self.is_gone = False
        """No glob names it any more: it was deleted, or moved away."""
        self.is_undecided = True
        """Whether it is a copy of another file cannot be told yet."""
        self.is_at_end = False
        self.cut_from: Position | None = None
        """Set when it was truncated: up to where it had been read."""
        self.changed_s = 0.0
        """When it last was seen to change, by the clock of whoever sets it."""
        self.position = Position(device=seen.device, inode=seen.inode, path=seen.path)
        """Up to here its records were handed on."""
        self.reached = self.position
        """Up to here it was read."""
        self.head = b""
        """Its first bytes, as far as `reached` covers them."""
        self._max_line = max_line
        self._block = max(BLOCK, max_line + 4096)
        self._buffer = buffer
        self._reader = LineReader(log_path, max_line=max_line, buffer=buffer)
        self._source: Source | None = None
        self._extent = 0
        self._looked_at = (-1, -1)

    @property
    def is_open(self) -> bool:
        return self._source is not None

    @property
    def is_closed(self) -> bool:
        """Whether its last line is ``#close``."""
        return self.is_at_end and self._reader.is_closed

    @property
    def unread_bytes(self) -> int:
        """Bytes behind what was read, as far as they were seen; an archive does not tell."""
        return 0 if self.is_at_end or is_archive(self.path) else max(0, self._looked_at[0] - self.reached.offset)

    # ── opening and closing ──

    def open(self) -> Source:
        """The source, opened if it is not.

        Raises:
            OSError: cannot be opened; FileNotFoundError also if the name is another file's by now.
            ArchiveError: what unpacks it is missing.
        """
        if self._source is None:
            source = open_source(self.path)
            status = os.fstat(source.fd)
            if (status.st_dev, status.st_ino) != self.identity:
                source.close()
                raise FileNotFoundError(self.path)
            self._source = source
        return self._source

    def close(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            source.close()

    def resume(self, position: Position, *, extent: int) -> None:
        """Go on from `position`, which may be that of another file with the same bytes.

        Args:
            position: where to begin.
            extent: the size that the file is known to have had; if it is smaller now, it was truncated.
        """
        device, inode = self.identity
        self.reached = msgspec.structs.replace(position, device=device, inode=inode, path=self.path)
        self.position = self.reached
        self.is_undecided = False
        self._extent = extent
        self._reader = LineReader(
            self.log_path,
            max_line=self._max_line,
            buffer=self._buffer,
            header=position.header,
            is_skipping=position.is_skipping,
        )

    def trust(self, seen: Seen) -> None:
        """It was read to the end before and has not changed since: it need not be opened."""
        self._looked_at = (seen.size, seen.mtime_ns)
        self.is_at_end = True

    def skip_to_end(self) -> None:
        """Read only what comes from now on; the header is read all the same."""
        source = self.open()
        block = source.read(0, self._block)
        behind = 0
        while block.startswith(b"#", behind) and (newline := block.find(b"\n", behind)) >= 0:
            behind = newline + 1
        self._reader.convert(block[:behind])
        status = os.fstat(source.fd)
        end = status.st_size if isinstance(source, Plain) else 0
        torn = end > 0 and source.read(end - 1, 1) != b"\n"
        self._reader.is_skipping = torn
        self.is_undecided = False
        self._settle(end, rows=1, status=status, is_at_end=True)
        self.trust(Seen(self.path, *self.identity, status.st_size, status.st_mtime_ns))

    # ── reading ──

    def notice(self, seen: Seen) -> bool:
        """Follow the file to the name it has now; returns whether it may hold something new."""
        self.is_gone = False
        if seen.path != self.path:
            self.path = seen.path
            self.reached = msgspec.structs.replace(self.reached, path=seen.path)
            self.position = msgspec.structs.replace(self.position, path=seen.path)
        return (seen.size, seen.mtime_ns) != self._looked_at

    def read(self) -> Chunk | None:
        """The next block, or None if there is nothing new.

        Raises:
            OSError: cannot be opened or read.
            ArchiveError: a broken archive.
        """
        source = self.open()
        status = os.fstat(source.fd)
        looked_at = (status.st_size, status.st_mtime_ns)
        if self.is_at_end and looked_at == self._looked_at:
            return None
        if self._is_cut(source, status):
            source = self._begin_again(source)
        self._extent = status.st_size
        block = source.read(self.reached.offset, self._block)
        piece = self._reader.convert(block)
        self.is_at_end = len(block) < self._block
        self._looked_at = looked_at
        before = self.reached
        rows = sum(group.count for group in piece.groups) + sum(piece.refused.values())
        self._settle(before.offset + piece.consumed, rows=before.rows + rows, status=status, is_at_end=self.is_at_end)
        if self.is_at_end:
            source.read(self.reached.offset, 0)  # an archive forgets what is behind us
        if self.reached == before:
            return None
        return Chunk(self, piece, self.reached, len(block))

    def has_torn_end(self) -> bool:
        """Whether bytes of a line are left behind that has no end."""
        try:
            return bool(self._source and self._source.read(self.reached.offset, 1) and not self._reader.is_skipping)
        except (OSError, ValueError):
            return False

    def _settle(self, offset: int, *, rows: int, status: os.stat_result, is_at_end: bool) -> None:
        assert self._source is not None
        covered = min(offset, HEAD_BYTES)
        head_len, head = self.reached.head_len, self.reached.head
        if head_len < covered or not self.head:
            self.head = self._source.head(max(covered, head_len))
        if head_len < covered:
            head_len, head = covered, fingerprint(self.head)
        self.reached = msgspec.structs.replace(
            self.reached,
            path=self.path,
            offset=offset,
            rows=rows,
            head_len=head_len,
            head=head,
            is_skipping=self._reader.is_skipping,
            header=self._reader.header,
            size=status.st_size if is_at_end else 0,
            mtime_ns=status.st_mtime_ns if is_at_end else 0,
        )

    def _is_cut(self, source: Source, status: os.stat_result) -> bool:
        """Whether somebody truncated the file, and perhaps wrote to it again, or put other bytes into it."""
        known = self.reached.head_len
        return status.st_size < self._extent or (known > 0 and fingerprint(source.head(known)) != self.reached.head)

    def _begin_again(self, source: Source) -> Source:
        self.cut_from = self.reached
        if not isinstance(source, Plain):  # another archive of the same name
            self.close()
            source = self.open()
        self._reader.restart(source.read(0, 1))
        device, inode = self.identity
        self.head = b""
        self.reached = Position(device=device, inode=inode, path=self.path, header=self._reader.header)
        return source
