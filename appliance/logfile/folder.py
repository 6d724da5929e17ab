"""The logs in a folder, as a run of Zeek leaves them: records as they come from any door, read as they are asked for.

Everything here blocks on the disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from appliance.errors import RemoteProtocolError
from appliance.native.lines import LineBuffer

from .lines import LineReader
from .naming import log_path_of
from .source import ArchiveError, open_source

__all__ = ["LogFolder", "read_log"]

_BLOCK = 1 << 20
MAX_RECORD = 64 << 20


class LogFolder:
    """The logs in one folder, not those in folders below it.

    Args:
        path: of the folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def paths(self) -> dict[str, list[Path]]:
        """The files by log path, in the order of their names: one, or those that a rotation has left.

        Raises:
            OSError: the folder cannot be read.
        """
        found: dict[str, list[Path]] = {}
        for file in sorted(self.path.iterdir()):
            if ".log" in file.name and file.name[0] != "." and file.is_file():
                found.setdefault(log_path_of(file.name), []).append(file)
        return found

    def read(self, path: str) -> Iterator[dict[str, Any]]:
        """The records of one log, one after the other; none if there is no such log. See `read_log`."""
        for file in self.paths().get(path, ()):
            yield from read_log(file)


def read_log(file: str | Path) -> Iterator[dict[str, Any]]:
    """The records of a log file, TSV or JSON, also compressed, with Zeek's field names as keys.

    They are what a hook on ``log:`` gets: a field that is not set is missing, times are seconds since the epoch.

    Raises:
        OSError: it cannot be read.
        RemoteProtocolError: a line in it is no record, or an archive is broken; the records before it were there.

    Resource handling: the file is closed when the iterator ends, or is closed.
    """
    source = open_source(str(file))
    try:
        reader = LineReader(log_path_of(Path(file).name), max_line=MAX_RECORD, buffer=LineBuffer())
        at, size = 0, _BLOCK
        while block := source.read(at, size):
            is_end = len(block) < size
            piece = reader.convert(block + b"\n" if is_end and block[-1:] != b"\n" else block)
            for group in piece.groups:
                for row in group.data.splitlines():
                    yield msgspec.json.decode(row)
            if piece.complaint:
                raise RemoteProtocolError(f"{file}: {piece.complaint}")
            if is_end:
                return
            at += piece.consumed
            size = _BLOCK if piece.consumed else 2 * size  # a line that is longer than a block
    except ArchiveError as exc:
        raise RemoteProtocolError(f"{file}: {exc}") from exc
    finally:
        source.close()
