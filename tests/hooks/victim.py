"""A hook over a journal, to be killed: ``victim.py FOLDER DURABILITY ISOLATION``.

Takes lines ``FIRST COUNT`` on its input and answers each with ``FIRST`` when its records are in the journal. The hook
appends a line ``NUMBER ATTEMPT`` to FOLDER/seen for each record, and fails now and then.
"""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path
from typing import Any, Literal

import structlog
import trio

from appliance.config import Duration, Hook
from appliance.hooks.callables import Context, HookCallable
from appliance.hooks.filter import Everything
from appliance.hooks.runner import HookRunner
from appliance.model import LogBatch
from appliance.runtime.durable import DurableQueue
from appliance.runtime.journal.journal import Journal
from appliance.runtime.journal.shelf import RetryPolicy
from appliance.runtime.journal.sqlite import SqliteKeep
from appliance.runtime.ledger import Account
from appliance.runtime.outlet import Outlet


@functools.cache
def seen(path: str) -> int:
    return os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)


def note(record: dict[str, Any], context: Context) -> None:
    """The hook."""
    file = seen(context.config["file"])
    if record["n"] % 97 == 0 and context.attempt == 1:
        os.write(file, b"%d 0\n" % record["n"])
        raise ValueError("not yet")
    os.write(file, b"%d %d\n" % (record["n"], context.attempt))


async def main(folder: Path, durability: str, isolation: Literal["thread", "process"]) -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    journal = Journal(SqliteKeep(folder / "journal.db"), durability=durability)
    queue = DurableQueue(
        journal, journal.backlog("h", Account("hook.h")), policy="block", max_records=1_000_000, max_bytes=1 << 30,
        retry=RetryPolicy(attempts=1000, first_s=0.01, longest_s=0.05),
    )  # fmt: skip
    config = Hook(
        name="h", on=("log:*",), run="tests.hooks.victim:note", isolation=isolation,
        timeout=Duration(60 * 10**9), options={"file": str(folder / "seen")},
    )  # fmt: skip
    target = HookCallable(function=note, is_async=False, takes_context=True)
    runner = HookRunner(config, target=target, where=Everything(), queue=queue, outlet=Outlet())
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        print("ready", queue.statistics().records, flush=True)
        nursery.start_soon(tell_when_idle, queue)
        pending = b""
        while chunk := await trio.lowlevel.FdStream(os.dup(0)).receive_some(65536):
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                first, count = map(int, line.split())
                data = b"".join(b'{"n":%d}\n' % n for n in range(first, first + count))
                queue.put_nowait(LogBatch(path="conn", source="zmq.a", data=data, count=count))
            await journal.flush()
            for line in lines:
                print(int(line.split()[0]), flush=True)
        nursery.cancel_scope.cancel()


async def tell_when_idle(queue: DurableQueue) -> None:
    while True:
        await trio.sleep(0.05)
        if not queue.statistics().records:
            print("idle", flush=True)


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]), sys.argv[2], "process" if sys.argv[3] == "process" else "thread")
