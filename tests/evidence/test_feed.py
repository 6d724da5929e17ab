"""Records of connections into the map of uids."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from appliance.config import Uids
from appliance.evidence.feed import UidFeed
from appliance.evidence.uids import open_uids
from appliance.model import LogBatch
from appliance.runtime.ledger import Account
from appliance.runtime.queue import ItemQueue
from tests.evidence.test_uids import line
from tests.fakes import is_balanced

S = 10**9


class Feed:
    def __init__(self, folder: Path) -> None:
        self.account = Account("uids")
        self.queue = ItemQueue(self.account, policy="drop_oldest", max_records=100_000, max_bytes=1 << 30)
        self.service = UidFeed(Uids(), queue=self.queue, state_dir=folder, turn=trio.Lock(), clock_ns=lambda: S)

    def put(self, data: bytes) -> None:
        self.queue.put_nowait(LogBatch(path="conn", source="zmq.a", data=data, count=data.count(b"\n")))


async def test_records_are_found_by_their_uid(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """What has no uid, or cannot be read, is booked so."""
    feed = Feed(tmp_path)
    async with trio.open_nursery() as nursery:
        await nursery.start(feed.service.run)
        feed.put(line("C1") + line("C2") + b'{"ts":1.0}\n' + b"nonsense\n")
        feed.put(line("C3"))
        feed.service.stop()
    reader = open_uids(tmp_path)
    assert all(reader.lookup(uid) for uid in ("C1", "C2", "C3"))
    assert (feed.account.delivered, feed.account.dropped) == (3, {"undecodable": 1, "no_uid": 1})
    assert is_balanced(feed.account)
    assert feed.service.statistics().flows == 3


async def test_a_disk_that_takes_nothing_costs_the_records(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch, told: list[object]
) -> None:
    """They are counted; the next ones are tried again."""
    from appliance.evidence.uids import UidMap

    feed = Feed(tmp_path)
    add = UidMap.add

    def refuse(self: UidMap, rows: object, now_ns: int) -> None:
        raise OSError(28, "No space left on device")

    async with trio.open_nursery() as nursery:
        await nursery.start(feed.service.run)
        monkeypatch.setattr(UidMap, "add", refuse)
        feed.put(line("C1"))
        while feed.account.queued:  # noqa: ASYNC110 - threads tell nobody
            await trio.sleep(1)
        monkeypatch.setattr(UidMap, "add", add)
        feed.put(line("C2"))
        feed.service.stop()
    assert open_uids(tmp_path).lookup("C2")
    assert (feed.account.delivered, feed.account.dropped) == (1, {"disk": 1})
    assert feed.service.statistics().failures == 1
    assert len(told) == 1


async def test_twenty_thousand_records_are_one_transaction(tmp_path: Path) -> None:
    """The loop goes on meanwhile."""
    feed = Feed(tmp_path)
    feed.put(b"".join(line(f"C{number}") for number in range(20_000)))
    async with trio.open_nursery() as nursery:
        await nursery.start(feed.service.run)
        turns = 0
        while feed.account.queued:
            await trio.sleep(0.001)
            turns += 1
        feed.service.stop()
    assert feed.account.delivered == 20_000
    assert turns > 5
