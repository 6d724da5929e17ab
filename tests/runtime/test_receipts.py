"""What becomes of finished files and folders is told to whoever handed them in."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.model import FileReady, Item
from appliance.runtime.durable import DurableQueue
from appliance.runtime.intake import ConsumerQueue
from appliance.runtime.journal.entries import Failure
from appliance.runtime.journal.journal import Journal
from appliance.runtime.journal.shelf import RetryPolicy
from appliance.runtime.journal.sqlite import SqliteKeep
from appliance.runtime.ledger import Ledger
from appliance.runtime.queue import ItemQueue
from tests.fakes import batch

ERROR = Failure(reason="hook_error", error="no")


def file(name: str) -> FileReady:
    return FileReady(watch="w", source="watch.w", path=f"/w/{name}", relative=name, mtime_ns=1)


class Told(list[tuple[str, str, str]]):
    """What was told, and whether the consumer's queue is durable."""

    def __init__(self, ledger: Ledger) -> None:
        ledger.receipts.listen("watch.w", lambda thing, who, fate: self.append((thing.relative, who, fate)))


@pytest.mark.parametrize("is_durable", [True, False])
async def test_every_end_of_a_file_is_told(tmp_path: Path, *, is_durable: bool) -> None:
    """Among other records, once, when it is settled for good."""
    ledger = Ledger()
    told = Told(ledger)
    journal = Journal(SqliteKeep(tmp_path / "journal.db"))
    account = ledger.account("hook.h")
    queue: ConsumerQueue
    if is_durable:
        retry = RetryPolicy(attempts=2, first_s=0.001, longest_s=0.001)
        backlog = journal.backlog("h", account)
        queue = DurableQueue(journal, backlog, policy="drop_newest", max_records=99, max_bytes=1 << 20, retry=retry)
    else:
        queue = ItemQueue(account, policy="drop_newest", max_records=99, max_bytes=1 << 20)
    await queue.open()
    items: list[Item] = [batch(0, 3), file("good"), batch(3, 2), file("unwanted"), file("bad")]
    for item in items:
        assert queue.has_room(item)
        queue.put_nowait(item)
    assert queue.is_durable == is_durable
    while account.queued:
        async with queue.lease(100) as parcel:
            for item in parcel.items:
                if item == file("bad"):
                    parcel.fail(ERROR)
                elif item == file("unwanted"):
                    parcel.drop("where", 1)
                else:
                    parcel.deliver(item.count)
    assert told == [("good", "hook.h", "done"), ("unwanted", "hook.h", "done"), ("bad", "hook.h", "failed")]
    await journal.aclose(5)


def test_what_makes_room_for_others_is_told_as_lost() -> None:
    """So that it can be handed in again."""
    ledger = Ledger()
    told = Told(ledger)
    queue = ItemQueue(ledger.account("hook.h"), policy="drop_oldest", max_records=2, max_bytes=1 << 20)
    for name in "abc":
        queue.put_nowait(file(name))
    assert told == [("a", "hook.h", "lost")]
    assert not queue.has_room(file("d"))
    queue.close()
    assert not queue.has_room(file("d"))


def test_only_who_listens_is_told() -> None:
    """And nobody of the items of another door."""
    ledger = Ledger()
    told = Told(ledger)
    other = FileReady(watch="w", source="watch.other", path="/w/x", relative="x", mtime_ns=1)
    account = ledger.account("hook.h")
    account.report([batch(0, 2), other, file("a")], 0, 4, "done")
    account.report([file("a")], 0, 0, "done")
    ledger.receipts.unlisten("watch.w")
    account.report([file("b")], 0, 1, "done")
    assert told == [("a", "hook.h", "done")]
