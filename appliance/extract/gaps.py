"""What a recorder says is missing, ``<recorder>.gaps.jsonl`` in its directory: read, and put beside a query. Blocks."""

from __future__ import annotations

from pathlib import Path

import msgspec

from appliance.runtime.packets import Gap

__all__ = ["CUTOFF", "SUFFIX", "read_gaps"]

SUFFIX = ".gaps.jsonl"
CUTOFF = "cutoff"
"""The reason of what was left out on purpose: counted, and nothing that is missing."""
_decode = msgspec.json.Decoder(Gap).decode


def read_gaps(directory: Path, recorder: str | None, *, from_ns: int, to_ns: int) -> list[Gap]:
    """What is missing between two times, both inclusive, in the order in which it was noticed.

    A line that cannot be read, such as the last one of a recorder that was killed, says nothing.

    Args:
        directory: of the recorder.
        recorder: its name; None: all that say something there.
        from_ns: nanoseconds since the epoch, as is `to_ns`.
        to_ns: the end.

    Raises:
        OSError: a file cannot be read.
    """
    paths = [directory / f"{recorder}{SUFFIX}"] if recorder else sorted(directory.glob(f"*{SUFFIX}"))
    gaps = []
    for path in paths:
        try:
            with path.open("rb") as file:
                for line in file:
                    try:
                        gap = _decode(line)
                    except (msgspec.DecodeError, UnicodeDecodeError):
                        continue
                    if gap.from_ns <= to_ns and gap.to_ns >= from_ns:
                        gaps.append(gap)
        except FileNotFoundError:
            continue
    return gaps
