"""Masters, clones and frontends on real endpoints."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

from appliance.broker.stores.backend import SqliteBackend
from appliance.runtime.stores import StoreError, StoreFailure
from appliance.wire.stores.clone import CloneOptions
from appliance.wire.stores.codec import encode_store_message
from appliance.wire.stores.commands import NOBODY, AckClone, Erase, Put, StoreMessage
from appliance.wire.stores.master import MANY
from appliance.wire.stores.outputs import StoreChange
from appliance.zeek.values import Count, Set, Value
from tests.broker.harness import run_houses, start, wait_until

from .harness import (
    Told,
    clone,
    erase,
    has,
    house,
    increment,
    key_of,
    master,
    plain,
    put,
    put_unique,
    run_stores,
    sqlite,
)


async def test_a_clone_follows_over_a_real_connection(tmp_path: Path) -> None:
    """What was there, what the master writes, what the clone writes, and what somebody adds to."""
    one = house(tmp_path / "one")
    told = Told()
    async with run_houses(one):
        two = house(tmp_path / "two", connect=(one.address,))
        a, b = master(one), clone(two, told=told)
        async with run_houses(two), run_stores(a, b):
            await put(a, b"early", Count(1))
            await has(b, {b"early": Count(1)})
            assert await put(b, b"late", b"x")
            await increment(b, b"n", Count(5), 2)
            await increment(b, b"set", b"x", 12)
            await erase(b, b"early")
            expected: dict[Value, Value] = {b"late": b"x", b"n": Count(5), b"set": Set([b"x"])}
            assert await plain(a) == expected
            await has(b, expected)
            assert a.statistics().clones == 1
            assert b.statistics().state == "attached"
        assert told.kinds == ["insert", "insert", "insert", "insert", "erase"]


async def test_only_one_is_the_first(tmp_path: Path) -> None:
    """Whoever asks: master, clones, frontends."""
    one = house(tmp_path / "one")
    async with run_houses(one):
        two = house(tmp_path / "two", connect=(one.address,))
        three = house(tmp_path / "three", connect=(one.address,))
        a, b, c = master(one), clone(two), clone(three, is_frontend=True)
        async with run_houses(two, three), run_stores(a, b, c):
            results: list[bool] = []

            async def ask(store: object) -> None:
                results.append(await put_unique(store, b"u", True))  # type: ignore[arg-type]

            with trio.fail_after(20):
                async with trio.open_nursery() as nursery:
                    for store in (a, b, c, b, a):
                        nursery.start_soon(ask, store)
            assert sorted(results) == [False, False, False, False, True]


async def test_a_frontend_has_a_copy_only_when_asked(tmp_path: Path, autojump_clock: object) -> None:
    """It reads and writes as a clone does; afterwards it is idle again, and comes back."""
    del autojump_clock
    one = house(tmp_path / "one")
    a, c = master(one), clone(one, is_frontend=True)
    async with run_stores(a, c):
        assert c.statistics().state == "idle"
        with pytest.raises(StoreError) as caught:  # there is no endpoint to carry anything
            await plain(c)
        assert caught.value.reason is StoreFailure.STALE
        assert c.statistics().state == "lost"
        await trio.sleep(11)
        assert c.statistics().state == "idle"


async def test_a_master_of_another_process_life(tmp_path: Path) -> None:
    """What was written is there again, and what is over is not."""
    one = house(tmp_path)
    now_ns = 1_000_000_000
    a = master(one, SqliteBackend(sqlite(tmp_path)), clock_ns=lambda: now_ns)
    async with run_stores(a):
        await put(a, b"kept", Count(1))
        await put(a, b"short", Count(1), 5_000_000_000)
        await put(a, b"longer", Count(1), 50_000_000_000)
        await put(a, b"gone", Count(1))
        await erase(a, b"gone")
    now_ns = 10_000_000_000
    told = Told()
    a = master(one, SqliteBackend(sqlite(tmp_path)), clock_ns=lambda: now_ns, told=told)
    async with run_stores(a):
        assert await plain(a) == {b"kept": Count(1), b"longer": Count(1)}
        await wait_until(lambda: told.kinds == ["expire"])
        assert (await a.content()).expiry_ns(b"\x05\x06longer") == 51_000_000_000


async def test_an_endpoint_that_starts_again_is_found_again(tmp_path: Path) -> None:
    """Under another ID: masters and clones have other names then, and nothing is lost."""
    one = house(tmp_path / "one", listen=("127.0.0.1:0",))
    async with trio.open_nursery() as nursery:
        await start(nursery, one)
        port = one.port
        two = house(tmp_path / "two", connect=(f"127.0.0.1:{port}",))
        a, b = master(one), clone(two, options=CloneOptions(resync=10_000))
        async with run_houses(two), run_stores(a, b):
            await put(b, b"k", Count(1))
            one.endpoint.stop()
            await wait_until(lambda: not two.peers)
            await wait_until(lambda: b.statistics().state == "lost")
            assert await plain(b) == {b"k": Count(1)}
            again = house(tmp_path / "again", listen=(f"127.0.0.1:{port}",))
            again.stores = one.stores
            again.endpoint._stores = one.stores
            again.endpoint._delivery._stores = one.stores
            await start(nursery, again)
            with trio.fail_after(20):
                assert await put(b, b"k", Count(2))
            assert await plain(a) == {b"k": Count(2)}
            again.endpoint.stop()


async def test_ten_clones_and_one_that_does_not_read(tmp_path: Path) -> None:
    """It costs the others nothing, and comes to the same in the end."""
    one = house(tmp_path / "one")
    async with run_houses(one):
        houses = [house(tmp_path / str(n), connect=(one.address,)) for n in range(10)]
        a, clones = master(one), [clone(each) for each in houses]
        async with run_houses(*houses), run_stores(a, *clones):
            for each in clones:
                await has(each, {})
            slow = next(iter(houses[0].endpoint._peers))
            slow.pause()
            with trio.fail_after(20):
                for n in range(500):
                    await put(a, n, Count(n))
            content = await plain(a)
            for each in clones[1:]:
                await has(each, content)
            assert len(await clones[0].content()) < 500
            slow._is_paused = False
            slow._resumed.set()
            await has(clones[0], content)


async def test_what_cannot_be_done_is_said(tmp_path: Path) -> None:
    """By one type of error, with a reason."""
    a = master(house(tmp_path))
    with pytest.raises(StoreError, match="not open") as caught:
        await put(a, b"k", Count(1))
    assert caught.value.reason is StoreFailure.CLOSED
    async with run_stores(a):
        await put(a, b"k", b"text")
        with pytest.raises(StoreError) as caught:
            await increment(a, b"k", Count(1), 2)
        assert caught.value.reason is StoreFailure.TYPE_CLASH
        assert await plain(a) == {b"k": b"text"}
        assert not await erase(a, b"nothing")
        with pytest.raises(ValueError, match="already"), a._hub.joined(a):
            pass


async def test_a_disk_that_takes_nothing_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: object
) -> None:
    """Nothing is acknowledged before it is kept, and nothing is lost."""
    del autojump_clock
    backend = SqliteBackend(sqlite(tmp_path))
    a = master(house(tmp_path), backend)
    failures = iter([True, True, False])
    keep = backend.keep

    def refuse(changes: Sequence[StoreChange]) -> None:
        if next(failures, False):
            raise OSError("no room")
        keep(changes)

    monkeypatch.setattr(backend, "keep", refuse)
    async with run_stores(a):
        await put(a, b"k", Count(1))
        assert next(failures, None) is None
        assert a.statistics().state == "open"
    rows = list(SqliteBackend(sqlite(tmp_path)).open())
    assert [key for key, _, _ in rows] == [b"\x05\x01k"]


async def test_cuts_under_load(tmp_path: Path) -> None:
    """Whatever is on the way when connections end: what was acknowledged is there, once, and all are equal."""
    one = house(tmp_path / "one")
    chance = random.Random(7)
    async with run_houses(one):
        houses = [house(tmp_path / str(n), connect=(one.address,)) for n in range(2)]
        a, clones = master(one), [clone(each) for each in houses]
        async with run_houses(*houses), run_stores(a, *clones):
            done = [0, 0]

            async def write(index: int) -> None:
                for _ in range(150):
                    await increment(clones[index], b"n", Count(1), 2)
                    done[index] += 1

            with trio.fail_after(50):
                async with trio.open_nursery() as nursery:
                    for index in range(2):
                        nursery.start_soon(write, index)
                    while sum(done) < 300:
                        await trio.sleep(0.03)
                        for peer in list(one.endpoint._peers):
                            if chance.random() < 0.3:
                                peer.cut("chance")
            assert await plain(a) == {b"n": Count(300)}
            for each in clones:
                await has(each, {b"n": Count(300)})
                assert each.statistics().resyncs == 0


async def test_a_large_snapshot_is_read_and_written_elsewhere(tmp_path: Path) -> None:
    """With what is written meanwhile; and what it replaces is told as changes."""
    one = house(tmp_path / "one")
    told = Told()
    async with run_houses(one):
        two = house(tmp_path / "two", connect=(one.address,))
        a, b = master(one), clone(two, told=told)
        async with run_houses(two), run_stores(a):
            await put(a, b"old", Count(0))
            async with run_stores(b):
                await has(b, {b"old": Count(0)})
                count = 3 * MANY
                for number in range(count):
                    a.me.apply(Put(key_of(Count(number)), key_of(b"v" * 10), None, NOBODY), 0)
                a.me.apply(Erase(key_of(b"old"), NOBODY), 0)
                a.me.rename(one.stores.new_entity())  # so that nothing of this is told one by one
                b.moved()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(put, a, b"late", Count(1))
                    with trio.fail_after(20):
                        while len(await b.content()) != count + 1:  # noqa: ASYNC110 - a plain dict
                            await trio.sleep(0.01)
                assert await plain(b) == await plain(a)
                assert (await b.content()).size == (await a.content()).size
                with trio.fail_after(20):
                    while len(told.changes) < count + 3:  # noqa: ASYNC110 - a plain list
                        await trio.sleep(0.01)
    assert told.kinds.count("insert") == count + 2
    assert [change.key for change in told.changes if change.kind == "erase"] == [key_of(b"old")]
    assert all(not change.publisher.is_nobody for change in told.changes[: count + 2])


async def test_only_a_snapshot_that_is_expected_is_made_elsewhere(tmp_path: Path) -> None:
    """Another master's, which comes while ours changes the content, is left as it is and refused."""
    one = house(tmp_path / "one")
    async with run_houses(one):
        two = house(tmp_path / "two", connect=(one.address,))
        a, b = master(one), clone(two)
        async with run_houses(two), run_stores(a, b):
            await put(a, b"k", Count(1))
            await has(b, {b"k": Count(1)})
            core = b._core
            assert core is not None
            stranger = one.stores.new_entity()
            entries = ((key_of(b"other"), key_of(b"x")),)
            payload = encode_store_message(StoreMessage(1, stranger, core.me, AckClone(1, 5, entries)))
            loaded = b.load(payload)
            assert loaded[1] is None
            b.take_loaded(loaded)
            assert core.refused["not_our_master"] == 1
            assert await plain(b) == {b"k": Count(1)}
            core.restart()
            message = StoreMessage(1, stranger, core.me, AckClone(1, 5, entries))
            b.take_loaded(b.load(encode_store_message(message)))
            assert await plain(b) == {b"other": b"x"}
