"""Records per second and CPU per record from Zeek's binary log batches to JSON lines: the C transcoder and the Python
reference, on what a real cluster sent.

Every mode gets the same recorded batches (770 of them, 10 records each on average), again and again. Each run is a
process of its own.
"""

from __future__ import annotations

import gzip
import json
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from appliance.native import ExtraMembers, LogColumn, Transcoder, WriteSchema
from appliance.zeek.batches import decode_batch, parse_header
from appliance.zeek.json_lines import JsonLineRenderer
from appliance.zeek.records import RecordCodec

from .harness import Stopwatch, child, median, rounds

RECORDING = Path(__file__).parents[1] / "tests" / "golden" / "zeromq" / "cluster.jsonl.gz"
RUNS = 7
MODES = {
    "a": "C, batches of the ZeroMQ backend",
    "b": "C, the same with `_path`, `_node` and `_write_ts`",
    "c": "C, the same records as Broker messages of up to 400",
    "d": "(a), then each row decoded for one field (msgspec)",
    "e": "Python reference",
}
REPEAT = {"a": 200, "b": 200, "c": 200, "d": 100, "e": 2}
BROKER_BATCH = 400


def recorded() -> list[bytes]:
    with gzip.open(RECORDING, "rt") as lines:
        entries = [entry for entry in map(json.loads, lines) if entry["socket"] == "pull"]
    return [bytes.fromhex(entry["frames"][3]) for entry in entries]


Pass = Callable[[], int]
"""Turns everything into lines once; returns the number of records."""


def batches(extras: ExtraMembers) -> Pass:
    transcoder, payloads = Transcoder(extras=extras), recorded()

    def run() -> int:
        return sum(transcoder.batch(payload, node=b"worker-1", write_ts=1.5e9).count for payload in payloads)

    return run


def varbyte(number: int) -> bytes:
    return bytes((number,)) if number < 0x80 else bytes((number & 0x7F | 0x80,)) + varbyte(number >> 7)


def broker_message(stream: str, writer: str, path: str, records: list[bytes]) -> bytes:
    """A batch of log writes, as Broker carries it."""
    names = [
        bytes((tag,)) + varbyte(len(text)) + text.encode() for tag, text in ((11, stream), (11, writer), (5, path))
    ]
    head = b"\x0e\x03\x02" + struct.pack(">Q", 1) + b"\x02"
    start = head + struct.pack(">Q", 3) + b"\x0e\x04" + b"".join(names) + b"\x05"
    writes = b"".join(start + varbyte(len(record)) + record for record in records)
    return head + struct.pack(">Q", 5) + b"\x0e" + varbyte(len(records)) + writes


def broker() -> Pass:
    transcoder = Transcoder()
    logs: dict[Any, list[bytes]] = {}
    for payload in recorded():
        schema, records = decode_batch(payload)
        codec = RecordCodec(schema.fields)
        logs.setdefault(schema, []).extend(map(codec.encode, records))
    messages, schemas = [], {}
    for schema, writes in logs.items():
        names = (schema.stream, schema.writer, schema.path)
        schemas[names] = WriteSchema([LogColumn(field.name) for field in schema.fields], path=schema.path)
        starts = range(0, len(writes), BROKER_BATCH)
        messages += [broker_message(*names, writes[i : i + BROKER_BATCH]) for i in starts]

    def run() -> int:
        count = 0
        for message in messages:
            groups = transcoder.broker_groups(message)
            for i, group in enumerate(groups.groups):
                count += transcoder.group_lines(groups, i, schemas[group[:3]]).count
        return count

    return run


class OneField(msgspec.Struct):
    uid: str = ""


def one_field() -> Pass:
    """What an index over one field costs without help from C."""
    transcoder, payloads, decode = Transcoder(), recorded(), msgspec.json.Decoder(OneField).decode_lines

    def run() -> int:
        return sum(len(decode(transcoder.batch(payload).data)) for payload in payloads)

    return run


def reference() -> Pass:
    payloads = recorded()
    known: dict[bytes, tuple[RecordCodec, JsonLineRenderer]] = {}

    def lines(payload: bytes) -> int:
        header = parse_header(payload)
        key = payload[: header.schema_end]
        if key not in known:
            known[key] = RecordCodec(header.schema.fields), JsonLineRenderer(header.schema)
        codec, renderer = known[key]
        records = decode_batch(payload, codec=codec)[1]
        renderer.lines(records)
        return len(records)

    return lambda: sum(map(lines, payloads))


PASSES: dict[str, Callable[[], Pass]] = {
    "a": lambda: batches(ExtraMembers.NONE),
    "b": lambda: batches(ExtraMembers.PATH | ExtraMembers.NODE | ExtraMembers.WRITE_TS),
    "c": broker,
    "d": one_field,
    "e": reference,
}


def run(mode: str) -> dict[str, Any]:
    once = PASSES[mode]()
    once()
    watch = Stopwatch()
    watch.start()
    count = sum(once() for _ in range(REPEAT[mode]))
    return watch.stop(count)


def main() -> None:
    results = rounds(list(MODES), RUNS, lambda mode: child("benchmarks.transcode", mode))
    base = median(results["e"], "rate")
    print(f"\nBinary records to JSON lines: recorded batches repeated, medians of {RUNS} runs\n")
    print("| | | records/s | times (e) | CPU µs per record |\n|---|---|--:|--:|--:|")
    for mode, name in MODES.items():
        rate = median(results[mode], "rate")
        print(f"| {mode} | {name} | {rate:,.0f} | {rate / base:.1f} | {median(results[mode], 'cpu_us'):.3f} |")


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        print(json.dumps(run(sys.argv[1])))
