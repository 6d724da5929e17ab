"""Independent readers of capture files: Wireshark's, libpcap's, and one by the book."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

TIMEOUT_S = 60


class Record(NamedTuple):
    ts_ns: int
    data: bytes
    wire_len: int


def records(data: bytes) -> list[Record]:
    """The records of nanosecond PCAP without its file header."""
    found, at = [], 0
    while at < len(data):
        seconds, fraction, caplen, wire_len = struct.unpack_from("=IIII", data, at)
        at += 16 + caplen
        found.append(Record(seconds * 10**9 + fraction, data[at - caplen : at], wire_len))
    assert at == len(data)
    return found


class Block(NamedTuple):
    """One block of a pcapng file."""

    kind: int
    body: bytes


def blocks(data: bytes) -> Iterator[Block]:
    """The blocks of a pcapng file in host byte order, lengths checked."""
    at = 0
    while at < len(data):
        kind, size = struct.unpack_from("=II", data, at)
        assert size % 4 == 0
        assert struct.unpack_from("=I", data, at + size - 4) == (size,)
        yield Block(kind, data[at + 8 : at + size - 4])
        at += size
    assert at == len(data)


def options(data: bytes) -> list[tuple[int, bytes]]:
    """The options at the end of a block's body; the list is ended and nothing follows."""
    found: list[tuple[int, bytes]] = []
    at = 0
    while True:
        code, size = struct.unpack_from("=HH", data, at)
        at += 4
        if code == 0:
            assert (size, at) == (0, len(data))
            return found
        assert not any(data[at + size : at + size + -size % 4])
        found.append((code, data[at : at + size]))
        at += size + -size % 4


def run(*command: str) -> str:
    """The output of a program, which is skipped for if it is not there and must succeed if it is."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"no {command[0]} here")
    # what is preloaded for a sanitizer is meant for us
    clean = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    result = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, env=clean)
    assert result.returncode == 0, result.stderr
    return result.stdout


def tshark(path: Path, *fields: str, preferences: tuple[str, ...] = ()) -> list[list[str]]:
    """The fields of each packet as Wireshark dissects it."""
    wanted = [part for field in fields for part in ("-e", field)]
    chosen = [part for preference in preferences for part in ("-o", preference)]
    return [
        line.split("\t") for line in run("tshark", "-n", "-r", str(path), *chosen, "-T", "fields", *wanted).splitlines()
    ]


def epoch_ns(text: str) -> int:
    """Wireshark's ``frame.time_epoch`` in nanoseconds."""
    seconds, _, fraction = text.partition(".")
    return int(seconds) * 10**9 + int(fraction.ljust(9, "0"))
