"""Capture files, plain or compressed, block by block in constant memory, up to the last whole record of a torn one."""

from __future__ import annotations

import errno
import gzip
import io
import os
import stat
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self

from appliance.errors import ApplianceError, RemoteProtocolError

from .batch import UNTIMED, Batch, Decoder, Interface
from .blocks import PcapngDecoder, is_pcapng
from .classic import HEADER_BYTES, PcapDecoder, is_pcap

__all__ = ["CaptureReader", "Packet", "find_captures"]

BLOCK_BYTES = 1 << 20
_ENDINGS = tuple(f".{kind}{packed}" for kind in ("pcap", "pcapng", "cap") for packed in ("", ".gz", ".zst"))
_COMPRESSIONS = {b"\x1f\x8b": "gzip", b"\x28\xb5": "zstd"}


class Packet(NamedTuple):
    """One packet; tuples of different files compare by time, then by the file's number."""

    ts_ns: int
    """A packet without a time has that of the one before it in its file, the first one 0."""
    file: int
    interface: Interface
    length: int
    """On the wire."""
    data: bytes


def find_captures(paths: list[Path]) -> list[Path]:
    """The files that are meant: a folder stands for the capture files in it that are not being written.

    Raises:
        ApplianceError: a path does not exist, or is neither file nor folder.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(each for each in path.iterdir() if each.name.endswith(_ENDINGS) and each.is_file())
        elif path.is_file():
            found.append(path)
        else:
            raise ApplianceError(f"{path}: {'is no regular file' if path.exists() else os.strerror(errno.ENOENT)}")
    return found


class CaptureReader:
    """Reads one file from its beginning; a context manager.

    Args:
        path: PCAP or pcapng, also compressed with gzip or zstd.
        number: of the file, for its packets.
        progress: told how many bytes of the file were read since the last call.

    Raises:
        ApplianceError: it cannot be read.
        RemoteProtocolError: it is no capture file.

    Resource handling: leaving the context closes the file.
    """

    def __init__(self, path: Path, *, number: int = 0, progress: Callable[[int], object] = lambda _: None) -> None:
        self.path = path
        self.number = number
        self.compression = "none"
        self.torn = 0
        """Bytes after the last whole record at the end, known after the last batch."""
        self.damage = ""
        """Why what follows the last batch cannot be read; empty if that is the end."""
        self._progress = progress
        self._told = 0
        self._damages: tuple[type[Exception], ...] = (zlib.error, gzip.BadGzipFile)
        """What readers of damaged data raise."""
        self._raw = _open(path)
        try:
            self._stream = self._unpack()
            self._rest = self._read(HEADER_BYTES)
            self.decoder = self._choose()
        except BaseException:
            self._raw.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._raw.close()

    @property
    def interfaces(self) -> list[Interface]:
        return self.decoder.interfaces if self.decoder else []

    def _unpack(self) -> BinaryIO:
        start = self._raw.peek(4)[:4]
        self.compression = _COMPRESSIONS.get(start[:2], "none")
        if self.compression == "gzip":
            return gzip.GzipFile(fileobj=self._raw)  # type: ignore[return-value]
        if self.compression == "zstd":
            import zstandard

            self._damages += (zstandard.ZstdError,)
            return zstandard.ZstdDecompressor().stream_reader(self._raw, read_across_frames=True, closefd=False)
        return self._raw

    def _choose(self) -> Decoder | None:
        """What reads this file; None: it is empty or ends within its header."""
        start = self._rest
        if is_pcapng(start):
            return PcapngDecoder()
        if not start and not self.damage:
            return None
        if not is_pcap(start):
            raise RemoteProtocolError(f"{self.path}: is no capture file" + (f": {self.damage}" if self.damage else ""))
        if len(start) < HEADER_BYTES:
            self.torn = len(start)
            return None
        self._rest = b""
        try:
            return PcapDecoder(start)
        except RemoteProtocolError as exc:
            raise RemoteProtocolError(f"{self.path}: {exc.message}") from None

    def _read(self, wanted: int) -> bytes:
        """Up to `wanted` bytes, less only at the end of what can be read."""
        pieces: list[bytes] = []
        try:
            while wanted > 0 and (piece := self._stream.read(min(wanted, BLOCK_BYTES))):
                pieces.append(piece)
                wanted -= len(piece)
        except EOFError:
            self.damage = "the compressed data ends too early"
        except self._damages:
            self.damage = "the compressed data is damaged"
        except OSError as exc:
            raise ApplianceError(f"{self.path}: cannot be read: {exc.strerror}") from exc
        at = self._raw.tell()
        self._progress(at - self._told)
        self._told = at
        return b"".join(pieces)

    def batches(self) -> Iterator[Batch]:
        """The packets, once; then `torn` and `damage` tell how the file ends."""
        decoder = self.decoder
        if decoder is None:
            return
        while True:
            more = self._read(max(BLOCK_BYTES, decoder.need - len(self._rest)))
            data = self._rest + more
            batch, used = decoder.decode(data)
            if batch.times:
                yield batch
            self._rest = data[used:]
            if decoder.damage:
                self.damage = decoder.damage
                return
            if not more:
                self.torn = len(self._rest)
                return

    def packets(self, from_ns: int | None = None, to_ns: int | None = None) -> Iterator[Packet]:
        """One by one; only those with ``from_ns <= time < to_ns``."""
        low = 0 if from_ns is None else from_ns
        high = 1 << 64 if to_ns is None else to_ns
        last = 0
        number, interfaces = self.number, self.interfaces
        for data, times, starts, caplens, lengths, indexes in self.batches():
            is_timed = UNTIMED not in times
            if is_timed and (max(times) < low or min(times) >= high):
                last = times[-1]
                continue
            for time, start, caplen, length, index in zip(times, starts, caplens, lengths, indexes, strict=True):
                ts_ns = time if is_timed or time != UNTIMED else last
                last = ts_ns
                if low <= ts_ns < high:
                    yield Packet(ts_ns, number, interfaces[index], length, data[start : start + caplen])


def _open(path: Path) -> io.BufferedReader:
    """Raises ApplianceError unless it is a regular file that can be opened."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # or a FIFO would wait for a writer
    except OSError as exc:
        raise ApplianceError(f"{path}: cannot be read: {exc.strerror}") from exc
    file = open(fd, "rb")  # noqa: PTH123, SIM115 - a descriptor, which the reader closes
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        file.close()
        raise ApplianceError(f"{path}: is no regular file")
    return file
