"""The journal's database: power failures, damage, other processes, space."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import ApplianceError
from appliance.runtime.journal.desk import open_stopped
from appliance.runtime.journal.entries import Group, Letter, NewChunk, Progress
from appliance.runtime.journal.schema import DamagedError
from appliance.runtime.journal.sqlite import SqliteKeep
from tests.fakes import batch, numbers_in

from .harness import bench, deliver, deliver_all


def chunk(number: int, count: int, *hooks: str, pad: int = 0) -> NewChunk:
    item = batch(number * 1000, count)
    if pad:
        data = b"".join(row + b" " * pad + b"\n" for row in item.rows())
        item = type(item)(path="conn", source="zmq.a", data=data, count=count)
    return NewChunk(id=number, items=(item,), records=count, size=item.size, at_ns=0, hooks=hooks)


def letter(number: int, *, is_dead: bool = True) -> Letter:
    return Letter(
        id=number, hook="h", item=batch(number, 1), attempts=1, due_ns=number, is_dead=is_dead, first_ns=0, reason="x"
    )


def opened(path: Path, **more: int) -> SqliteKeep:
    keep = SqliteKeep(path, **more)
    keep.open()
    return keep


def load(keep: SqliteKeep, hook: str = "h") -> list[int]:
    """The numbers of all records that the hook has not done."""
    numbers: list[int] = []
    for each in keep.load(hook, 0, max_records=10**6, max_size=1 << 30).chunks:
        done = {n for pair in each.done for n in range(*pair)}
        numbers += [n for i, n in enumerate(x for item in each.items for x in numbers_in(item)) if i not in done]
    return numbers


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[int, list[int]]]]:
    """A journal, and for each of its commits the size of the log and what was to be done then."""
    path = tmp_path_factory.mktemp("written") / "journal.db"
    keep = opened(path)
    log = path.with_name("journal.db-wal")
    states: list[tuple[int, list[int]]] = [(log.stat().st_size, [])]
    for n in range(1, 9):
        progress = [Progress(hook="h", chunk=n - 1, left=0)] if n % 3 == 0 else []
        keep.commit(Group(chunks=(chunk(n, 40, "h"),), progress=tuple(progress)), sync=n % 2 == 0)
        states.append((log.stat().st_size, load(keep)))
    copy = tmp_path_factory.mktemp("copy")
    shutil.copy(path, copy)
    shutil.copy(log, copy)
    keep.close()
    return copy, states


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_after_a_power_failure_a_begin_of_what_was_written_is_there(
    data: st.DataObject, written: tuple[Path, list[tuple[int, list[int]]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Wherever the log is cut off: whole groups, without gaps."""
    source, states = written
    cut = data.draw(st.integers(states[0][0], states[-1][0]))
    folder = tmp_path_factory.mktemp("cut")
    for file in source.iterdir():
        shutil.copy(file, folder)
    with (folder / "journal.db-wal").open("r+b") as log:
        log.truncate(cut)
    keep = opened(folder / "journal.db")
    expected = [numbers for size, numbers in states if size <= cut][-1]
    assert load(keep) == expected
    keep.close()
    shutil.rmtree(folder)


def test_a_damaged_chunk_is_set_aside_and_counted(tmp_path: Path) -> None:
    """For each hook that wanted it; the others go on."""
    keep = opened(tmp_path / "journal.db")
    keep.commit(Group(chunks=(chunk(1, 3, "h", "k"), chunk(2, 4, "h", "k"))), sync=False)
    for hook in ("h", "k"):
        assert keep.attach(hook, 0).records == 7
    with keep.transaction():
        body = keep.db.execute("select body from chunk where id = 1").fetchone()[0]
        keep.db.execute("update chunk set body = ? where id = 1", (body[:-3] + b"\0\0\0",))
    assert load(keep) == [2000, 2001, 2002, 2003]
    assert keep.take_losses() == {"h": {1: 3}}
    assert load(keep, "k") == [2000, 2001, 2002, 2003]
    assert keep.take_losses() == {"k": {1: 3}}
    assert keep.take_losses() == {}
    assert len(list((tmp_path / "quarantine").glob("*.bin"))) >= 1
    keep.close()


async def test_damage_found_while_running_is_in_the_books(tmp_path: Path) -> None:
    """As records that were dropped because they are damaged."""
    async with bench(tmp_path) as b:
        queue = await b.queue()
        for first in (0, 10):
            queue.put_nowait(batch(first, 10))
            await b.journal.flush()
    with sqlite3.connect(tmp_path / "journal.db") as db:
        db.execute("update chunk set crc = crc + 1 where id = 1")
    db.close()
    async with bench(tmp_path) as b:
        queue = await b.queue()
        assert await deliver(queue, 10) == list(range(10, 20))
        figures = b.figures()
        assert (figures.received, figures.delivered, figures.dropped) == (20, 10, {"damaged": 10})


def test_a_damaged_file_is_replaced_by_what_can_be_read(tmp_path: Path) -> None:
    """Nothing is invented, what is left is whole, and what is missing is counted."""
    path = tmp_path / "journal.db"
    keep = opened(path)
    for n in range(1, 60):
        keep.commit(Group(chunks=(chunk(n, 10, "h", pad=900),)), sync=False)
    keep.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"\xff" * 40_000)
    keep = opened(path)
    recovered = keep.attach("h", 0)
    found = load(keep)
    recovered_later = sum(sum(x.values()) for x in keep.take_losses().values())
    assert len(found) + recovered.lost + recovered_later == 590
    assert 200 < len(found) < 590
    assert set(found) <= {n * 1000 + i for n in range(1, 60) for i in range(10)}
    assert list((tmp_path / "quarantine").iterdir())
    keep.commit(Group(chunks=(chunk(100, 1, "h"),)), sync=False)
    keep.close()


def test_a_file_that_is_no_journal_is_set_aside(tmp_path: Path) -> None:
    """And a new one is begun."""
    path = tmp_path / "journal.db"
    path.write_bytes(b"not a database" * 1000)
    keep = opened(path)
    assert keep.attach("h", 0).records == 0
    (folder,) = (tmp_path / "quarantine").iterdir()
    assert (folder / "journal.db").read_bytes().startswith(b"not a")
    keep.close()


def test_two_processes_do_not_share_a_journal(tmp_path: Path) -> None:
    """Everything would be done twice."""
    keep = opened(tmp_path / "journal.db")
    with pytest.raises(ApplianceError, match="in use by another process"):
        opened(tmp_path / "journal.db")
    keep.close()
    opened(tmp_path / "journal.db").close()


def test_the_journal_of_another_version_is_not_touched(tmp_path: Path) -> None:
    """A downgrade must not throw away what an upgrade wrote."""
    path = tmp_path / "journal.db"
    opened(path).close()
    with sqlite3.connect(path) as db:
        db.execute("pragma user_version = 99")
    db.close()
    with pytest.raises(ApplianceError, match="another version"):
        opened(path)


def test_space_is_given_back(tmp_path: Path) -> None:
    """When hooks have caught up the file shrinks."""
    keep = opened(tmp_path / "journal.db")
    for n in range(1, 21):
        keep.commit(Group(chunks=(chunk(n, 500, "h", pad=1500),)), sync=False)
    keep.commit(Group(progress=tuple(Progress(hook="h", chunk=n, left=0) for n in range(1, 21))), sync=False)
    before = keep.db.execute("pragma page_count").fetchone()[0]
    while keep.tidy():
        pass
    assert keep.db.execute("pragma page_count").fetchone()[0] < before - 1024
    keep.close()


def test_dead_letters_are_bounded(tmp_path: Path) -> None:
    """By number and size; those that went are counted, and the newest is always kept."""
    keep = opened(tmp_path / "journal.db", max_dead=3)
    for n in range(1, 6):
        keep.commit(Group(letters=(letter(n),)), sync=False)
    assert [x.id for x in keep.letters.dead(None, after=0, limit=9)[0]] == [3, 4, 5]
    figures = keep.letters.statistics()
    assert (figures.dead, figures.forgotten) == (3, 2)
    keep.configure(max_dead=3, max_dead_size=1)
    keep.commit(Group(letters=(letter(6),)), sync=False)
    assert [x.id for x in keep.letters.dead(None, after=0, limit=9)[0]] == [6]
    keep.close()


def test_ids_of_letters_are_not_used_twice(tmp_path: Path) -> None:
    """Somebody may have noted one down."""
    keep = opened(tmp_path / "journal.db")
    keep.commit(Group(letters=(letter(7),)), sync=False)
    with keep.transaction():
        keep.letters.purge(None, None)
    keep.close()
    keep = opened(tmp_path / "journal.db")
    assert [keep.new_letter_id(), keep.new_letter_id()] == [8, 9]
    keep.close()


def test_a_failed_transaction_changes_nothing(tmp_path: Path) -> None:
    """And the same group can be written afterwards."""
    keep = opened(tmp_path / "journal.db")
    keep.db.execute("pragma max_page_count = 30")
    group = Group(chunks=(chunk(1, 500, "h", pad=1000),))
    with pytest.raises(OSError, match="No space left"):
        keep.commit(group, sync=True)
    assert load(keep) == []
    keep.db.execute("pragma max_page_count = 3000")
    keep.commit(group, sync=True)
    assert len(load(keep)) == 500
    keep.close()


def test_a_stopped_journal_can_be_looked_at(tmp_path: Path) -> None:
    """Without being changed; not while it is used, and not if there is none."""
    path = tmp_path / "journal.db"
    with pytest.raises(FileNotFoundError), open_stopped(path):
        pass
    keep = opened(path)
    keep.commit(Group(chunks=(chunk(1, 5, "h"),), letters=(letter(1), letter(2, is_dead=False))), sync=True)
    with pytest.raises(ApplianceError, match="in use"), open_stopped(path) as desk:
        desk.backlogs()
    keep.close()
    before = path.read_bytes()
    with open_stopped(path) as desk:
        (found,) = desk.backlogs()
        assert (found.hook, found.waiting, found.retrying, found.dead) == ("h", 5, 1, 1)
        assert [x.id for x in desk.dead()] == [1]
        assert desk.show(1) == desk.dead()[0]
        assert desk.show(2) is None
        assert desk.statistics().dead == 1
    assert path.read_bytes() == before
    path.write_bytes(b"x" * 10_000)
    with pytest.raises(DamagedError), open_stopped(path):
        pass


@pytest.mark.slow
async def test_a_million_items_cost_neither_memory_nor_time(tmp_path: Path) -> None:
    """The next start knows their number, and holds a bounded part of them."""
    from appliance.runtime.journal.backlog import WINDOW_RECORDS

    async with bench(tmp_path) as b:
        queue = await b.queue(policy="block", max_records=2_000_000)
        item = batch(0, 1)
        for n in range(1_000_000):
            rest = queue.put_nowait(item)
            if rest is not None:
                await queue.wait_put(rest, patience_s=60)
            if n % 1000 == 0:
                await b.journal.flush()
        assert queue._backlog._window_records <= WINDOW_RECORDS
    async with bench(tmp_path) as b:
        queue = await b.queue(policy="block", max_records=2_000_000)
        assert b.figures().queued == 1_000_000
        await deliver(queue, 50_000)
        assert queue._backlog._window_records <= 2 * WINDOW_RECORDS
        assert b.figures().queued == 950_000


async def test_dead_letters_are_tried_again_once(tmp_path: Path) -> None:
    """However often it is asked for; with as many attempts as new records, and the history that they have."""
    from .harness import ERROR

    async with bench(tmp_path) as b:
        queue = await b.queue(attempts=1)
        queue.put_nowait(batch(0, 3))
        async with queue.lease(3) as parcel:
            for _ in range(3):
                parcel.fail(ERROR)
        first, *_ = await b.desk.dead()
        assert await b.desk.retry(ids=[first.id, 999]) == 1
        assert await b.desk.retry(ids=[first.id]) == 0
        assert b.figures().recovered == 1
        assert await deliver_all(queue) == [(0, 1)]
        assert await b.desk.show(first.id) is None
        assert await b.desk.purge("other") == 0
        assert await b.desk.purge("h", ids=[first.id + 1]) == 1
        assert await b.desk.retry("h") == 1
        async with queue.lease(1) as parcel:
            assert parcel.attempt == 1
            parcel.fail(ERROR)
        (letter_,) = await b.desk.dead("h")
        assert len(letter_.history) == 2
        assert await b.desk.purge() == 1
        assert (await b.desk.statistics()).dead == 0


async def test_a_running_hook_keeps_its_backlog(tmp_path: Path) -> None:
    """Somebody works on it."""
    async with bench(tmp_path) as b:
        queue = await b.queue()
        queue.put_nowait(batch(0, 1))
        with pytest.raises(ApplianceError, match="runs"):
            await b.desk.purge_backlog("h")
        queue.retire("reload")
        assert await b.desk.purge_backlog("h") == 1
        assert b.figures().dropped == {"purged": 1}
