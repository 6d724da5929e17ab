"""New capture files: they appear by rename and never replace another one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from appliance.errors import ApplianceError
from appliance.runtime.partfile import PartFile

from .batch import Interface
from .encode import Encoder, Format, make_encoder
from .reader import Packet

__all__ = ["Nowhere", "Output", "Stream", "new_file", "refusal", "refuse_existing", "telling"]

_BUFFER_BYTES = 1 << 20
_BUFFERS = 512
"""Records in one writev(2), below its limit of 1024."""


class _File(Protocol):
    def write(self, buffers: list[bytes]) -> None: ...


class Nowhere:
    """What a dry run writes to."""

    def write(self, buffers: list[bytes]) -> None:
        del buffers


class Stream:
    """A stream of somebody else's, such as standard output."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, buffers: list[bytes]) -> None:
        self._stream.writelines(buffers)


class Output:
    """Packets into one file, a block at a time; the file's header is made of its first packet."""

    def __init__(self, file: _File, kind: Format) -> None:
        self._file = file
        self._kind = kind
        self._encoder: Encoder | None = None
        self._buffers: list[bytes] = []
        self._held = 0
        self.packets = 0
        self.size = 0
        """Bytes of the file, with those that are not written yet."""
        self.first_ns = self.last_ns = 0
        """The earliest and the latest time; 0 without packets."""

    def add(self, packet: Packet) -> None:
        """Append a packet; may block.

        Raises:
            ApplianceError: the format cannot hold it.
            OSError: the disk says no.
        """
        if self._encoder is None:
            self._encoder = make_encoder(self._kind, packet.interface)
            self._put(self._encoder.header)
            self.first_ns = self.last_ns = packet.ts_ns
        self._put(self._encoder.encode(packet))
        self.packets += 1
        if packet.ts_ns > self.last_ns:
            self.last_ns = packet.ts_ns
        elif packet.ts_ns < self.first_ns:
            self.first_ns = packet.ts_ns

    def end(self, interface: Interface) -> None:
        """Write what is held; a file without packets gets a header as if `interface` had some. May block."""
        if self._encoder is None:
            self._put(make_encoder(self._kind, interface).header)
        self.flush()

    def _put(self, data: bytes) -> None:
        self._buffers.append(data)
        self._held += len(data)
        self.size += len(data)
        if self._held >= _BUFFER_BYTES or len(self._buffers) >= _BUFFERS:
            self.flush()

    def flush(self) -> None:
        """Write what is held; blocks."""
        self._file.write(self._buffers)
        self._buffers, self._held = [], 0


def refuse_existing(path: Path) -> None:
    """Raises ApplianceError if something stands at `path`."""
    if os.path.lexists(path):
        raise ApplianceError(f"{path} exists, nothing is overwritten", hint="remove it, or choose another name")


@contextmanager
def telling(path: Path) -> Iterator[None]:
    """Turns what the disk says into an `ApplianceError`."""
    try:
        yield
    except OSError as exc:
        raise refusal(path, exc) from exc


def refusal(path: Path, exc: OSError) -> ApplianceError:
    """What the disk says about a file, for people."""
    return ApplianceError(f"cannot write {exc.filename or path}: {exc.strerror or exc}")


@contextmanager
def new_file(path: Path) -> Iterator[PartFile]:
    """A file that gets its name, or the next free one, at the end of the block and is removed if that is left early.

    Raises:
        ApplianceError: the disk says no.
    """
    with telling(path):
        file = PartFile.create(path)
        try:
            yield file
            file.finish()
        except BaseException:
            file.discard()
            raise
