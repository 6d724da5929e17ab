"""What a real Zeek sent to its logger, through a real socket: every record, text for text."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from appliance.wire.framing import make_frame
from appliance.wire.node_messages import MessageKind, kind_number
from tests.zeek.golden import GOLDEN, oracle, oracle_paths

from .harness import House, run_houses, wait_until
from .raw import meet

HELLO = 6


def recorded() -> list[tuple[bytes, list[bytes]]]:
    """For each node that dialled the logger, its ID and the data messages that it sent."""
    frames: defaultdict[int, list[bytes]] = defaultdict(list)
    with gzip.open(GOLDEN / "broker/cluster.jsonl.gz", "rt") as lines:
        for entry in map(json.loads, lines):
            if (entry["listener"], entry["dir"]) == ("logger-1", "c2s"):
                frames[entry["conn"]].append(bytes.fromhex(entry["hex"]))
    nodes = []
    for of_one in frames.values():
        [hello] = [frame for frame in of_one if frame[0] == HELLO and len(frame) == 23]
        me = hello[5:21]
        nodes.append((me, [f for f in of_one if kind_number(f) == MessageKind.DATA and f[:16] == me]))
    return nodes


@pytest.mark.parametrize("piece", [1 << 20, 1009])
async def test_a_recorded_cluster_is_what_zeek_wrote(tmp_path: Path, piece: int) -> None:
    """Worker and manager at once: the lines of each log are those of Zeek's own logger."""
    nodes = recorded()
    assert len(nodes) == 2
    house = House(tmp_path, subscribe=("zeek/logs/", "zeek/cluster/node/logger-1/"))
    async with run_houses(house), AsyncExitStack() as stack:
        total = 0
        for me, frames in nodes:
            raw = await stack.enter_async_context(meet(house, me=me))
            # What was for the logger alone is for us alone.
            to_us = {bytes(16): bytes(16), raw.me: raw.me}
            data = b"".join(make_frame(f[:16] + to_us.get(f[16:32], raw.other) + f[32:]) for f in frames)
            for start in range(0, len(data), piece):
                await raw.stream.send_all(data[start : start + piece])
            total += len(frames)
        await wait_until(lambda: house.incoming.received == total and not house.incoming.queued)
        books, messages = house.books(), house.incoming
    lines: defaultdict[str, bytes] = defaultdict(bytes)
    for batch in await house.logs():
        lines[batch.path] += batch.data
        assert (batch.source, batch.count) == ("broker", batch.data.count(b"\n"))
    # The recording has one connection more than what the logger had written when it was stopped.
    assert lines["conn"].startswith(b"".join(line + b"\n" for line in oracle("conn")))
    assert lines["conn"].count(b"\n") == len(oracle("conn")) + 1
    for path in oracle_paths():
        assert path == "conn" or lines[path].splitlines() == oracle(path), path
    assert messages.delivered + messages.filtered == total > 800
    assert (messages.refused, messages.lost, books.refused, books.lost) == (0, 0, 0, 0)
    columns = {batch.path: batch.columns for batch in await house.logs()}
    assert columns["conn"][:3] == (("ts", "time"), ("uid", "string"), ("id.orig_h", "addr"))
    assert ("tunnel_parents", "set[string]") in columns["conn"]
