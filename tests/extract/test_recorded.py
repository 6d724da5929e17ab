"""Packets of a recorder that runs: from its disk, its memory, and both rings of a group, while it records."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from appliance.extract.extraction import Extraction
from appliance.extract.query import Query
from appliance.extract.report import Report
from tests.native.packets import read_records
from tests.recorder.conftest import generator
from tests.recorder.harness import Bench, Generator, udp

__all__ = ["generator"]

MIB = 1 << 20


def extract(bench: Bench, query: Query) -> tuple[list[bytes], Report]:
    """Frames, which are in the order of time, and the report."""
    sources = bench.recorder.sources()
    extraction = Extraction(query, sources, bench.recorder.gaps(query.from_ns, query.to_ns))
    records = read_records(b"".join(extraction)[24:])
    assert [ts for ts, *_ in records] == sorted(ts for ts, *_ in records)
    return [frame for _, frame, _ in records], extraction.report


@pytest.mark.parametrize(
    "more",
    [
        {"fanout": 2},
        {"index": False},
        {"memory": 8 * MIB, "write": "triggered"},
        {"memory": 8 * MIB, "write": "triggered", "index": False},
    ],
    ids=str,
)
async def test_a_flow_is_whole_and_in_order_while_it_is_recorded(
    tmp_path: Path, generator: Generator, more: dict[str, object]
) -> None:
    """Over finished segments and those that grow; again when more has come."""
    bench = Bench(tmp_path, **more)
    async with bench.running():
        since_ns = time.time_ns()
        for _ in range(2):
            generator.send(6000)
            await bench.recorded()
            for flow in (0, 3):
                frames, _ = extract(bench, Query(from_ns=since_ns, ports=(1000 + flow, 53)))
                assert frames == [udp(flow, serial) for serial in range(generator.sent[flow])]
        frames, report = extract(bench, Query(from_ns=since_ns))
        assert len(frames) == generator.total
        assert report.sources > 1
        assert {gap.reason for gap in report.gaps} <= {"memory"}


async def test_memory_that_is_used_again_gives_nothing_of_before(tmp_path: Path, generator: Generator) -> None:
    """What a segment in memory held before is behind its end, and is not read, with an index or without."""
    for index in (True, False):
        bench = Bench(tmp_path / str(index), memory=2 * MIB, write="triggered", index=index)
        async with bench.running():
            for _ in range(4):
                generator.send(6000)
                await bench.recorded()
            frames, _ = extract(bench, Query())
            last = {flow: serials[-1] for flow in range(4) if (serials := _serials(frames, flow))}
            assert last == {flow: generator.sent[flow] - 1 for flow in range(4)}
            for flow in range(4):
                serials = _serials(frames, flow)
                assert serials == list(range(serials[0], serials[-1] + 1))


def _serials(frames: list[bytes], flow: int) -> list[int]:
    return [int.from_bytes(frame[46:54], "big") for frame in frames if frame[42:46] == flow.to_bytes(4, "big")]
