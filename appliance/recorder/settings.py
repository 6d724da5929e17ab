"""What a reload may change about files while the threads record."""

from __future__ import annotations

from pathlib import Path

__all__ = ["FileSettings"]


class FileSettings:
    """See the module; each attribute is read when it is needed.

    Args:
        recorder: its name.
        directory: where the segments go.
        segment_bytes: no segment grows beyond.
        segment_ns: the time after which the clock begins a new one.
    """

    def __init__(self, recorder: str, directory: Path, *, segment_bytes: int, segment_ns: int) -> None:
        self.recorder, self.directory = recorder, directory
        self.segment_bytes, self.segment_ns = segment_bytes, segment_ns
