"""The files that a sink writes to: which are open, when each is complete, and what they are called.

`OutputFiles.write` and what it calls run in a worker thread, one call at a time; the rest belongs to the loop, while no
such call is on its way.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from appliance.config import Sink
from appliance.model import EventBatch, Item, LogBatch, NodeStatus, Print
from appliance.runtime.outfile import OutFile
from appliance.runtime.pattern import PathPattern
from appliance.runtime.rotation import Rotation

from .format import Columns, Encoded, LineFormat

__all__ = ["FIELDS", "MAX_OPEN", "Key", "OutputFiles", "Settled"]

FIELDS = ("path", "node", "source")
MAX_OPEN = 256
"""Files open at a time; log paths come from the network. The one that was idle longest is finished for a new one."""


class Key(NamedTuple):
    """What batches of one file have in common."""

    fields: tuple[str, ...]
    """Values of the fields that the file's name is made of."""
    format: tuple[str, Columns]


class Settled(NamedTuple):
    """Records that are dealt with, in the order in which they were given."""

    written: int
    refused: int = 0
    reason: str = ""


class _Output:
    """One open file and when it is due."""

    def __init__(self, file: OutFile, due_s: float | None) -> None:
        self.file = file
        self.due_s = due_s


class _Now(NamedTuple):
    monotonic_s: float
    wall_ns: int


class OutputFiles:
    """See the module.

    Args:
        config: path and limits.
        pattern: made of the path.
        line_format: of the lines.
        finish: called in the worker thread for a complete file, if too many of them wait for `take_complete`.
    """

    def __init__(
        self,
        config: Sink,
        *,
        pattern: PathPattern,
        line_format: LineFormat,
        finish: Callable[[OutFile], None],
    ) -> None:
        self._pattern = pattern
        self._line_format = line_format
        self._finish = finish
        self._fields = [field for field in FIELDS if field in pattern.used_fields]
        self._rotation = Rotation.every(
            int(config.rotate_every),
            aligned=True,
            max_bytes=None if config.rotate_size is None else int(config.rotate_size),
        )
        self._outputs: OrderedDict[Key, _Output] = OrderedDict()
        self._complete: list[OutFile] = []
        """Files that get no more records and are not yet taken."""
        self.written_bytes = 0

    @property
    def open_files(self) -> int:
        return len(self._outputs)

    @property
    def due_s(self) -> float:
        """When the next file is due, on the loop's clock."""
        return min((o.due_s for o in self._outputs.values() if o.due_s is not None), default=math.inf)

    def key(self, item: Item) -> Key:
        fields = tuple([item.name if field == "path" else getattr(item, field, "") for field in self._fields])
        return Key(fields, self._line_format.key(item) if isinstance(item, LogBatch) else ("", ()))

    def end_due(self, now_s: float) -> None:
        """No more records into files whose time has come."""
        self._end(*[key for key, output in self._outputs.items() if output.due_s is not None and output.due_s <= now_s])

    def end_all(self) -> None:
        self._end(*self._outputs)

    def take_complete(self) -> list[OutFile]:
        """Files that get no more records; the caller finishes them."""
        files, self._complete = self._complete, []
        return files

    def write(self, items: Iterable[Item], now_s: float, now_ns: int, settled: list[Settled]) -> None:
        """Write items, which are sorted by `key`, and append to `settled` what has become of them, step by step.

        Args:
            items: what to write.
            now_s: the loop's clock.
            now_ns: wall clock, read before the other one, as `Rotation.monotonic_deadline_ns` wants.
            settled: if this raises, the records that are not in it are to be written again.

        Raises:
            OSError: the disk says no.
        """
        now = _Now(now_s, now_ns)
        for key, group in groupby(items, key=self.key):
            batches = [item for item in group if isinstance(item, LogBatch | EventBatch | Print | NodeStatus)]
            if self._rotation.max_bytes is None:
                encoded = [self._line_format.encode(batch, now_ns) for batch in batches]
                self._append(key, [each.data for each in encoded if each.data], now)
                settled += [
                    Settled(batch.count - len(each.refused), len(each.refused), each.reason)
                    for batch, each in zip(batches, encoded, strict=True)
                ]
            else:
                for batch in batches:
                    self._write_limited(key, self._line_format.encode(batch, now_ns), now, settled)

    def _append(self, key: Key, blocks: Sequence[bytes], now: _Now) -> None:
        if blocks:
            file = self._file(key, now)
            begin = b"" if file.size else self._line_format.begin(key.format, now.wall_ns)
            before = file.size
            file.write([begin, *blocks])
            self.written_bytes += file.size - before

    def _write_limited(self, key: Key, encoded: Encoded, now: _Now, settled: list[Settled]) -> None:
        """Write lines so that no file exceeds the limit; a line that does so alone has a file of its own."""
        data, refused = encoded.data, encoded.refused
        limit = (self._rotation.max_bytes or 0) - len(self._line_format.end(now.wall_ns))
        start = written = passed = 0
        while start < len(data):
            file = self._file(key, now)
            room = limit - (file.size or len(self._line_format.begin(key.format, now.wall_ns)))
            end = data.rfind(b"\n", start, max(start, start + room)) + 1
            if not end:
                if file.size:
                    self._end(key)
                    continue
                end = data.index(b"\n", start) + 1
            self._append(key, [data[start:end]], now)
            count = data.count(b"\n", start, end)
            # Refused records before the last one that was written, so that what is settled has no holes.
            start, written, before = end, written + count, passed
            while passed < len(refused) and refused[passed] - passed <= written:
                passed += 1
            settled.append(Settled(count, passed - before, encoded.reason))
        settled.append(Settled(0, len(refused) - passed, encoded.reason))

    def _end(self, *keys: Key) -> None:
        self._complete += [self._outputs.pop(key).file for key in keys]

    def _file(self, key: Key, now: _Now) -> OutFile:
        """The open file for `key`, opened if there is none."""
        output = self._outputs.get(key)
        if output is None:
            if len(self._outputs) >= MAX_OPEN:
                self._end(next(iter(self._outputs)))
            if len(self._complete) >= MAX_OPEN:
                self._finish(self._complete.pop(0))
            name = self._pattern.render(now.wall_ns, dict(zip(self._fields, key.fields, strict=True)))
            mono_ns = int(now.monotonic_s * 1e9)
            due_ns = self._rotation.monotonic_deadline_ns(wall_ns=now.wall_ns, mono_ns=mono_ns)
            output = _Output(OutFile.open_new(Path(name)), None if due_ns is None else due_ns / 1e9)
            self._outputs[key] = output
        self._outputs.move_to_end(key)
        return output.file
