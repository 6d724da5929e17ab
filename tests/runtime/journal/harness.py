"""A durable queue with its journal in a folder, and ways to end it that no program survives."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from appliance.runtime.durable import DurableQueue
from appliance.runtime.journal.desk import Desk
from appliance.runtime.journal.entries import Failure
from appliance.runtime.journal.journal import Journal
from appliance.runtime.journal.shelf import RetryPolicy
from appliance.runtime.journal.sqlite import SqliteKeep
from appliance.runtime.ledger import Account, AccountFigures
from tests.fakes import numbers_in

ERROR = Failure(reason="hook_error", error="ValueError: no", trace="Traceback\n")


class Bench:
    """The journal of one run, and what its hooks have seen."""

    def __init__(self, folder: Path, *, durability: str = "batch", **more: Any) -> None:
        self.path = folder / "journal.db"
        self.keep = SqliteKeep(self.path, **more)
        self.journal = Journal(self.keep, durability=durability)
        self.desk = Desk(self.journal, self.keep)
        self.accounts: dict[str, Account] = {}

    async def queue(
        self,
        hook: str = "h",
        *,
        policy: str = "drop_newest",
        max_records: int = 1_000_000,
        max_bytes: int = 1 << 30,
        attempts: int = 5,
        backoff_s: float = 0.01,
    ) -> DurableQueue:
        """An open queue of that hook."""
        account = self.accounts.setdefault(hook, Account(f"hook.{hook}"))
        queue = DurableQueue(
            self.journal,
            self.journal.backlog(hook, account),
            policy=policy,
            max_records=max_records,
            max_bytes=max_bytes,
            retry=RetryPolicy(attempts=attempts, first_s=backoff_s, longest_s=backoff_s),
        )
        await queue.open()
        return queue

    def figures(self, hook: str = "h") -> AccountFigures:
        """What is booked; the books must balance."""
        figures = self.accounts[hook].statistics()
        assert figures.imbalance == 0
        assert figures.queued >= 0
        return figures

    def crash(self, folder: Path) -> Path:
        """What a killed process leaves at this moment, in another folder."""
        folder.mkdir(parents=True)
        for suffix in ("", "-wal"):
            shutil.copy(f"{self.path}{suffix}", folder / f"journal.db{suffix}")
        return folder


@asynccontextmanager
async def bench(folder: Path, **more: Any) -> AsyncIterator[Bench]:
    """A `Bench` that is closed in the end."""
    made = Bench(folder, **more)
    try:
        yield made
    finally:
        await made.journal.aclose(5)


async def deliver(queue: DurableQueue, count: int, *, share: int = 256) -> list[int]:
    """Deliver so many records; returns their numbers."""
    numbers: list[int] = []
    with trio.fail_after(20):
        while len(numbers) < count:
            async with queue.lease(min(share, count - len(numbers))) as parcel:
                numbers += [n for item in parcel.items for n in numbers_in(item)]
                parcel.deliver(parcel.count)
    return numbers


async def deliver_all(queue: DurableQueue) -> list[tuple[int, int]]:
    """Deliver what waits, letters that are due included; returns numbers and attempts."""
    seen: list[tuple[int, int]] = []
    backlog = queue._backlog
    with trio.fail_after(20):
        while backlog.records:
            async with queue.lease(7) as parcel:
                seen += [(n, parcel.attempt) for item in parcel.items for n in numbers_in(item)]
                parcel.deliver(parcel.count)
    return seen
