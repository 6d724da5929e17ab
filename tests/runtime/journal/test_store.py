"""The journal's store: values change together with what is settled, and every reader sees every change once."""

from __future__ import annotations

from functools import reduce
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from appliance.runtime.journal.sqlite import SqliteKeep
from appliance.runtime.journal.store import Change, apply, compose
from appliance.runtime.journal.values import read_all, read_some, read_value
from tests.fakes import batch

from .harness import bench

numbers = st.integers(-(2**40), 2**40)
values = st.none() | numbers.map(msgspec.msgpack.encode)
changes = st.one_of(
    numbers.map(lambda n: Change("put", msgspec.msgpack.encode(n))),
    st.just(Change("delete")),
    numbers.map(lambda n: Change("add", by=n)),
)


@given(before=values, some=st.lists(changes, min_size=1, max_size=6))
def test_changes_are_the_same_together_and_one_by_one(before: bytes | None, some: list[Change]) -> None:
    """Whatever was there before."""
    together = reduce(compose, some[1:], some[0])
    assert apply(together, before) == reduce(lambda value, change: apply(change, value), some, before)


def test_a_sum_with_what_is_no_number_begins_anew() -> None:
    """And a sum of integers stays within what MessagePack holds."""
    assert apply(Change("add", by=3), msgspec.msgpack.encode("text")) == msgspec.msgpack.encode(3)
    assert apply(Change("add", by=2**63 - 1), msgspec.msgpack.encode(5)) == msgspec.msgpack.encode(2**63 - 1)


async def test_values_are_read_with_what_is_not_written_yet(tmp_path: Path) -> None:
    """One by one, in pages, and after a restart."""
    async with bench(tmp_path) as b:
        await b.journal.open()
        for n in range(10):
            b.journal.change("s", b"%02d" % n, Change("put", msgspec.msgpack.encode(n)))
        b.journal.change("other", b"03", Change("put", b"\x00"))
        assert await read_value(b.journal, "s", b"03") == b"\x03"
        await b.journal.flush()
        b.journal.change("s", b"03", Change("add", by=4))
        b.journal.change("s", b"04", Change("delete"))
        b.journal.change("s", b"99", Change("add", by=1))
        assert [await read_value(b.journal, "s", key) for key in (b"03", b"04", b"99")] == [b"\x07", None, b"\x01"]
        paged, after = [], None
        while True:
            some, after = await read_some(b.journal, "s", after, 3)
            paged += some
            if after is None:
                break
        expected = [(b"%02d" % n, bytes([n if n != 3 else 7])) for n in range(10) if n != 4] + [(b"99", b"\x01")]
        assert paged == expected == await read_all(b.journal, "s")
    async with bench(tmp_path) as b:
        await b.journal.open()
        assert await read_all(b.journal, "s") == expected


async def test_a_value_is_written_with_what_is_settled_in_the_same_moment(tmp_path: Path) -> None:
    """A crash finds both or neither."""
    async with bench(tmp_path / "a") as b:
        queue = await b.queue()
        queue.put_nowait(batch(0, 20))
        for n in range(20):
            async with queue.lease(1) as parcel:
                parcel.deliver(1)
                b.journal.change("s", b"n", Change("add", by=1))
            if n % 5 == 0:
                await trio.testing.wait_all_tasks_blocked()
            left = SqliteKeep(b.crash(tmp_path / f"crash{n}") / "journal.db")
            left.open()
            waiting = left.attach("h", 1)
            value = left.value("s", b"n")
            left.close()
            assert waiting.records + waiting.letters == 20 - msgspec.msgpack.decode(value or b"\x00")


async def test_changes_of_a_group_that_failed_are_written_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the order in which they were made."""
    async with bench(tmp_path) as b:
        await b.journal.open()
        commit, failures = b.keep.commit, [OSError(28, "full"), OSError(28, "full")]

        def failing(*args: object, **more: object) -> None:
            if failures:
                raise failures.pop()
            commit(*args, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(b.keep, "commit", failing)
        b.journal.change("s", b"n", Change("put", b"\x05"))
        assert await read_value(b.journal, "s", b"n") == b"\x05"
        b.journal.change("s", b"n", Change("add", by=2))
        assert await read_value(b.journal, "s", b"n") == b"\x07"
        await b.journal.flush()
        assert (failures, b.keep.value("s", b"n")) == ([], b"\x07")


async def test_items_are_stored_when_the_wait_for_them_is_over(tmp_path: Path) -> None:
    """Those that were handed over before it, whatever comes later."""
    async with bench(tmp_path / "a") as b:
        queue = await b.queue()
        queue.put_nowait(batch(0, 3))
        await b.journal.wait_stored()
        left = SqliteKeep(b.crash(tmp_path / "b") / "journal.db")
        left.open()
        assert left.attach("h", 1).records == 3
        left.close()
        await b.journal.wait_stored()
