"""The durable queue: what it holds outlives the process, every record is settled once, and what failed comes back."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from appliance.runtime.durable import DurableQueue
from appliance.runtime.journal import backlog as backlog_module
from appliance.runtime.journal.entries import Failure
from appliance.runtime.ledger import Account
from appliance.runtime.queue import ItemQueue
from tests.fakes import batch, event_batch, numbers_in

from .harness import ERROR, Bench, bench, deliver, deliver_all


async def test_records_come_out_in_the_order_in_which_they_went_in(tmp_path: Path) -> None:
    """Of items of any kind and size, and the books say so."""
    async with bench(tmp_path) as b:
        queue = await b.queue()
        for item in (batch(0, 10), event_batch(10, 5), batch(15, 1)):
            assert queue.put_nowait(item) is None
        assert await deliver(queue, 16, share=3) == list(range(16))
        figures = b.figures()
        assert (figures.received, figures.delivered, figures.queued, figures.recovered) == (16, 16, 0, 0)
        await b.journal.flush()
        assert b.keep.db.execute("select count(*) from chunk").fetchone() == (0,)


async def test_what_was_not_delivered_is_there_after_a_restart(tmp_path: Path) -> None:
    """As a first attempt, booked as recovered; what was delivered is not."""
    async with bench(tmp_path) as b:
        queue = await b.queue()
        queue.put_nowait(batch(0, 10))
        await deliver(queue, 4)
    assert b.figures().queued == 6
    async with bench(tmp_path) as b:
        queue = await b.queue()
        figures = b.figures()
        assert (figures.received, figures.recovered, figures.queued) == (6, 6, 6)
        assert await deliver_all(queue) == [(n, 1) for n in range(4, 10)]
    async with bench(tmp_path) as b:
        await b.queue()
        assert b.figures().received == 0


async def test_what_a_hook_had_at_a_crash_is_its_second_attempt(tmp_path: Path) -> None:
    """Leased alone, so that only the record that kills the process pays for it."""
    async with bench(tmp_path / "a") as b:
        queue = await b.queue()
        queue.put_nowait(batch(0, 10))
        await deliver(queue, 2)
        async with queue.lease(3) as parcel:
            parcel.deliver(1)
            await b.journal.flush()
            left = b.crash(tmp_path / "b")
    async with bench(left) as b:
        queue = await b.queue()
        assert b.figures().recovered == 7
        async with queue.lease(5) as parcel:
            assert (parcel.attempt, parcel.count) == (2, 1)
        seen = await deliver_all(queue)
        assert seen == [(3, 2), (4, 2), *((n, 1) for n in range(5, 10))]


async def test_a_record_that_ends_the_process_each_time_becomes_a_dead_letter(tmp_path: Path) -> None:
    """After as many attempts as any other, and the others go on."""
    folder = tmp_path / "0"
    async with bench(folder) as b:
        queue = await b.queue()
        queue.put_nowait(batch(0, 2))
    for n in (1, 2, 3):
        async with bench(folder) as b:
            queue = await b.queue(attempts=3)
            async with queue.lease(1) as parcel:
                assert parcel.attempt == n
                assert numbers_in(parcel.items[0]) == [0]
                folder = b.crash(tmp_path / str(n))
    async with bench(folder) as b:
        queue = await b.queue(attempts=3)
        assert await deliver(queue, 1) == [1]
        (letter,) = await b.desk.dead()
        assert (letter.reason, letter.attempts) == ("interrupted", 3)
        assert [a.reason for a in letter.history] == ["interrupted"] * 3
        assert b.figures().dropped == {"interrupted": 1}


async def test_a_failed_record_waits_while_others_go_on(tmp_path: Path) -> None:
    """It comes back when its time has come, as the attempt that it is."""
    async with bench(tmp_path) as b:
        queue = await b.queue(backoff_s=0.05)
        queue.put_nowait(batch(0, 3))
        async with queue.lease(1) as parcel:
            parcel.fail(ERROR)
            assert parcel.left == 0
        assert queue.statistics().retrying == 1
        assert b.figures().queued == 3
        assert await deliver_all(queue) == [(1, 1), (2, 1), (0, 2)]
        assert b.figures().delivered == 3


async def test_failures_after_a_crash_do_not_replace_what_was_in_flight(tmp_path: Path) -> None:
    """Two hooks had something when the process ended; then one of them fails with something new."""
    async with bench(tmp_path / "a") as b:
        queues = [await b.queue(hook) for hook in "xy"]
        for queue in queues:
            queue.put_nowait(batch(0, 1))
        async with queues[0].lease(1), queues[1].lease(1):
            left = b.crash(tmp_path / "b")
    async with bench(left) as b:
        x, y = [await b.queue(hook) for hook in "xy"]
        x.put_nowait(batch(5, 1))
        async with x.lease(1) as parcel:
            parcel.deliver(1)
        async with x.lease(1) as parcel:
            assert numbers_in(parcel.items[0]) == [5]
            parcel.fail(ERROR)
        await b.journal.flush()
        left = b.crash(tmp_path / "c")
    async with bench(left) as b:
        x, y = [await b.queue(hook) for hook in "xy"]
        assert await deliver_all(x) == [(5, 2)]
        assert await deliver_all(y) == [(0, 2)]


async def test_a_wish_for_a_time_is_kept_over_a_restart(tmp_path: Path) -> None:
    """It is the hook's own, whatever the back-off."""
    async with bench(tmp_path) as b:
        queue = await b.queue()
        queue.put_nowait(batch(0, 2))
        async with queue.lease(1) as parcel:
            parcel.fail(Failure(reason="retry", retry_after_s=3600))
    async with bench(tmp_path) as b:
        queue = await b.queue()
        assert await deliver(queue, 1) == [1]
        due_s = queue._backlog.next_due_s()
        assert due_s is None or due_s > 3000
        with trio.move_on_after(0.05):
            async with queue.lease(1):
                pytest.fail("its time has not come")
        assert b.figures().queued == 1


async def test_after_its_attempts_a_record_is_a_dead_letter(tmp_path: Path) -> None:
    """With everything that a person needs to know."""
    async with bench(tmp_path) as b:
        queue = await b.queue(attempts=3)
        queue.put_nowait(batch(0, 1))
        for attempt in (1, 2, 3):
            async with queue.lease(1) as parcel:
                assert parcel.attempt == attempt
                parcel.fail(ERROR)
        assert b.figures().dropped == {"hook_error": 1}
        (letter,) = await b.desk.dead()
        assert numbers_in(letter.item) == [0]
        assert (letter.hook, letter.error, letter.trace) == ("h", ERROR.error, ERROR.trace)
        assert [a.number for a in letter.history] == [1, 2, 3]
        assert letter.first_ns <= letter.history[-1].at_ns


async def test_a_rejected_record_gets_no_other_attempt(tmp_path: Path) -> None:
    """It is a dead letter at once."""
    async with bench(tmp_path) as b:
        queue = await b.queue()
        queue.put_nowait(batch(0, 1))
        async with queue.lease(1) as parcel:
            parcel.fail(Failure(reason="rejected", is_final=True))
        assert b.figures().dropped == {"rejected": 1}
        assert len(await b.desk.dead()) == 1


async def test_many_failed_records_do_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are not in memory are loaded when it is their turn."""
    monkeypatch.setattr(backlog_module, "LIMIT", 5)
    async with bench(tmp_path) as b:
        queue = await b.queue(backoff_s=0.001)
        queue._backlog.shelf._limit = 5
        queue.put_nowait(batch(0, 40))
        async with queue.lease(40) as parcel:
            for _ in range(40):
                parcel.fail(ERROR)
        seen = await deliver_all(queue)
        assert sorted(seen) == [(n, 2) for n in range(40)]
        assert len(queue._backlog.shelf) == 0


async def test_an_item_for_three_hooks_is_stored_once(tmp_path: Path) -> None:
    """And goes when the last of them is done with it."""
    async with bench(tmp_path) as b:
        queues = [await b.queue(hook) for hook in "xyz"]
        item = batch(0, 5)
        for queue in queues:
            queue.put_nowait(item)
        await b.journal.flush()
        assert b.keep.db.execute("select count(*) from chunk").fetchone() == (1,)
        for queue in queues:
            assert b.keep.db.execute("select count(*) from chunk").fetchone() == (1,)
            assert await deliver(queue, 5) == list(range(5))
            await b.journal.flush()
        assert b.keep.db.execute("select count(*) from chunk").fetchone() == (0,)


async def test_more_than_fits_into_memory_is_loaded_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While more arrives, and after a restart."""
    monkeypatch.setattr(backlog_module, "WINDOW_RECORDS", 8)
    async with bench(tmp_path) as b:
        queue = await b.queue()
        for first in range(0, 60, 3):
            queue.put_nowait(batch(first, 3))
            await b.journal.flush()
        assert queue._backlog._window_records <= 8
        assert await deliver(queue, 25, share=4) == list(range(25))
        queue.put_nowait(batch(60, 3))
        assert await deliver(queue, 10, share=4) == list(range(25, 35))
    async with bench(tmp_path) as b:
        queue = await b.queue()
        queue.put_nowait(batch(63, 1))
        assert await deliver(queue, 29, share=4) == list(range(35, 64))
        assert b.figures().queued == 0


@pytest.mark.parametrize(
    ("policy", "kept", "dropped"), [("drop_newest", range(5), 7), ("drop_oldest", range(7, 12), 7)]
)
async def test_a_full_queue_drops_by_its_policy(tmp_path: Path, policy: str, kept: range, dropped: int) -> None:
    """And counts what it drops, to the record."""
    async with bench(tmp_path) as b:
        queue = await b.queue(policy=policy, max_records=5)
        for first in range(0, 12, 4):
            queue.put_nowait(batch(first, 4))
            await b.journal.flush()
        assert b.figures().dropped == {"queue_full": dropped}
        assert await deliver(queue, 5) == list(kept)


async def test_a_door_waits_for_a_full_queue(tmp_path: Path) -> None:
    """Until there is room."""
    async with bench(tmp_path) as b:
        queue = await b.queue(policy="block", max_records=5)
        assert queue.put_nowait(batch(0, 1)) is None
        rest = queue.put_nowait(batch(1, 7))
        assert rest is not None
        assert rest.count == 3
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: queue.wait_put(rest, patience_s=1e6))
            assert await deliver(queue, 8, share=2) == list(range(8))
        assert b.figures().delivered == 8


async def test_a_hook_that_does_not_move_is_not_waited_for(tmp_path: Path) -> None:
    """Longer than the door's patience; what was accepted stays."""
    async with bench(tmp_path) as b:
        queue = await b.queue(policy="block", max_records=5)
        assert queue.put_nowait(batch(0, 1)) is None
        rest = queue.put_nowait(batch(1, 7))
        assert rest is not None
        await queue.wait_put(rest, patience_s=0.02)
        assert queue.statistics().stalled
        assert b.figures().dropped == {"stalled": 3}
        assert await deliver(queue, 5) == list(range(5))


async def test_a_cancelled_hook_gives_back_what_it_had(tmp_path: Path) -> None:
    """To be tried again at once, and not as another attempt: it was not its fault."""
    async with bench(tmp_path) as b:
        queue = await b.queue()
        queue.put_nowait(batch(0, 6))
        async with queue.lease(4) as parcel:
            parcel.deliver(1)
        assert await deliver_all(queue) == [(n, 1) for n in range(1, 6)]


async def test_a_closed_queue_ends_when_it_is_empty(tmp_path: Path) -> None:
    """Records that wait for another attempt are left for the next run."""
    async with bench(tmp_path) as b:
        queue = await b.queue(backoff_s=3600)
        queue.put_nowait(batch(0, 3))
        queue.close()
        queue.put_nowait(batch(3, 1))
        async with queue.lease(1) as parcel:
            parcel.fail(ERROR)
        assert await deliver(queue, 2) == [1, 2]
        with pytest.raises(trio.EndOfChannel):
            async with queue.lease(1):
                pass
        queue.retire("shutdown")
        figures = b.figures()
        assert (figures.dropped, figures.queued) == ({"shutdown": 1}, 1)


async def test_a_successor_goes_on_with_the_same_backlog(tmp_path: Path) -> None:
    """With other bounds, while the predecessor finishes what it has."""
    async with bench(tmp_path) as b:
        old = await b.queue(max_records=100)
        old.put_nowait(batch(0, 10))
        async with old.lease(3) as parcel:
            new = await b.queue(max_records=10)
            new.adopt(old)
            parcel.deliver(1)
        with pytest.raises(trio.EndOfChannel):
            async with old.lease(1):
                pass
        old.retire("reload")
        assert sorted(await deliver(new, 9)) == list(range(1, 10))
        assert b.figures().delivered == 10


async def test_what_a_queue_in_memory_held_is_durable_from_then_on(tmp_path: Path) -> None:
    """A reload may change the kind of a hook's queue, in both directions."""
    async with bench(tmp_path) as b:
        account = b.accounts["h"] = Account("hook.h")
        memory = ItemQueue(account, policy="block", max_records=100, max_bytes=1 << 20)
        memory.put_nowait(batch(0, 4))
        durable = await b.queue()
        durable.adopt(memory)
        memory.retire("reload")
        assert await deliver(durable, 1) == [0]
        again = ItemQueue(account, policy="block", max_records=100, max_bytes=1 << 20)
        again.adopt(durable)
        durable.retire("reload")
        assert b.figures().queued == 3
        again.put_nowait(batch(4, 1))
        assert b.figures().queued == 4
        assert (await _numbers(again)) == [4]


async def _numbers(queue: ItemQueue) -> list[int]:
    async with queue.lease(10) as parcel:
        parcel.deliver(parcel.count)
        return [n for item in parcel.items for n in numbers_in(item)]


async def test_the_backlog_of_a_hook_that_is_gone_stays_until_it_is_purged(tmp_path: Path) -> None:
    """Another hook's start or purge does not touch it."""
    async with bench(tmp_path) as b:
        queue = await b.queue("gone")
        queue.put_nowait(batch(0, 5))
    async with bench(tmp_path) as b:
        other = await b.queue("other")
        other.put_nowait(batch(5, 1))
        assert [(x.hook, x.waiting) for x in await b.desk.backlogs()] == [("gone", 5), ("other", 1)]
        assert await b.desk.purge_backlog("gone") == 5
        assert await deliver(other, 1) == [5]
        assert await b.desk.backlogs() == []


async def test_idle_workers_are_woken_by_what_arrives(tmp_path: Path) -> None:
    """Nobody looks again and again."""
    async with bench(tmp_path) as b:
        queue: DurableQueue = await b.queue()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(deliver, queue, 1)
            await trio.testing.wait_all_tasks_blocked()
            queue.put_nowait(batch(0, 1))
        assert b.figures().delivered == 1


async def test_records_on_disk_count_as_settled_for_those_who_could_send_them_again(tmp_path: Path) -> None:
    """As soon as they are written, and not before."""
    b = Bench(tmp_path)
    queue = await b.queue()
    queue.put_nowait(batch(0, 5))
    assert b.accounts["h"].settled == 0
    await b.journal.flush()
    assert b.accounts["h"].settled == 5
    await b.journal.aclose(5)
