"""What a recorder says is missing, ``<recorder>.gaps.jsonl`` in its directory: read, and put beside a query. Blocks."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from appliance.runtime.packets import Gap

from .names import GAPS

__all__ = ["CUTOFF", "read_gaps"]

CUTOFF = "cutoff"
"""The reason of what was left out on purpose: counted, and nothing that is missing."""
STOPPED = "stopped"
SILENCE_NS = 10 * 10**9
"""After which a recorder is not there any more."""
_decode = msgspec.json.Decoder(Gap).decode


def read_gaps(directory: Path, recorder: str | None, *, from_ns: int, to_ns: int, now_ns: int) -> list[Gap]:
    """What is missing between two times, both inclusive, in the order in which it was noticed.

    A line that cannot be read, such as the last one of a recorder that was killed, says nothing. From the last change
    of the file on, which a recorder that runs touches every second, nobody records.

    Args:
        directory: of the recorder.
        recorder: its name; None: all that say something there.
        from_ns: nanoseconds since the epoch, as is `to_ns`.
        to_ns: the end.
        now_ns: the present.

    Raises:
        OSError: a file cannot be read.
    """
    paths = [directory / f"{recorder}{GAPS}"] if recorder else sorted(directory.glob(f"*{GAPS}"))
    gaps = []
    for path in paths:
        try:
            with path.open("rb") as file:
                until_ns = os.fstat(file.fileno()).st_mtime_ns
                for line in file:
                    try:
                        gap = _decode(line)
                    except (msgspec.DecodeError, UnicodeDecodeError):
                        continue
                    if gap.from_ns <= to_ns and gap.to_ns >= from_ns:
                        gaps.append(gap)
        except FileNotFoundError:
            continue
        end_ns = min(to_ns, now_ns)
        if until_ns + SILENCE_NS < now_ns and end_ns > max(until_ns, from_ns):
            gaps.append(Gap(max(until_ns, from_ns), end_ns, STOPPED))
    return gaps
