"""Segments on disk as sources of packets: found in a recorder's directory, opened when they are needed. Blocks."""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from appliance.native import SegmentIndex

from .names import PART, PCAP, ZST, SegmentName, index_of, plain_of

__all__ = ["FOREVER_NS", "FileSource", "OpenFile", "find_sources", "read_source"]

FOREVER_NS = (1 << 63) - 1
"""The latest time of a source of which nobody knows it."""
CLOCK_STEP_NS = 3600 * 10**9
"""How far the time in a segment's name may be from that of its packets: the clock may be set back meanwhile."""
_MAGICS = {
    bytes.fromhex(magic): (order, scale)
    for magic, order, scale in (
        ("d4c3b2a1", "<", 1000), ("4d3cb2a1", "<", 1), ("a1b2c3d4", ">", 1000), ("a1b23c4d", ">", 1),
    )
}  # fmt: skip
_START_BYTES = 40
"""The file header and the first record's."""
_LINKTYPE_MASK = 0x03FFFFFF
_COPY_BYTES = 1 << 17


class OpenFile:
    """A source while it is open.

    Args:
        pcap: the PCAP, compressed or not.
        index: an index or a journal, if there is one.
        is_packed: the PCAP is compressed; it is unpacked when its descriptor is asked for.
    """

    def __init__(self, pcap: BinaryIO, index: BinaryIO | None, *, is_packed: bool = False) -> None:
        self._pcap, self._index, self.is_packed = pcap, index, is_packed
        self.pcap_bytes: int | None = None
        self._unpacked: BinaryIO | None = None

    @property
    def index_fd(self) -> int | None:
        return None if self._index is None else self._index.fileno()

    @property
    def pcap_fd(self) -> int:
        """To be read with pread(2).

        Raises:
            OSError: the temporary directory has no room for what is unpacked.
            ValueError: it cannot be unpacked.
        """
        if not self.is_packed:
            return self._pcap.fileno()
        if self._unpacked is None:
            self._unpacked = _unpack(self._pcap)
        return self._unpacked.fileno()

    def read_start(self) -> bytes:
        """What the PCAP begins with, as much as is there of its header and that of its first record."""
        if not self.is_packed:
            return os.pread(self.pcap_fd, _START_BYTES, 0)
        import zstandard

        reader = zstandard.ZstdDecompressor().stream_reader(self._pcap, read_size=4096, closefd=False)
        try:
            return reader.read(_START_BYTES)
        except zstandard.ZstdError as exc:
            raise ValueError(f"it cannot be unpacked: {exc}") from exc

    def close(self) -> None:
        for file in (self._pcap, self._index, self._unpacked):
            if file is not None:
                file.close()


class FileSource:
    """A segment in a file, with the index or journal that stands beside it. A `Source`.

    It is found also when the recorder gives it its final name, or compresses it, between two openings.

    Args:
        path: the PCAP, ``.part`` while it grows, or compressed with ``.zst``.
        first_ns: time of the earliest packet; 0 if unknown.
        last_ns: time of the latest packet; `FOREVER_NS` if unknown.
        linktype: of its packets.
        is_growing: somebody writes it.
    """

    def __init__(
        self, path: Path, *, first_ns: int = 0, last_ns: int = FOREVER_NS, linktype: int = 1, is_growing: bool = False
    ) -> None:
        self.path = path
        self.first_ns = first_ns
        self.last_ns = last_ns
        self.linktype = linktype
        self.is_growing = is_growing

    def __str__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"FileSource({str(self.path)!r})"

    @contextlib.contextmanager
    def open(self) -> Iterator[OpenFile]:
        """Blocks.

        Raises:
            FileNotFoundError: it was deleted meanwhile.
            OSError: it cannot be read.
        """
        opened = _open(self.path, self.first_ns)
        try:
            yield opened
        finally:
            opened.close()


def _open(path: Path, first_ns: int = 0) -> OpenFile:
    names = [path, plain_of(path)]
    if path.name.endswith(PART) and first_ns and (name := SegmentName.parse(names[1].name)):
        # While it was empty it had the time of its opening; a finished one has that of its first packet.
        names.append(path.with_name(str(name._replace(time_ns=first_ns))))
    pcap = _open_first(each for name in names for each in (name, name.with_name(name.name + ZST)))
    if pcap is None:
        raise FileNotFoundError(errno.ENOENT, "the segment was deleted", str(path))
    found = Path(str(pcap.name))
    index = index_of(plain_of(found))
    try:
        sidecar = _open_first([index, index.with_name(index.name + PART)])
    except OSError:
        sidecar = None  # the PCAP can be read without
    return OpenFile(pcap, sidecar, is_packed=found.suffix == ZST)


def _open_first(paths: Iterable[Path]) -> BinaryIO | None:
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            return open(path, "rb", 0, opener=_open_at_once)
    return None


def _open_at_once(path: str, flags: int) -> int:
    """A FIFO of that name would wait for a writer."""
    return os.open(path, flags | os.O_NONBLOCK)


def _unpack(packed: BinaryIO) -> BinaryIO:
    import zstandard

    file = tempfile.TemporaryFile(prefix="broappliance-")  # noqa: SIM115 - closed with its `OpenFile`
    try:
        packed.seek(0)
        unpacker = zstandard.ZstdDecompressor().decompressobj(write_size=_COPY_BYTES)
        while block := packed.read(_COPY_BYTES):
            file.write(unpacker.decompress(block))
        if not unpacker.eof:
            raise ValueError("it cannot be unpacked: its end is missing")
        file.flush()
    except zstandard.ZstdError as exc:
        file.close()
        raise ValueError(f"it cannot be unpacked: {exc}") from exc
    except BaseException:
        file.close()
        raise
    return file


def read_source(path: Path) -> FileSource | None:
    """Look into a PCAP, and into the index beside it, for link type and times; None: it holds no packet yet.

    Raises:
        FileNotFoundError: it is gone.
        OSError: it cannot be read.
        ValueError: it is no PCAP file.
    """
    opened = _open(path)
    try:
        found = _times_of_index(opened)
        is_growing = path.name.endswith(PART)
        if found is not None:
            return FileSource(path, first_ns=found[1], last_ns=found[2], linktype=found[0])
        start = opened.read_start()
        if len(start) < _START_BYTES:
            if start and start[:4] not in _MAGICS:
                raise ValueError("no PCAP file")
            return None
        linktype, first_ns = _parse_start(start)
        if is_growing and not any(start[24:]):
            return None  # room was made for the file, and nothing written yet
        return FileSource(path, first_ns=first_ns, linktype=linktype, is_growing=is_growing)
    finally:
        opened.close()


def _times_of_index(opened: OpenFile) -> tuple[int, int, int] | None:
    """Link type, first and last time, if there is an index that is complete."""
    if opened.index_fd is None:
        return None
    try:
        index = SegmentIndex(opened.index_fd)
    except (OSError, ValueError):
        return None
    info = index.info()
    index.close()
    return (info.linktype, info.first_ns, info.last_ns) if info.is_complete and info.packets else None


def _parse_start(start: bytes) -> tuple[int, int]:
    """Link type and time of the first record."""
    if start[:4] not in _MAGICS:
        raise ValueError("no PCAP file")
    order, scale = _MAGICS[start[:4]]
    linktype, seconds, fraction = struct.unpack_from(order + "III", start, 20)
    return linktype & _LINKTYPE_MASK, seconds * 10**9 + fraction * scale


def find_sources(
    directory: Path, recorder: str | None = None, *, from_ns: int = 0, to_ns: int = FOREVER_NS
) -> list[FileSource]:
    """The segments of a recorder, finished and growing, that may have packets of a time, the oldest first.

    Their names alone rule most of them out; of the others the index, or else the first packet, is looked at.

    Args:
        directory: of the recorder; other files in it are passed over.
        recorder: its name; None: all that have segments there.
        from_ns: nanoseconds since the epoch, inclusive as is `to_ns`.
        to_ns: the end of the time.

    Raises:
        FileNotFoundError: there is no such directory.
        OSError: it, or a segment in it, cannot be read.
    """
    found: dict[Path, Path] = {}
    for path in directory.iterdir():
        plain = plain_of(path)
        is_double = plain in found and _preference(found[plain]) <= _preference(path)
        if not path.name.endswith(ZST + PART) and plain.suffix == PCAP and not is_double:
            found[plain] = path
    sources = []
    for path in _in_time(found, recorder, from_ns, to_ns):
        with contextlib.suppress(FileNotFoundError, ValueError):
            source = read_source(path)
            if source is not None and source.first_ns <= to_ns and source.last_ns >= from_ns:
                sources.append(source)
    return sorted(sources, key=lambda source: (source.first_ns, str(source.path)))


def _preference(path: Path) -> int:
    """Of two files of one segment, for a moment both there, the finished one, and that which need not be unpacked."""
    return 2 if path.name.endswith(PART) else 1 if path.name.endswith(ZST) else 0


def _in_time(found: dict[Path, Path], recorder: str | None, from_ns: int, to_ns: int) -> Iterator[Path]:
    """Those that may be in time: a segment ends about when the next of its member begins."""
    members: dict[tuple[str, int], list[tuple[int, Path]]] = {}
    for plain, path in found.items():
        name = SegmentName.parse(plain.name)
        if name is not None and recorder in (None, name.recorder):
            members.setdefault((name.recorder, name.member), []).append((name.time_ns, path))
    for segments in members.values():
        segments.sort()
        ends = [opened_ns for opened_ns, _ in segments[1:]] + [FOREVER_NS]
        for (opened_ns, path), end_ns in zip(segments, ends, strict=True):
            if opened_ns - CLOCK_STEP_NS <= to_ns and end_ns + CLOCK_STEP_NS >= from_ns:
                yield path
