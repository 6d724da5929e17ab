"""The pace of readers: a rate for all of them together, and room for those who record."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from appliance.api.pace import PAUSE_S, Pace

MIB = 1 << 20


async def read(pace: Pace, blocks: int, size: int = MIB) -> float:
    """Read so many blocks; returns how long it took."""
    began = trio.current_time()
    for _ in range(blocks):
        await pace.wait(size)
    return trio.current_time() - began


async def test_bytes_take_the_time_that_the_rate_gives_them(autojump_clock: trio.testing.MockClock) -> None:
    """Also when one reader comes after a long rest: what was not read then is not made up for."""
    pace = Pace(10 * MIB, lost=lambda: 0)
    assert await read(pace, 20) == pytest.approx(2.0)
    await trio.sleep(100)
    assert await read(pace, 20) == pytest.approx(2.0)
    assert await read(pace, 20, 0) == 0


async def test_readers_share_the_rate(autojump_clock: trio.testing.MockClock) -> None:
    """Two of them take as long as one that reads as much."""
    pace = Pace(10 * MIB, lost=lambda: 0)
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read, pace, 10)
        nursery.start_soon(read, pace, 10)
    assert trio.current_time() - began == pytest.approx(2.0)


@pytest.mark.parametrize("bytes_per_s", [None, 100 * MIB], ids=["no-rate", "rate"])
async def test_after_a_loss_everybody_waits(autojump_clock: trio.testing.MockClock, bytes_per_s: int | None) -> None:
    """Once for each; a count that begins anew is none."""
    lost = 5
    pace = Pace(bytes_per_s, lost=lambda: lost)
    assert await read(pace, 1) < PAUSE_S / 2
    lost = 6
    assert await read(pace, 2) >= PAUSE_S
    assert pace.pauses == 1
    lost = 0
    assert await read(pace, 2) < PAUSE_S / 2
    lost = 1
    assert await read(pace, 1) >= PAUSE_S
    assert pace.pauses == 2


async def test_without_a_rate_nobody_waits(autojump_clock: trio.testing.MockClock) -> None:
    """As long as nothing is lost."""
    assert await read(Pace(None, lost=lambda: 0), 1000, 1 << 30) == 0
