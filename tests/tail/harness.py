"""A tail with real files around it: a consumer that keeps what it gets, and a writer that is a process of its own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from appliance.config import Tail
from appliance.model import LogBatch
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.ledger import AccountFigures, Ledger
from appliance.runtime.queue import ItemQueue
from appliance.tail.follower import LogTail
from appliance.units import Duration

DEADLINE_S = 20.0
NUMBER = re.compile(rb'^{"n":(\d+),', re.MULTILINE)


def rows(*numbers: int) -> bytes:
    """Records that no other has, in JSON."""
    return b"".join(b'{"n":%d,"text":"record number %d"}\n' % (n, n) for n in numbers)


def header(path: str = "conn", opened: str = "2026-11-21-02-24-11") -> bytes:
    """The header of a log with three columns."""
    return (
        "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n"
        f"#path\t{path}\n#open\t{opened}\n#fields\tn\ttext\ttags\n#types\tcount\tstring\tset[string]\n"
    ).encode()


def tsv(*numbers: int) -> bytes:
    """The same records for `header`."""
    return b"".join(b"%d\trecord number %d\t-\n" % (n, n) for n in numbers)


async def wait_until(condition: Callable[[], bool], *, timeout_s: float = DEADLINE_S) -> None:
    """Look again and again until `condition` holds."""
    with trio.fail_after(timeout_s):
        while not condition():  # noqa: ASYNC110 - nobody tells
            await trio.sleep(0.005)


class Consumer:
    """Settles what it gets, and remembers it; with `hold` it keeps everything unsettled."""

    def __init__(self, ledger: Ledger, dispatcher: Dispatcher) -> None:
        self.account = ledger.account("sink.all")
        self.queue = ItemQueue(self.account, policy="block", max_records=10_000_000, max_bytes=1 << 30)
        self.batches: list[LogBatch] = []
        self.is_held = False
        self.keeps = True
        """Else only `next_number` is kept, and records that are not in order are an error."""
        self.next_number = 0
        dispatcher.subscribe("sink.all", self.queue, on=("log:*",), sources=())

    async def run(self) -> None:
        while True:
            async with self.queue.lease(100_000) as parcel:
                await wait_until(lambda: not self.is_held, timeout_s=1e9)
                batches = [item for item in parcel.items if isinstance(item, LogBatch)]
                if self.keeps:
                    self.batches += batches
                else:
                    self._check_order(batches)
                parcel.deliver(parcel.count)

    def _check_order(self, batches: list[LogBatch]) -> None:
        for batch in batches:
            found = [int(number) for number in NUMBER.findall(batch.data)]
            assert found == list(range(self.next_number, self.next_number + batch.count))
            self.next_number += batch.count

    @property
    def numbers(self) -> list[int]:
        """Field ``n`` of every record, in the order of arrival."""
        return [int(number) for batch in self.batches for number in NUMBER.findall(batch.data)]

    @property
    def counts(self) -> Counter[str]:
        """Records by log path."""
        counts: Counter[str] = Counter()
        for batch in self.batches:
            counts[batch.path] += batch.count
        return counts


class Bench:
    """One life of an appliance with a tail: what it got, and how its books stand."""

    def __init__(self, folder: Path, table: Tail) -> None:
        self.ledger = Ledger()
        self.dispatcher = Dispatcher()
        self.consumer = Consumer(self.ledger, self.dispatcher)
        self.tail = LogTail(
            table,
            account=self.ledger.account("tail.logs"),
            dispatcher=self.dispatcher,
            ledger=self.ledger,
            state_dir=folder / "state",
        )

    @property
    def numbers(self) -> list[int]:
        return self.consumer.numbers

    @property
    def figures(self) -> AccountFigures:
        return self.ledger.account("tail.logs").statistics()

    async def wait_numbers(self, *wanted: int) -> None:
        """Wait for exactly these records, in this order."""
        try:
            await wait_until(lambda: len(self.numbers) >= len(wanted))
        finally:
            assert self.numbers == list(wanted)


def logs_in(folder: Path, *globs: str) -> Tail:
    paths = tuple(str(folder / glob) for glob in globs or ("*.log*",))
    return Tail(name="logs", paths=paths, poll=Duration(100_000_000))


@asynccontextmanager
async def open_bench(folder: Path, table: Tail | None = None) -> AsyncIterator[Bench]:
    """A running tail of ``*.log*`` in `folder`; at the end it is stopped in order."""
    bench = Bench(folder, table or logs_in(folder))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.consumer.run)
        async with trio.open_nursery() as inner:
            await inner.start(bench.tail.run)
            yield bench
            bench.tail.stop()
        nursery.cancel_scope.cancel()
    assert bench.figures.imbalance == 0
    assert bench.figures.queued == 0
