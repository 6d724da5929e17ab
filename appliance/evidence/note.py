"""The notes: what the JSON beside a PCAP says, and the one about alarms that got none."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from .jobs import Job, Shown
from .state import LeftOut

__all__ = ["iso", "job_note", "left_out_note", "write_note"]


def job_note(
    job: Job, *, evidence: str, recorder: str, pcap: Path | None, size: int, is_complete: bool, now_ns: int
) -> dict[str, Any]:
    """What is to be said about a file, or about that there is none.

    Args:
        job: as it is finished.
        evidence: the table's name.
        recorder: whose packets.
        pcap: the file; None: there were no packets.
        size: its bytes.
        is_complete: whether nothing is missing.
        now_ns: wall clock.
    """
    selection = {key: value for key, value in msgspec.to_builtins(job.selection).items() if value}
    query = selection | {"from": iso(job.from_ns), "to": iso(job.to_ns), "from_ns": job.from_ns, "to_ns": job.to_ns}
    return {
        "evidence": evidence,
        "recorder": recorder,
        "pcap": None if pcap is None else pcap.name,
        "packets": sum(piece.packets for piece in job.pieces),
        "bytes": size,
        "first": iso(min(piece.first_ns for piece in job.pieces)) if job.pieces else None,
        "last": iso(max(piece.last_ns for piece in job.pieces)) if job.pieces else None,
        "complete": is_complete,
        "missing": [
            {"reason": each.reason, "from": iso(each.from_ns), "to": iso(each.to_ns)}
            | {key: value for key, value in (("packets", each.packets), ("bytes", each.bytes)) if value is not None}
            for each in job.missing
        ],
        "query": query,
        "alarms": job.alarms,
        "items": [_item(shown) for shown in job.shown],
        "began": iso(job.began_ns),
        "finished": iso(now_ns),
    }


def _item(shown: Shown) -> dict[str, Any]:
    record = msgspec.Raw(shown.record.encode())
    return {"kind": shown.kind, "source": shown.source, "ts": iso(shown.ts_ns), "record": record}


def left_out_note(
    listed: Sequence[LeftOut], more: Mapping[str, int], *, evidence: str, recorder: str, now_ns: int
) -> dict[str, Any]:
    """What is to be said about alarms that got no packets."""
    counts = Counter(more) + Counter(each.reason for each in listed)
    return {
        "evidence": evidence,
        "recorder": recorder,
        "pcap": None,
        "left_out": dict(sorted(counts.items())),
        "alarms": [{"ts": iso(each.ts_ns), "reason": each.reason, "query": each.query} for each in listed],
        "not_listed": sum(more.values()),
        "finished": iso(now_ns),
    }


def write_note(path: Path, note: Mapping[str, Any]) -> None:
    """Write a note, in place of an older one; safe on the disk when this returns.

    Raises:
        OSError: the disk says no.
    """
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            os.fchmod(file.fileno(), 0o640)  # as the PCAPs: records are nobody else's business
            file.write(msgspec.json.format(msgspec.json.encode(note), indent=2) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def iso(ns: int) -> str:
    """A time as notes have it."""
    seconds, rest = divmod(ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09}Z"
