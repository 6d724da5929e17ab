"""What calls remember and emit: once for each call that ends well, together with its acknowledgement."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from appliance.config import Duration, Hook
from appliance.errors import RemoteProtocolError
from appliance.hooks.around import Around
from appliance.hooks.callables import Context, load_callable
from appliance.hooks.effects import MAX_BYTES, Effects
from appliance.hooks.filter import Everything
from appliance.hooks.messages import Wants
from appliance.hooks.round import Round
from appliance.hooks.runner import HookRunner
from appliance.hooks.store import Reader, Store
from appliance.model import FileReady, FolderReady, LogBatch
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.durable import DurableQueue
from appliance.runtime.journal.journal import Journal
from appliance.runtime.journal.shelf import RetryPolicy
from appliance.runtime.journal.sqlite import SqliteKeep
from appliance.runtime.journal.values import read_all
from appliance.runtime.ledger import Ledger
from appliance.runtime.outlet import Outlet
from appliance.runtime.queue import ItemQueue

GOLDEN = Path(__file__).parents[1] / "golden" / "tsv"
ISOLATIONS = [("count", "thread"), ("count", "process"), ("count_async", "task")]


def batch(first: int, count: int) -> LogBatch:
    data = b"".join(b'{"n":%d}\n' % n for n in range(first, first + count))
    return LogBatch(path="conn", source="zmq.a", data=data, count=count)


class Bench:
    """A hook with a durable queue, and a consumer of what it emits, which is itself one of those who want it."""

    def __init__(self, folder: Path, function: str, isolation: str, **more: Any) -> None:
        self.keep = SqliteKeep(folder / "journal.db")
        self.journal = Journal(self.keep)
        self.ledger, self.dispatcher = Ledger(), Dispatcher()
        config = Hook(
            name="h", on=("log:*",), run=f"tests.hooks.effect_hooks:{function}", isolation=isolation,  # type: ignore[arg-type]
            timeout=Duration(60 * 10**9), **more,
        )  # fmt: skip
        account = self.ledger.account("hook.h")
        retry = RetryPolicy(attempts=3, first_s=0.001, longest_s=0.001)
        self.queue = DurableQueue(
            self.journal, self.journal.backlog("h", account), policy="drop_newest", max_records=1000,
            max_bytes=1 << 20, retry=retry,
        )  # fmt: skip
        self.out = ItemQueue(self.ledger.account("sink.s"), policy="drop_newest", max_records=1000, max_bytes=1 << 20)
        self.dispatcher.subscribe("hook.h", self.queue, on=("log:*", "folder:*"), sources=())
        self.dispatcher.subscribe("sink.s", self.out, on=("log:derived",), sources=())
        around = Around(
            "hook.h",
            account=lambda: self.ledger.account("hook.h.out"),
            dispatcher=self.dispatcher,
            journal=self.journal,
        )
        self.runner = HookRunner(
            config, target=load_callable(config.run), where=Everything(), queue=self.queue, outlet=Outlet(),
            around=around,
        )  # fmt: skip

    async def stored(self, name: str) -> dict[str, Any]:
        pairs = await read_all(self.journal, f"store.{name}")
        return {key.decode(): msgspec.msgpack.decode(value) for key, value in pairs}


@asynccontextmanager
async def open_bench(folder: Path, function: str, isolation: str, **more: Any) -> AsyncIterator[Bench]:
    bench = Bench(folder, function, isolation, **more)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            await nursery.start(bench.runner.run)
            yield bench
            bench.runner.stop()
    await bench.journal.aclose(5)


async def wait_settled(bench: Bench) -> None:
    while bench.ledger.account("hook.h").queued:  # noqa: ASYNC110 - nobody tells
        await trio.sleep(0.01)


@pytest.mark.parametrize(("function", "isolation"), ISOLATIONS)
async def test_effects_happen_once_for_each_call_that_ends_well(tmp_path: Path, function: str, isolation: str) -> None:
    """What failed attempts wanted did not happen, and what is emitted does not come back to whom it came from."""
    async with open_bench(tmp_path, function, isolation) as bench:
        for first in (0, 5):
            bench.queue.put_nowait(batch(first, 5))
        await wait_settled(bench)
        found = await bench.stored("counts")
        assert found.pop("n") == 10
        attempts = {f"seen/{n:03d}": {"attempt": 2 if n % 3 == 0 else 1} for n in range(10)}
        assert found == attempts
        emitted = [item for item in bench.out._items if isinstance(item, LogBatch)]
        rows = [msgspec.json.decode(row) for item in emitted for row in item.rows()]
        assert sorted(row["n"] for row in rows) == list(range(10))
        assert {(item.path, item.source, item.via) for item in emitted} == {("derived", "hook.h", ("hook.h",))}
        figures = bench.ledger.account("hook.h.out").statistics()
        assert (figures.received, figures.delivered, figures.imbalance) == (10, 10, 0)
        assert bench.ledger.account("hook.h").received == 10
        assert bench.runner.statistics().errors == 4


@pytest.mark.parametrize(("function", "isolation"), [("remember", "thread"), ("remember", "process")])
async def test_effects_come_from_lanes_in_order(tmp_path: Path, function: str, isolation: str) -> None:
    """With `order_by` as without: one for each record, whichever lane it went through."""
    async with open_bench(tmp_path, function, isolation, order_by="n", concurrency=3) as bench:
        for first in range(0, 60, 6):
            bench.queue.put_nowait(batch(first, 6))
        await wait_settled(bench)
        assert await bench.stored("seen") == {"n": 60, **{f"{n:03d}": n for n in range(60)}}
        assert sum(item.count for item in bench.out._items) == 60


async def test_a_crash_finds_the_sum_and_the_records_in_step(tmp_path: Path) -> None:
    """Whenever it comes: what is not acknowledged is not counted."""
    lefts = []
    async with open_bench(tmp_path / "a", "count", "thread") as bench:
        for n in range(40):
            bench.queue.put_nowait(batch(n, 1))
            await trio.sleep(0.002)
            folder = tmp_path / f"left{n}"
            folder.mkdir()
            for suffix in ("", "-wal"):
                shutil.copy(f"{bench.keep.path}{suffix}", folder / f"journal.db{suffix}")
            lefts.append((folder / "journal.db", n + 1))
        await wait_settled(bench)
    seen = set()
    for path, put in lefts:
        keep = SqliteKeep(path)
        keep.open()
        waiting = keep.attach("h", 1)
        (chunks,) = keep.db.execute("select coalesce(max(id), 0) from chunk").fetchone()
        counted = msgspec.msgpack.decode(keep.value("store.counts", b"n") or b"\x00")
        written = {key for key, _ in keep.values("store.counts", b"seen", 1000)}
        keep.close()
        seen.add(counted)
        assert counted == len(written)
        assert counted + waiting.records + waiting.letters <= put
        assert chunks <= put
    assert len(seen) > 3


async def test_logs_of_a_folder_are_read_in_a_worker(tmp_path: Path) -> None:
    """As `ctx.logs`, with records from Zeek's ASCII format."""
    logs = tmp_path / "run"
    logs.mkdir()
    for name in ("http", "files"):
        shutil.copy(GOLDEN / f"{name}.log", logs / f"{name}.log")
    async with open_bench(tmp_path / "state", "first_logs", "process") as bench:
        bench.queue.put_nowait(
            FolderReady(watch="w", source="watch.w", path=str(logs), relative="run", mtime_ns=1, files=2)
        )
        await wait_settled(bench)
        rows = {name: (logs / f"{name}.log").read_text().splitlines() for name in ("http", "files")}
        counts = {name: sum(line[0] != "#" for line in lines) for name, lines in rows.items()}
        assert await bench.stored("logs") == {**counts, "nothing": 0}


def make_context(item: Any, reader: Reader | None = None) -> Context:
    return Context(item=item, attempt=1, deadline=0.0, log=None, config={}, publish_event=lambda: 0, reader=reader)


def test_only_files_and_folders_have_logs(tmp_path: Path) -> None:
    """A file has the one that its name tells."""
    shutil.copy(GOLDEN / "files.log", tmp_path / "files.2026-11-21-02-00-00.log")
    path = str(tmp_path / "files.2026-11-21-02-00-00.log")
    context = make_context(FileReady(watch="w", source="watch.w", path=path, relative="x", mtime_ns=1))
    assert "fuid" in next(context.logs("files"))
    assert list(context.logs("conn")) == []
    with pytest.raises(TypeError, match="log: items have no logs"):
        make_context(batch(0, 1)).logs("conn")


def test_what_cannot_be_kept_is_refused() -> None:
    """Names, keys, values and sums; and records and paths that are none."""
    context = make_context(batch(0, 1), Reader(lambda space, key: b"\xa4text", lambda *_: ([], None)))
    store = context.store("s")
    assert isinstance(store, Store)
    assert store.get("x") == "text"
    with pytest.raises(TypeError, match="no number"):
        store.increment("x")
    with pytest.raises(ValueError, match="a key has"):
        store.put("", 1)
    with pytest.raises(ValueError, match="more than"):
        store.put("k", b"x" * (1 << 20))
    with pytest.raises(TypeError):
        store.put("k", object())
    with pytest.raises(ValueError, match="no name of a store"):
        context.store("")
    with pytest.raises(ValueError, match="no log path"):
        context.emit("../x", {})
    with pytest.raises(TypeError, match="a record is a mapping"):
        context.emit("x", [])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="too much for one call"):
        context.emit("x", {"text": "x" * MAX_BYTES})
    with pytest.raises(ValueError, match="no journal"):
        make_context(batch(0, 1)).store("s")


@pytest.mark.parametrize(
    "message",
    [
        Wants(5, [], []),
        Wants(0, [("watch.w", b"k", "delete", b"", 0)], []),
        Wants(0, [("store.s", b"k", "put", b"\xc1", 0)], []),
        Wants(0, [("store.s", b"k", "grow", b"", 0)], []),
        Wants(0, [], [("../x", b"{}")]),
        Wants(0, [], [("x", b"{}\n{}")]),
        Wants(0, [], [("x", b"[]")]),
    ],
)
def test_a_worker_cannot_want_what_a_hook_cannot(message: Wants) -> None:
    """Another call's, another store's, no value, no change, no path, no record."""
    current = Round([[0], [1]], set())
    with pytest.raises(RemoteProtocolError):
        current.hear(message)


def test_prefixes_are_found_among_all_keys() -> None:
    """Whatever lies beside them, in pages of any size; with what the call has changed."""
    written = {b"a": 1, b"a/": 2, b"a/x": 3, b"a/\xff": 4, b"a0": 5, b"b": 6, b"\xff": 7}

    def some(space: str, after: bytes | None, limit: int) -> tuple[list[tuple[bytes, bytes]], bytes | None]:
        rest = sorted(key for key in written if after is None or key > after)[:2]
        return [(key, msgspec.msgpack.encode(written[key])) for key in rest], rest[-1] if len(rest) == 2 else None

    effects = Effects()
    store = Store("s", effects, Reader(lambda *_: None, some))
    assert [value for _, value in store.items("a/")] == [2, 3, 4]
    assert [value for _, value in store.items()] == [1, 2, 3, 4, 5, 6, 7]
    assert [value for _, value in store.items("c")] == []
    store.put("a/y", 8)
    store.delete("a/x")
    store.put("z", 9)
    assert [value for _, value in store.items("a/")] == [2, 8, 4]
    assert [value for _, value in store.items()] == [1, 2, 8, 4, 5, 6, 9, 7]
