"""Log records as they pass by, for somebody who reads: a sample, of which nothing is ever waited for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import trio

from appliance.model import Item, LogBatch
from appliance.runtime.ledger import Account
from appliance.runtime.queue import ItemQueue

__all__ = ["PER_SECOND", "Line", "Tap"]

PER_SECOND = 40
"""More nobody can read."""
MAX_WAITING = 200
MAX_BYTES = 4096
"""Of one record; what is longer is cut."""


class Line(NamedTuple):
    """One record."""

    path: str
    data: bytes
    """JSON, or the beginning of it."""


class Tap(ItemQueue):
    """Where the dispatcher puts log records. It holds nothing that it could lose: what fits is taken at once, and the
    rest is booked as unwanted.

    Args:
        contains: bytes that a record must have in it; empty: any.
        clock: seconds, monotonic.
    """

    def __init__(self, account: Account, contains: bytes, clock: Callable[[], float] = trio.current_time) -> None:
        super().__init__(account, policy="drop_newest", max_records=1, max_bytes=1)
        self._contains = contains
        self._clock = clock
        self._lines: list[Line] = []
        self._left, self._since_s = PER_SECOND, clock()
        self.skipped = 0
        """Records that were wanted, as far as they were looked at, and not shown."""

    def put_nowait(self, item: Item) -> Item | None:
        self.account.received += item.count
        taken = self._choose(item) if isinstance(item, LogBatch) else 0
        self.account.delivered += taken
        self.account.drop("unwanted", item.count - taken)
        return None

    def _choose(self, batch: LogBatch) -> int:
        now = self._clock()
        if now - self._since_s >= 1.0:
            self._left, self._since_s = PER_SECOND, now
        room = min(self._left, MAX_WAITING - len(self._lines))
        taken = 0
        for row in _rows(batch.data, self._contains):
            if taken >= room:
                self.skipped += 1 if self._contains else batch.count - taken
                break
            self._lines.append(Line(batch.path, row[:MAX_BYTES]))
            taken += 1
        self._left -= taken
        return taken

    def read(self) -> tuple[list[Line], int]:
        """What has come since the last time, and how many records were left out."""
        lines, skipped = self._lines, self.skipped
        self._lines, self.skipped = [], 0
        return lines, skipped


def _rows(data: bytes, contains: bytes) -> Iterator[bytes]:
    """Rows that have it in them. The text is looked for in the whole: most blocks have it nowhere."""
    start = 0
    while start < len(data):
        at = data.find(contains, start) if contains else start
        if at < 0:
            return
        begin = data.rfind(b"\n", start, at) + 1 or start
        end = data.find(b"\n", at)
        end = len(data) if end < 0 else end
        yield data[begin:end]
        start = end + 1
