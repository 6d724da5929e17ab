"""The ``jsonl`` format: one JSON object a line. Log records are written byte for byte as they came unless the
configuration asks for changes; of events and prints, which are not text, the plain records of `appliance.zeek.events`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from appliance.config import Sink
from appliance.model import LogBatch
from appliance.runtime.partfile import Repair, repair_lines
from appliance.zeek.events import json_lines

from .fields import AddedMembers
from .format import Batch, Columns, Encoded
from .times import TimeRewriter

__all__ = ["JsonlFormat"]


class JsonlFormat:
    """See the module and `LineFormat`."""

    def __init__(self, config: Sink) -> None:
        self._times = None if config.time_format == "epoch" else TimeRewriter(config.time_format)
        self._members = AddedMembers(config.add_fields, config.time_format) if config.add_fields else None

    def key(self, batch: LogBatch) -> tuple[str, Columns]:  # noqa: ARG002 - rows of all logs may share a file
        return ("", ())

    def encode(self, batch: Batch, now_ns: int) -> Encoded:
        refused: Sequence[int] = ()
        if not isinstance(batch, LogBatch):
            data, refused = json_lines(batch)
            rows = batch.count - len(refused)
            batch = LogBatch(path=batch.name, source=batch.source, data=data, count=rows)
        data = batch.data
        if self._times is not None:
            data = self._times.rewrite(data, batch.count, batch.columns)
        if self._members is not None:
            data = self._members.add(batch, data, now_ns)
        return Encoded(data, refused, "undecodable")

    def begin(self, key: tuple[str, Columns], now_ns: int) -> bytes:  # noqa: ARG002
        return b""

    def end(self, now_ns: int) -> bytes:  # noqa: ARG002
        return b""

    def repair(self, part: Path) -> Repair:
        return repair_lines(part)
