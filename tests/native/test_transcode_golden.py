"""What Zeek's own logger wrote, from what a real cluster sent: character for character, through both doors."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.native import LogColumn, Transcoder, WriteSchema

GOLDEN = Path(__file__).parents[1] / "golden"
DIFFER_BETWEEN_RUNS = {"cluster", "broker", "reporter", "packet_filter"}
DATA_ENVELOPE = 1
ENVELOPE_BYTES = 37


def recorded(name: str) -> Iterator[dict[str, Any]]:
    with gzip.open(GOLDEN / name, "rt") as lines:
        yield from map(json.loads, lines)


def oracle() -> dict[str, bytes]:
    logs = {path.stem: path.read_bytes() for path in sorted((GOLDEN / "logs-json").glob("*.log"))}
    assert len(logs) == 23
    return {path: data for path, data in logs.items() if path not in DIFFER_BETWEEN_RUNS}


def from_zeromq() -> dict[str, bytes]:
    transcoder = Transcoder()
    logs: defaultdict[str, bytes] = defaultdict(bytes)
    for entry in recorded("zeromq/cluster.jsonl.gz"):
        if entry["socket"] == "pull":
            kind, _, serializer, payload = map(bytes.fromhex, entry["frames"])
            assert (kind, serializer) == (b"log-write", b"zeek-bin-serializer")
            result = transcoder.batch(payload)
            assert (result.writer, result.filter) == ("Log::WRITER_ASCII", "default")
            assert result.data.count(b"\n") == result.count > 0
            logs[result.path] += result.data
    return logs


def read_value(data: bytes, at: int) -> tuple[Any, int]:
    """A Broker value: as much of the format as announcements need."""
    tag, at = data[at], at + 1
    fixed = {0: 0, 1: 1, 2: 8, 4: 8}
    if tag in fixed:
        end = at + fixed[tag]
        return int.from_bytes(data[at:end], "big"), end
    size = shift = 0
    while True:
        size, shift, at = size | (data[at] & 0x7F) << shift, shift + 7, at + 1
        if data[at - 1] < 0x80:
            break
    if tag in (5, 11):
        return data[at : at + size].decode(), at + size
    assert tag in (13, 14)
    items = []
    for _ in range(size * (2 if tag == 13 else 1)):
        item, at = read_value(data, at)
        items.append(item)
    return items, at


def from_broker() -> dict[str, bytes]:
    transcoder = Transcoder()
    schemas: dict[tuple[int, str, str, str], WriteSchema] = {}
    logs: defaultdict[str, bytes] = defaultdict(bytes)
    for entry in recorded("broker/cluster.jsonl.gz"):
        frame = bytes.fromhex(entry["hex"])
        # messages of the handshake are shorter than an envelope, or have another type where it has its own
        if entry["listener"] != "logger-1" or entry["dir"] != "c2s" or len(frame) < ENVELOPE_BYTES:
            continue
        topic = int.from_bytes(frame[35:37], "big")
        payload = frame[ENVELOPE_BYTES + topic :]
        if frame[32] != DATA_ENVELOPE or not frame[ENVELOPE_BYTES:].startswith(b"zeek/"):
            continue
        if payload[2:21].startswith(b"\x02" + bytes(7) + b"\x01\x02" + bytes(7) + b"\x02"):
            (stream, writer, info, fields), _ = read_value(payload, 20)
            columns = [LogColumn(name) for name, *_ in fields]
            schemas[entry["conn"], stream, writer, info[0]] = WriteSchema(columns, path=info[0])
            continue
        groups = transcoder.broker_groups(payload)
        for i, group in enumerate(groups.groups):
            result = transcoder.group_lines(groups, i, schemas[entry["conn"], *group[:3]])
            assert (result.count, result.refused) == (group.count, 0)
            logs[group.path] += result.data
    return logs


@pytest.mark.parametrize("read", [from_zeromq, from_broker])
def test_lines_are_those_that_zeek_wrote(read: Callable[[], dict[str, bytes]]) -> None:
    """Every log is equal as text, and in its order; only the last connection did not get into Zeek's file."""
    lines = read()
    expected = oracle()
    assert sum(data.count(b"\n") for data in expected.values()) > 7000
    assert lines["conn"].startswith(expected["conn"])
    assert lines["conn"].count(b"\n") == expected["conn"].count(b"\n") + 1
    del lines["conn"], expected["conn"]
    assert {path: data for path, data in lines.items() if path not in DIFFER_BETWEEN_RUNS} == expected
