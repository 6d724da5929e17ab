"""`order_by` and `batch` in every isolation; what is planned for lanes."""

from __future__ import annotations

import json
import random
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from appliance.config import Duration, Hook
from appliance.hooks import order
from appliance.hooks.callables import HookCallable
from appliance.hooks.filter import Everything
from appliance.hooks.plan import needed, plan_by_key, plan_calls
from appliance.hooks.runner import HookRunner
from appliance.hooks.where import Where
from appliance.model import Item, LogBatch
from appliance.runtime.ledger import Account, AccountFigures
from appliance.runtime.outlet import Outlet
from appliance.runtime.queue import ItemQueue

Isolation = Literal["task", "thread", "process"]
ISOLATIONS: list[Isolation] = ["task", "thread", "process"]


def batch_of(records: Sequence[dict[str, Any]]) -> LogBatch:
    data = b"".join(json.dumps(record).encode() + b"\n" for record in records)
    return LogBatch(path="conn", source="zmq.a", data=data, count=len(records))


# ── what is planned ──


def numbered(*sizes: int) -> list[Item]:
    """Items of so many records, numbered over all of them."""
    first = [sum(sizes[:n]) for n in range(len(sizes))]
    return [
        batch_of([{"n": n, "k": n % 3} for n in range(at, at + size)]) for at, size in zip(first, sizes, strict=True)
    ]


@given(st.lists(st.integers(1, 5), min_size=1), st.data())
def test_only_items_that_are_needed_are_sent(sizes: list[int], data: st.DataObject) -> None:
    """The positions among them name the same records."""
    items = numbered(*sizes)
    positions = sorted(data.draw(st.sets(st.integers(0, sum(sizes) - 1), min_size=1)))
    kept, moved = needed(items, positions)
    rows = [json.loads(row)["n"] for item in kept for row in item.rows()]  # type: ignore[union-attr]
    assert [rows[n] for n in (range(len(rows)) if moved is None else moved)] == positions
    assert all(any(json.loads(row)["n"] in positions for row in item.rows()) for item in kept)  # type: ignore[union-attr]


@pytest.mark.parametrize("is_decoded", [True, False])
@pytest.mark.parametrize(("where", "expected"), [(Everything(), range(7)), (Where("k == 1"), [1, 4])])
def test_calls_are_planned_in_order(where: Any, expected: Sequence[int], *, is_decoded: bool) -> None:
    """Over the borders of items, in batches."""
    undecodable: set[int] = set()
    calls = plan_calls(numbered(2, 4, 1), where, batch=2, is_decoded=is_decoded, undecodable=undecodable)
    assert [n for call in calls for n in call.positions] == list(expected)
    assert {len(call.positions) for call in calls[:-1]} <= {2}
    assert [record["n"] for call in calls for record in call.records] == (list(expected) if is_decoded else [])
    assert not undecodable


def test_same_value_goes_the_same_way() -> None:
    """Also one that is missing, or cannot be hashed, or whose record is none."""
    rows: list[dict[str, Any]] = [{"k": [1]}, {"k": {"a": 1}}, {}, {"k": "x"}]
    item = batch_of(rows * 3)
    undecodable: set[int] = set()
    bad = LogBatch(path="conn", source="zmq.a", data=b'{"k":"\\ud800"}\n', count=1)
    plan = plan_by_key([item, bad], Everything(), "k", 3, batch=1, undecodable=undecodable)
    ways = {call.positions[0]: lane for lane, calls in plan.items() for call in calls}
    assert sorted(ways) == list(range(13))
    assert all(ways[n] == ways[n + 4] == ways[n + 8] for n in range(4))
    assert undecodable == {12}


# ── what is called ──


class Bench:
    """A runner in one isolation."""

    def __init__(self, function: Callable[..., Any], isolation: Isolation, run: str = "a:b", **more: Any) -> None:
        config = Hook(name="h", on=("log:*",), run=run, isolation=isolation, timeout=Duration(20 * 10**9), **more)
        self.account = Account("hook.h")
        self.queue = ItemQueue(self.account, policy="drop_newest", max_records=100_000, max_bytes=1 << 30)
        target = HookCallable(function=function, is_async=isolation == "task", takes_context=False)
        self.runner = HookRunner(config, target=target, where=Everything(), queue=self.queue, outlet=Outlet())

    async def work_off(self, *items: Item) -> AccountFigures:
        for item in items:
            assert self.queue.put_nowait(item) is None
        self.runner.stop()
        with trio.fail_after(60):
            await self.runner.run()
        figures = self.account.statistics()
        assert figures.imbalance == 0
        return figures


@pytest.fixture(autouse=True)
def _hooks_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def writer(isolation: Isolation, *, is_batch: bool = False) -> Callable[..., Any]:
    """A hook for this process that does what those in `misbehaving` do: notes the record, fails if it is told to."""
    lock, calls = threading.Lock(), defaultdict[str, int](int)

    def write(records: Any) -> None:
        last = records[-1] if is_batch else records
        numbers = "+".join(str(record["n"]) for record in records) if is_batch else str(last["n"])
        with lock, Path(last["seen"]).open("a") as file:
            calls[last["seen"]] += 1
            file.write(f"{numbers} {calls[last['seen']]} {threading.get_ident()}\n")
        if last.get("do"):
            raise ValueError(last["do"])

    async def write_async(records: Any) -> None:
        await trio.lowlevel.checkpoint()
        write(records)

    return write_async if isolation == "task" else write


@pytest.mark.parametrize("isolation", ISOLATIONS)
async def test_records_with_the_same_value_come_in_order(isolation: Isolation, tmp_path: Path) -> None:
    """One after the other, while those with other values come at the same time; each once."""
    seen = tmp_path / "seen"
    chance = random.Random(3)
    records = [{"n": n, "k": chance.randrange(20), "seen": str(seen)} for n in range(2000)]
    bench = Bench(writer(isolation), isolation, "misbehaving:do", concurrency=3, order_by="k")
    figures = await bench.work_off(*(batch_of(records[at : at + 50]) for at in range(0, 2000, 50)))
    assert figures.delivered == 2000
    numbers = [int(line.split()[0]) for line in seen.read_text().splitlines()]
    assert sorted(numbers) == list(range(2000))
    for key in range(20):
        mine = [n for n in numbers if records[n]["k"] == key]
        assert mine == sorted(mine)
    if isolation == "process":
        processes = {
            key: {
                line.split()[2] for line in seen.read_text().splitlines() if records[int(line.split()[0])]["k"] == key
            }
            for key in range(20)
        }
        assert all(len(each) == 1 for each in processes.values())
        assert len(set().union(*processes.values())) > 1


@pytest.mark.parametrize("isolation", ISOLATIONS)
async def test_what_fails_in_one_lane_is_the_others_no_concern(isolation: Isolation, tmp_path: Path) -> None:
    """It is booked, in its place."""
    seen = tmp_path / "seen"
    records = [
        {"n": n, "k": n % 7, "seen": str(seen), **({"do": "raise_plain"} if n % 10 == 3 else {})} for n in range(200)
    ]
    bench = Bench(writer(isolation), isolation, "misbehaving:do", concurrency=2, order_by="k")
    figures = await bench.work_off(batch_of(records[:120]), batch_of(records[120:]))
    assert (figures.delivered, figures.dropped) == (180, {"hook_error": 20})
    assert len(seen.read_text().splitlines()) == 200


async def test_lane_that_crashes_goes_on_with_what_it_had(tmp_path: Path) -> None:
    """No record of its is made twice, but for none."""
    seen = tmp_path / "seen"
    records = [
        {"n": n, "k": n % 5, "seen": str(seen), **({"do": "quit_"} if n in (20, 41) else {})} for n in range(100)
    ]
    bench = Bench(print, "process", "misbehaving:do", concurrency=2, order_by="k")
    figures = await bench.work_off(batch_of(records))
    assert (figures.delivered, figures.dropped) == (98, {"crash": 2})
    numbers = [int(line.split()[0]) for line in seen.read_text().splitlines()]
    assert sorted(numbers) == list(range(100))
    for key in range(5):
        mine = [n for n in numbers if n % 5 == key]
        assert mine == sorted(mine)


async def test_worker_of_a_lane_has_no_more_than_its_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records, not lists of them; the next one goes on in their order."""
    monkeypatch.setattr(order, "TURN_S", 1e6)  # leases grow as if all was fast, so that every list has two records
    seen = tmp_path / "seen"
    records = [{"n": n, "k": n % 2, "seen": str(seen)} for n in range(64)]
    bench = Bench(
        print, "process", "misbehaving:do_many", concurrency=2, order_by="k", batch=2, max_items=8
    )  # fmt: skip
    figures = await bench.work_off(batch_of(records))
    assert figures.delivered == 64
    shares: dict[str, list[int]] = defaultdict(list)
    for line in seen.read_text().splitlines():
        shares[line.split()[2]] += map(int, line.split()[0].split("+"))
    assert {len(share) for share in shares.values()} == {8}
    assert all(share == sorted(share) for share in shares.values())


async def test_cancelled_lanes_give_back_what_is_not_settled() -> None:
    """From the first record on that is not done."""
    gates: dict[int, trio.Event] = defaultdict(trio.Event)

    async def hook(record: dict[str, Any]) -> None:
        await gates[record["n"]].wait()

    bench = Bench(hook, "task", concurrency=2, order_by="n")
    bench.queue.put_nowait(batch_of([{"n": n} for n in range(2)]))
    for n in range(2):
        gates[n].set()
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.runner.run)
        await trio.testing.wait_all_tasks_blocked()
        bench.queue.put_nowait(batch_of([{"n": n} for n in (2, 3, 4)]))
        gates[3].set()
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    figures = bench.account.statistics()
    assert (figures.delivered, figures.queued) == (2, 3)


async def test_hook_that_cannot_start_ends_when_told() -> None:
    """What waited for it is given back."""
    bench = Bench(print, "process", "misbehaving:not_there", concurrency=2, order_by="n")
    bench.queue.put_nowait(batch_of([{"n": n} for n in range(4)]))
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(bench.runner.run)
            bench.runner.stop()
    assert bench.account.statistics().queued == 4


@pytest.mark.parametrize("isolation", ISOLATIONS)
async def test_batch_gets_lists(isolation: Isolation, tmp_path: Path) -> None:
    """Of at most so many records, as they came; a failure is that of all its records."""
    seen = tmp_path / "seen"
    records = [{"n": n, "seen": str(seen), **({"do": "raise_plain"} if n == 9 else {})} for n in range(20)]
    bench = Bench(writer(isolation, is_batch=True), isolation, "misbehaving:do_many", batch=5)
    figures = await bench.work_off(*(batch_of(records[at : at + 1]) for at in range(20)))
    assert (figures.delivered, figures.dropped) == (15, {"hook_error": 5})
    numbers = [line.split()[0] for line in seen.read_text().splitlines()]
    assert numbers == ["+".join(map(str, range(at, at + 5))) for at in range(0, 20, 5)]
    assert bench.runner.statistics().calls == 4


@pytest.mark.parametrize("call_s", [0.001, 0.035, 0.045, 0.2])
async def test_lists_are_full_at_every_pace(autojump_clock: trio.testing.MockClock, call_s: float) -> None:
    """However many records a lease is worth: none of them is cut within a list."""
    sizes: list[int] = []

    async def hook(records: Sequence[dict[str, Any]]) -> None:
        sizes.append(len(records))
        await trio.sleep(call_s)

    bench = Bench(hook, "task", batch=5)
    await bench.work_off(*(batch_of([{"n": n}]) for n in range(200)))
    assert sizes == [5] * 40


@pytest.mark.parametrize("isolation", ISOLATIONS)
async def test_batch_leaves_out_what_is_no_record(isolation: Isolation, tmp_path: Path) -> None:
    """The others are delivered; a batch of nothing else is no call."""
    seen = tmp_path / "seen"
    good, bad = json.dumps({"n": 1, "seen": str(seen)}).encode(), b'{"n":"\\ud800"}'
    bench = Bench(writer(isolation, is_batch=True), isolation, "misbehaving:do_many", batch=3)
    data = b"".join(row + b"\n" for row in (good, bad, good, bad, bad, bad))
    figures = await bench.work_off(LogBatch(path="conn", source="zmq.a", data=data, count=6))
    assert (figures.delivered, figures.dropped) == (2, {"undecodable": 4})
    assert [line.split()[0] for line in seen.read_text().splitlines()] == ["1+1"]
    assert bench.runner.statistics().calls == 1
