"""What a reload changes while packets come: nothing is lost, and nothing is recorded twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from appliance.errors import ApplianceError

from .harness import MIB, Bench, Generator, check_order, serials, table, wait_until


@asynccontextmanager
async def load(generator: Generator) -> AsyncIterator[None]:
    """Packets come all the time."""
    is_over = False

    def send() -> None:
        while not is_over:
            generator.send(20)
            trio.from_thread.check_cancelled()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, send)
        yield
        is_over = True


async def settle() -> None:
    """Let the kernel pass on what was sent; nobody knows how much of it passes a filter, or comes twice."""
    await trio.sleep(0.5)


async def test_budget_and_segments_change_without_loss(tmp_path: Path, generator: Generator) -> None:
    """Under load; the next segments are as the new table says."""
    bench = Bench(tmp_path, segment_size=64 * MIB)
    async with bench.running() as recorder:
        async with load(generator):
            await wait_until(lambda: bench.figures().packets > 2_000)
            assert recorder.apply(table(tmp_path, segment_size=MIB, segment_every=10**9, budget=100 * MIB))
            await wait_until(lambda: len(bench.items()) > 2)
        await bench.recorded(generator.total)
        await wait_until(lambda: bench.figures().disk_limit == 100 * MIB)
    assert check_order(serials(bench.files())) == generator.total
    assert all(item.disk_size <= MIB for item in bench.items()[2:])


async def test_filter_changes_without_loss_of_what_passes_both(tmp_path: Path, generator: Generator) -> None:
    """Flows of both filters are whole."""
    bench = Bench(tmp_path, filter="udp src port 1001 or udp src port 1002", segment_size=64 * MIB)
    async with bench.running() as recorder:
        async with load(generator):
            await wait_until(lambda: bench.figures().packets > 2_000)
            assert recorder.apply(
                table(tmp_path, filter="udp src port 1002 or udp src port 1003", segment_size=64 * MIB)
            )
            await wait_until(lambda: bench.figures().packets > 6_000)
        await settle()
        await bench.recorded()
    found = serials(bench.files())
    check_order(found)
    assert set(found) == {1, 2, 3}
    assert found[2] == list(range(generator.sent[2]))
    assert found[1] == list(range(len(found[1])))
    assert found[3][-1] == generator.sent[3] - 1


async def test_filter_that_is_none_is_refused(tmp_path: Path, generator: Generator) -> None:
    """And the old one goes on."""
    bench = Bench(tmp_path, filter="udp")
    async with bench.running() as recorder:
        with pytest.raises(ApplianceError, match="recorder edge: no filter"):
            recorder.apply(table(tmp_path, filter="udp port"))
        assert recorder.table.filter == "udp"


async def test_what_needs_another_ring_is_not_applied(tmp_path: Path, generator: Generator) -> None:
    """The recorder has to be replaced."""
    bench = Bench(tmp_path)
    async with bench.running() as recorder:
        for more in ({"snaplen": 100}, {"fanout": 2}, {"ring": 4 * MIB}, {"index": False}, {"directory": "/x"}):
            assert not recorder.apply(table(**{"folder": tmp_path, **more}))  # type: ignore[arg-type]
        assert recorder.apply(table(tmp_path, cutoff=1000))
        generator.send(4_000)
        await bench.recorded(generator.total)
    assert bench.account.dropped["cutoff"] > 3_000


async def test_successor_hears_before_its_predecessor_is_deaf(tmp_path: Path, generator: Generator) -> None:
    """Nothing is missing between two recorders of a name, and no time is written down as missing."""
    bench = Bench(tmp_path)
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: bench.recorder.run(task_status=task_status))
        async with load(generator):
            await wait_until(lambda: bench.figures().packets > 2_000)
            before, bench.recorder = bench.recorder, bench.make(snaplen=200)
            await nursery.start(lambda task_status: bench.recorder.run(task_status=task_status))
            before.stop()
            await wait_until(lambda: bench.figures().packets > 2_000)
        await settle()
        await bench.recorded()
        assert bench.around.recorders == {"edge": bench.recorder}
        bench.recorder.stop()
    bench.check()
    found = serials(bench.files())
    assert {flow: sorted(set(numbers)) for flow, numbers in found.items()} == {
        flow: list(range(sent)) for flow, sent in generator.sent.items()
    }
    assert bench.recorder.gaps(0, 1 << 62) == []
