"""The ``tsv`` format: Zeek's ASCII logs, with its header and ``#close``. Times in directives are UTC.

A file holds one log with one list of columns. Records of doors that do not know the columns have no place in it.
"""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import msgspec

from appliance.model import LogBatch
from appliance.runtime.partfile import Repair, repair_lines
from appliance.zeek.schema import LogSchema, as_bytes
from appliance.zeek.tsv_header import TsvHeader
from appliance.zeek.tsv_write import TsvWriter, parse_json_record

from .format import Batch, Columns, Encoded

__all__ = ["TsvFormat"]

_CLOSE = b"#close"
_LAST_LINE = 64  # bytes; `#close` and its time have 27


class _Table(NamedTuple):
    schema: LogSchema
    writer: TsvWriter


@lru_cache(maxsize=1024)
def _table(path: str, columns: Columns) -> _Table | None:
    """None: no columns, or some that such a log cannot have."""
    names = tuple(name for name, _ in columns)
    if not names or not all(name and name.isprintable() for name in names):
        return None  # a line break or half a character, where the peer should have sent a name
    try:
        text = as_bytes(path).decode(errors="replace")
    except UnicodeEncodeError:
        return None
    header = TsvHeader(path=text, names=names, types=tuple(kind for _, kind in columns))
    try:
        return _Table(header.schema, TsvWriter(header))
    except ValueError:
        return None


def _timestamp(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // 10**9, UTC).strftime("%Y-%m-%d-%H-%M-%S")


class TsvFormat:
    """See the module and `LineFormat`."""

    def key(self, batch: LogBatch) -> tuple[str, Columns]:
        return (batch.path, batch.columns)

    def encode(self, batch: Batch, now_ns: int) -> Encoded:  # noqa: ARG002 - a record has its times
        if not isinstance(batch, LogBatch) or (table := _table(batch.path, batch.columns)) is None:
            return Encoded(b"", range(batch.count), "no_columns")
        lines: list[bytes] = []
        refused: list[int] = []
        for position, row in enumerate(batch.rows()):
            try:
                lines.append(table.writer.line(parse_json_record(table.schema, row)))
            except (ValueError, TypeError, AttributeError, OverflowError):  # a value that is not of its column's type
                refused.append(position)
        return Encoded(b"".join(lines), refused, "bad_format")

    def begin(self, key: tuple[str, Columns], now_ns: int) -> bytes:
        table = _table(*key)
        assert table is not None, "no line was ever made of it"
        header = msgspec.structs.replace(table.writer.header, opened=_timestamp(now_ns))
        return TsvWriter(header).begin()

    def end(self, now_ns: int) -> bytes:
        return _CLOSE + b"\t" + _timestamp(now_ns).encode() + b"\n"

    def repair(self, part: Path) -> Repair:
        """Cut a torn last line, and say when the log was closed: when somebody wrote to it for the last time.

        A file without a record is not worth keeping.
        """
        written_ns = part.lstat().st_mtime_ns
        repaired = repair_lines(part)
        fd = os.open(part, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            with open(fd, "rb", closefd=False) as file:
                if not file.readline().startswith(b"#separator "):
                    return repaired  # of a sink of another kind that had this path
                if all(line.startswith(b"#") for line in file):
                    return Repair(cut=repaired.cut, size=0)
            _, newline, last = os.pread(fd, _LAST_LINE, max(0, repaired.size - _LAST_LINE))[:-1].rpartition(b"\n")
            if newline and last.startswith(_CLOSE + b"\t"):
                return repaired
            end = self.end(written_ns)
            if os.pwrite(fd, end, repaired.size) < len(end):
                os.ftruncate(fd, repaired.size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(part))
        finally:
            os.close(fd)
        return Repair(cut=repaired.cut, size=repaired.size + len(end))
