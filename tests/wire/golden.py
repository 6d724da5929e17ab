"""What real Zeeks said to each other: the recorded conversations below tests/golden, frame by frame."""

from __future__ import annotations

import functools
import gzip
import json
import re
from pathlib import Path
from typing import NamedTuple

GOLDEN = Path(__file__).parents[1] / "golden"
_FILES = {
    "events": "zeek/broker-events.jsonl",
    "stores": "broker/stores.jsonl.gz",
    "cluster": "broker/cluster.jsonl.gz",
}


class Recorded(NamedTuple):
    """One frame, without its length."""

    is_from_dialer: bool
    payload: bytes


@functools.cache
def conversations(name: str) -> list[list[Recorded]]:
    """The frames of each connection in a recording, in their order."""
    data = (GOLDEN / _FILES[name]).read_bytes()
    text = gzip.decompress(data) if _FILES[name].endswith(".gz") else data
    found: dict[tuple[str, int], list[Recorded]] = {}
    for entry in map(json.loads, text.splitlines()):
        frames = found.setdefault((entry.get("listener", ""), entry["conn"]), [])
        frames.append(Recorded(entry["dir"] == "c2s", bytes.fromhex(entry["hex"])))
    return list(found.values())


def printed(side: str) -> list[str]:
    """Arguments of each event as one of the two Zeeks printed them, with a set's elements in alphabetical order."""
    text = (GOLDEN / f"zeek/broker-events.{side}.txt").read_text()
    events = re.findall(r"^all_types, (.*?)(?=\nall_types, |\npeer_lost, |\Z)", text, flags=re.DOTALL | re.MULTILINE)
    return [re.sub(r"\{\n(.*?)\n\}", _sort, event.rstrip("\n"), flags=re.DOTALL) for event in events]


def _sort(match: re.Match[str]) -> str:
    # Zeek puts a blank behind an element that is a list of several values.
    elements = sorted(element.strip() for element in re.split(r" ?,\n", match[1]))
    return "{" + "; ".join(elements) + "}"
