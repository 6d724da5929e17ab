"""What a real Zeek sent and wrote: the recordings below tests/golden, decoded from hexadecimal."""

from __future__ import annotations

import functools
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

GOLDEN = Path(__file__).parents[1] / "golden"
UNLIKE_THE_ORACLE = {"cluster", "broker", "reporter", "packet_filter"}
"""Logs that differ from run to run."""


class Data(NamedTuple):
    """A Broker node message that carries data."""

    listener: str
    conn: int
    to_listener: bool
    topic: str
    payload: bytes


@functools.cache
def log_messages() -> list[list[bytes]]:
    """Frames of each message on a logger's PULL socket."""
    with gzip.open(GOLDEN / "zeromq/cluster.jsonl.gz", "rt") as lines:
        return [
            [bytes.fromhex(frame) for frame in entry["frames"]]
            for entry in map(json.loads, lines)
            if entry["socket"] == "pull"
        ]


@functools.cache
def cluster_events() -> list[bytes]:
    """Payload of each event on the ZeroMQ backend."""
    with gzip.open(GOLDEN / "zeromq/cluster.jsonl.gz", "rt") as lines:
        entries = [entry for entry in map(json.loads, lines) if entry["socket"] == "sub"]
    return [bytes.fromhex(entry["frames"][3]) for entry in entries if len(entry["frames"]) == 4]


@functools.cache
def broker_data() -> list[Data]:
    """Data messages of the Broker cluster."""
    with gzip.open(GOLDEN / "broker/cluster.jsonl.gz", "rt") as lines:
        return list(_data_of(map(json.loads, lines)))


@functools.cache
def interop_data() -> list[Data]:
    """Data messages of the two Zeeks that sent each other values of every type."""
    with (GOLDEN / "zeek/broker-events.jsonl").open() as lines:
        return list(_data_of(map(json.loads, lines)))


def websocket_texts() -> list[tuple[str, bytes]]:
    """Direction and text of each message of the WebSocket sessions."""
    with (GOLDEN / "zeek/websocket-session.jsonl").open() as lines:
        entries = [json.loads(line) for line in lines]
    return [(entry["dir"], entry["text"].encode("utf-8", "surrogateescape")) for entry in entries]


def oracle_paths() -> list[str]:
    """Logs that Zeek's own logger wrote and that do not differ from run to run."""
    return sorted(path.stem for path in (GOLDEN / "logs-json").glob("*.log") if path.stem not in UNLIKE_THE_ORACLE)


def oracle(path: str) -> list[bytes]:
    """Lines that Zeek's own logger wrote."""
    return (GOLDEN / f"logs-json/{path}.log").read_bytes().splitlines()


def _data_of(entries: Iterator[dict[str, str]]) -> Iterator[Data]:
    """Node messages of type data: sender, receiver, type, TTL, topic with 16-bit length, payload."""
    for entry in entries:
        frame = bytes.fromhex(entry["hex"])
        if len(frame) > 37 and frame[32] == 1:
            end = 37 + int.from_bytes(frame[35:37])
            yield Data(
                entry.get("listener", ""),
                int(entry["conn"]),
                entry["dir"] == "c2s",
                frame[37:end].decode(),
                frame[end:],
            )
