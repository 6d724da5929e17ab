"""A watch with a real folder, a journal, and consumers that tell what they got."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from appliance.config import Watch
from appliance.model import FileReady, FolderReady
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.durable import DurableQueue
from appliance.runtime.intake import ConsumerQueue
from appliance.runtime.journal.entries import Failure
from appliance.runtime.journal.journal import Journal
from appliance.runtime.journal.shelf import RetryPolicy
from appliance.runtime.journal.sqlite import SqliteKeep
from appliance.runtime.ledger import Ledger
from appliance.runtime.queue import ItemQueue
from appliance.units import Duration
from appliance.watch.door import WatchDoor

ERROR = Failure(reason="hook_error", error="ValueError: no")


async def wait_until(condition: Callable[[], bool], *, timeout_s: float = 20.0) -> None:
    """Look again and again until `condition` holds."""
    with trio.fail_after(timeout_s):
        while not condition():  # noqa: ASYNC110 - nobody tells
            await trio.sleep(0.005)


class Consumer:
    """Settles what it gets as `judge` says."""

    def __init__(self, name: str, queue: ConsumerQueue) -> None:
        self.name = name
        self.queue = queue
        self.items: list[FileReady | FolderReady] = []
        self.judge: Callable[[str], str] = lambda _: "good"
        """By relative path: ``good``, ``bad``, or ``hold``."""

    @property
    def got(self) -> list[str]:
        return [item.relative for item in self.items]

    async def run(self) -> None:
        await self.queue.open()
        while True:
            async with self.queue.lease(1) as parcel:
                (item,) = parcel.items
                assert isinstance(item, FileReady | FolderReady)
                self.items.append(item)
                verdict = self.judge(item.relative)
                if verdict == "hold":
                    await trio.sleep_forever()
                elif verdict == "bad":
                    parcel.fail(ERROR)
                else:
                    parcel.deliver(1)


class Bench:
    """One life of an appliance with a watch of ``folder/in``."""

    def __init__(self, folder: Path, table: Watch) -> None:
        self.root = folder / "in"
        self.folder = folder
        self.ledger = Ledger()
        self.dispatcher = Dispatcher()
        self.keep = SqliteKeep(folder / "state" / "journal.db")
        self.journal = Journal(self.keep)
        self.account = self.ledger.account("watch.w")
        self.door = WatchDoor(
            table, account=self.account, dispatcher=self.dispatcher, receipts=self.ledger.receipts,
            journal=self.journal,
        )  # fmt: skip
        self.consumers: dict[str, Consumer] = {}

    def add(self, name: str, *, is_durable: bool, size: int = 1000) -> Consumer:
        """A hook that wants everything."""
        account = self.ledger.account(f"hook.{name}")
        queue: ConsumerQueue
        if is_durable:
            retry = RetryPolicy(attempts=2, first_s=0.001, longest_s=0.001)
            backlog = self.journal.backlog(name, account)
            queue = DurableQueue(
                self.journal, backlog, policy="drop_newest", max_records=size, max_bytes=1 << 20, retry=retry
            )
        else:
            queue = ItemQueue(account, policy="drop_newest", max_records=size, max_bytes=1 << 20)
        consumer = self.consumers[name] = Consumer(name, queue)
        self.dispatcher.subscribe(f"hook.{name}", queue, on=("file:*", "folder:*"), sources=())
        return consumer

    async def wait_got(self, *wanted: str, by: str = "h") -> None:
        """Wait for exactly these things, in any order."""
        consumer = self.consumers[by]
        try:
            await wait_until(lambda: len(consumer.got) >= len(wanted))
        finally:
            assert sorted(consumer.got) == sorted(wanted)

    async def wait_over(self) -> None:
        """Wait until consumers have nothing in their hands and all of it is written."""
        await wait_until(lambda: not self.door.statistics().handed_on and not self.door.statistics().unfinished)
        await self.journal.flush()


def table(folder: Path, **more: Any) -> Watch:
    """Unfinished things are ready after 0.1 s."""
    settle = more.pop("settle_s", 0.1)
    return Watch(name="w", directory=str(folder / "in"), settle=Duration(int(settle * 1e9)), **more)


@asynccontextmanager
async def open_bench(
    folder: Path, hooks: dict[str, bool] | None = None, judge: Callable[[str], str] | None = None, **more: Any
) -> AsyncIterator[Bench]:
    """A running watch; in the end the process is as good as killed after the door has stopped.

    Args:
        folder: for everything.
        hooks: whether each is durable.
        judge: of the first hook.
        more: keys of the table.
    """
    (folder / "in").mkdir(exist_ok=True)
    bench = Bench(folder, table(folder, **more))
    for name, is_durable in (hooks or {"h": True}).items():
        bench.add(name, is_durable=is_durable)
    if judge is not None:
        next(iter(bench.consumers.values())).judge = judge
    async with trio.open_nursery() as nursery:
        for consumer in bench.consumers.values():
            nursery.start_soon(consumer.run)
        async with trio.open_nursery() as inner:
            await inner.start(bench.door.run)
            yield bench
            bench.door.stop()
        nursery.cancel_scope.cancel()
    await bench.journal.aclose(5)
    figures = bench.account.statistics()
    assert (figures.imbalance, figures.queued) == (0, 0)
