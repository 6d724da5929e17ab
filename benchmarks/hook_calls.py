"""What the benchmark's hooks do, in whatever process: nothing, or write down how long the record was on its way."""

from __future__ import annotations

import os
import struct
import time
from typing import Any

from appliance.hooks.callables import Context

__all__ = ["count", "count_async", "count_batch", "count_batch_async", "note", "note_async"]

_files: dict[str, int] = {}


def count(record: dict[str, Any]) -> None:
    """Look at one field."""
    assert record["n"] >= 0


async def count_async(record: dict[str, Any]) -> None:
    """The same in the loop."""
    assert record["n"] >= 0


def count_batch(records: list[dict[str, Any]]) -> None:
    """The same for many."""
    for record in records:
        assert record["n"] >= 0


async def count_batch_async(records: list[dict[str, Any]]) -> None:
    """And for many."""
    count_batch(records)


def note(record: dict[str, Any], context: Context) -> None:
    """Append the delay to a file: nanoseconds, eight bytes."""
    delay_ns = time.monotonic_ns() - record["at_ns"]
    path = context.config["file"]
    if path not in _files:
        _files[path] = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(_files[path], struct.pack("<q", delay_ns))


async def note_async(record: dict[str, Any], context: Context) -> None:
    """The same in the loop."""
    note(record, context)
