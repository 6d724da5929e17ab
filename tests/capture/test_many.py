"""Many at once, and again and again: nothing is left open, nothing grows."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
import trio

from appliance.config import Keep, Size

from .harness import Bench, handler_table, wait_until


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


@pytest.mark.slow
async def test_a_thousand_handlers_on_one_socket(tmp_path: Path) -> None:
    """Each has every packet."""
    count, sent = 1000, [b"%03d" % n + bytes(97) for n in range(300)]
    handlers = [handler_table(tmp_path, "{name}.pcap", name=f"h{n}") for n in range(count)]
    bench = Bench(tmp_path, handlers=handlers, buffer=8 << 20)
    async with bench.running():
        bench.throw(sent)
        await wait_until(lambda: bench.account.delivered == len(sent))
        assert len(bench.capture.statistics().handlers) == count
    assert bench.account.lost == 0
    assert all(bench.books(f"h{n}").delivered == len(sent) for n in range(count))
    assert len(bench.items()) == count
    assert {segment.packets for segment in bench.items()} == {len(sent)}
    assert bench.packets_of("h0.pcap") == bench.packets_of("h999.pcap") == sent


@pytest.mark.slow
async def test_handlers_that_come_and_go_leave_nothing(tmp_path: Path) -> None:
    """Thousands of times on an open socket, several at once, every tenth with a packet: no descriptor, no memory, exact
    books.
    """
    bench = Bench(tmp_path, "always.pcap")
    names = [f"more{n}" for n in range(10)]

    async def round_trips(name: str, count: int) -> None:
        added = handler_table(tmp_path, "{name}.pcap", name=name, rotate_log=False)
        for _ in range(count):
            await bench.capture.add_handler(added)
            if name == names[0]:
                await bench.send(b"x")
            assert await bench.capture.remove_handler(name) == 1
            (tmp_path / f"{name}.pcap").unlink(missing_ok=True)

    async def all_of_them(count: int) -> None:
        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(round_trips, name, count // len(names))

    async with bench.running():
        await all_of_them(500)
        gc.collect()
        before = descriptors(), resident_bytes()
        await all_of_them(3000)
        gc.collect()
        after = descriptors(), resident_bytes()
    assert after[0] <= before[0] + 3  # worker threads may hold some for a moment
    assert after[1] - before[1] < 8 << 20
    assert bench.books(names[0]).received == 350
    assert all(bench.books(name).received == bench.books(name).delivered for name in names)


@pytest.mark.slow
async def test_captures_that_start_and_stop_leave_nothing(tmp_path: Path) -> None:
    """Each with a socket of its own: the service is made, run, stopped and thrown away."""
    bench = Bench(tmp_path, "f.pcap")

    async def round_trips(count: int) -> None:
        for _ in range(count):
            capture = bench.capture.__class__(bench.capture.group, around=bench.around)
            async with trio.open_nursery() as nursery:
                await nursery.start(lambda task_status, c=capture: c.run(task_status=task_status))
                capture.stop()

    await round_trips(300)
    gc.collect()
    before = descriptors(), resident_bytes()
    await round_trips(2000)
    gc.collect()
    after = descriptors(), resident_bytes()
    assert after[0] <= before[0] + 3
    assert after[1] - before[1] < 8 << 20
    bench.check()


@pytest.mark.slow
async def test_memory_is_flat_under_steady_traffic(tmp_path: Path) -> None:
    """Hundreds of thousands of packets through rotation after rotation; ``SOAK_ROUNDS`` makes it an hour's soak."""
    bench = Bench(tmp_path, "{seq}.pcap", buffer=8 << 20, rotate_packets=1000, keep=Keep(size=Size(4 << 20)))
    burst = [bytes(500)] * 1000

    async def steady(count: int) -> None:
        for _ in range(count):
            await bench.send(*burst)

    rounds = int(os.environ.get("SOAK_ROUNDS", "100"))
    async with bench.running():
        await steady(50)
        gc.collect()
        before = descriptors(), resident_bytes()
        await steady(rounds)
        gc.collect()
        after = descriptors(), resident_bytes()
    assert after[0] <= before[0] + 3
    assert after[1] - before[1] < 8 << 20
    assert bench.account.lost == 0
    assert bench.books("raw").delivered == (50 + rounds) * len(burst)
