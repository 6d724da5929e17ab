"""A sink with its queue and its account in a folder of its own, under a clock that the test moves."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
import trio.testing
import zstandard

from appliance.config import Duration, Sink, Size
from appliance.model import LogBatch
from appliance.runtime.ledger import Account, AccountFigures
from appliance.runtime.queue import ItemQueue
from appliance.sinks.sink import FileSink

S = 10**9
HOUR_S = 3600
WALL_NS = 1_700_000_000 * S  # 2023-11-14T22:13:20Z
TO_THE_HOUR_S = HOUR_S - 13 * 60 - 20


def batch(
    *rows: str | int,
    path: str = "conn",
    node: str = "",
    source: str = "zmq.a",
    columns: tuple[tuple[str, str], ...] = (),
) -> LogBatch:
    """Numbers become rows of eleven bytes."""
    texts = [b'{"n":%4d}\n' % row if isinstance(row, int) else row.encode() + b"\n" for row in rows]
    return LogBatch(path=path, node=node, source=source, data=b"".join(texts), count=len(texts), columns=columns)


async def wait_until(condition: Callable[[], object]) -> None:
    """Let the loop and its threads go on until `condition` holds; real time, because virtual time may stand still."""
    patience = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < patience, "waited in vain"
        await trio.lowlevel.checkpoint()


async def later(clock: trio.testing.MockClock, seconds: float) -> None:
    """Let everybody wait for what he waits for, then let time pass."""
    await trio.testing.wait_all_tasks_blocked()
    clock.jump(seconds)


async def pass_until(clock: trio.testing.MockClock, step_s: float, condition: Callable[[], object]) -> None:
    """Let time pass, step by step, until `condition` holds: whoever waits for a thread misses a step."""
    patience = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < patience, "waited in vain"
        await later(clock, step_s)


def content(path: Path) -> bytes:
    """What a file holds, unpacked by the ending of its name."""
    data = path.read_bytes()
    return zstandard.ZstdDecompressor().decompress(data) if path.suffix == ".zst" else data


def sink_table(folder: Path, path: str = "{path}/%H.log", **table: Any) -> Sink:
    """The table of a sink that writes below `folder`."""
    for key in ("rotate_every", "flush_every"):
        if key in table:
            table[key] = Duration(int(table[key] * S))
    if "rotate_size" in table:
        table["rotate_size"] = Size(table["rotate_size"])
    return Sink(name="s", on=("log:*",), path=f"{folder}/{path}", **table)


class Bench:
    """See the module. `wall_ns` may be stepped."""

    def __init__(self, folder: Path, path: str = "{path}/%H.log", **table: Any) -> None:
        self.folder = folder
        self.wall_ns = WALL_NS
        self._clock = trio.lowlevel.current_clock()  # worker threads read it, too
        self._began_s = self._clock.current_time()
        self.config = sink_table(folder, path, **table)
        self.account = Account("sink.s")
        self.queue = ItemQueue(self.account, policy="drop_newest", max_records=10**6, max_bytes=1 << 30)
        self.sink = FileSink(self.config, queue=self.queue, clock_ns=self.clock_ns)

    def clock_ns(self) -> int:
        return self.wall_ns + int((self._clock.current_time() - self._began_s) * S)

    def put(self, *items: LogBatch) -> None:
        for item in items:
            assert self.queue.put_nowait(item) is None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the sink; at the end it is stopped and finishes what it has."""
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: self.sink.run(task_status=task_status))
            yield
            self.sink.stop()

    async def settle(self) -> None:
        """Wait until every record is settled."""
        await wait_until(lambda: not self.figures().queued)

    def figures(self) -> AccountFigures:
        figures = self.account.statistics()
        assert figures.imbalance == 0
        return figures

    def names(self) -> set[str]:
        """Every file below the folder; folders may go meanwhile."""
        found = (Path(top, name) for top, _, names in os.walk(self.folder) for name in names)
        return {str(path.relative_to(self.folder)) for path in found}

    def files(self) -> dict[str, str]:
        """Every file below the folder with its text, unpacked."""
        return {name: content(self.folder / name).decode() for name in sorted(self.names())}
