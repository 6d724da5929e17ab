"""Which table gets which queue."""

from __future__ import annotations

from pathlib import Path

import msgspec

from appliance.config import Appliance, Config, Hook, Journal, Sink
from appliance.runtime.durable import DurableQueue
from appliance.runtime.journal.sqlite import SqliteKeep
from appliance.runtime.ledger import Ledger
from appliance.runtime.queue import ItemQueue
from appliance.runtime.queues import JOURNAL, Queues
from tests.fakes import batch


def config(folder: Path, **journal: object) -> Config:
    return Config(appliance=Appliance(name="n", state_dir=str(folder)), journal=msgspec.convert(journal, Journal))


def hook(name: str, **more: object) -> Hook:
    return Hook(name=name, on=("log:*",), run="a:b", **more)  # type: ignore[arg-type]


async def test_hooks_are_durable_unless_they_say_otherwise(tmp_path: Path) -> None:
    """They share one journal, below the state folder, which is made when it is needed."""
    queues = Queues(Ledger())
    assert type(queues.make_queue("sink.s", Sink(name="s", on=("log:*",)))) is ItemQueue
    assert type(queues.make_hook_queue("hook.a", hook("a", queue="block"), config(tmp_path))) is ItemQueue
    assert queues.journal is None
    await queues.aclose()
    first = queues.make_hook_queue("hook.b", hook("b", queue_full="block", attempts=2), config(tmp_path))
    second = queues.make_hook_queue("hook.c", hook("c"), config(tmp_path))
    assert isinstance(first, DurableQueue)
    assert isinstance(second, DurableQueue)
    assert (first.policy, second.policy, first.retry.attempts) == ("block", "drop_newest", 2)
    assert not (tmp_path / JOURNAL).exists()
    for queue in (first, second):
        await queue.open()
        queue.put_nowait(batch(0, 1))
    await queues.aclose()
    keep = SqliteKeep(tmp_path / JOURNAL)
    keep.open()
    assert [keep.attach(name, 0).records for name in ("b", "c")] == [1, 1]
    keep.close()


async def test_a_reload_changes_the_journal(tmp_path: Path) -> None:
    """Without closing it."""
    queues = Queues(Ledger())
    queues.reconfigure(config(tmp_path))
    queue = queues.make_hook_queue("hook.b", hook("b"), config(tmp_path))
    await queue.open()
    assert queues.journal is not None
    assert queues.journal.durability == "batch"
    queues.reconfigure(config(tmp_path, durability="always"))
    assert queues.journal.durability == "always"
    await queues.aclose()
