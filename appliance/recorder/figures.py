"""What a recorder says about itself, in numbers."""

from __future__ import annotations

import msgspec

from appliance.runtime.rates import Rates

__all__ = ["MemberFigures", "RecorderFigures"]


class MemberFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One ring at one moment; counts since it was opened."""

    number: int
    open_file: str
    """The ``.part`` that is being written; empty if none."""
    packets: int
    kernel_drops: int
    freezes: int
    """How often the ring was full."""


class RecorderFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One recorder at one moment; counts since the appliance was started."""

    interface: str
    state: str
    """``starting``, ``recording``, ``down``: the interface is; ``waiting``, ``gone``: there is no such interface;
    ``stopped``."""
    directory: str
    linktype: int
    packets: int
    """That came, with those that were lost."""
    bytes: int
    """True lengths of those that reached us."""
    packets_per_s: Rates
    bytes_per_s: Rates
    stored: int
    """In files, or with ``write = "triggered"`` in memory."""
    kernel_drops: int
    disk_drops: int
    """Lost because the disk was full, slow or away."""
    cutoff_packets: int
    """Left out on purpose: past the cutoff of their connection."""
    cutoff_bytes: int
    truncated: int
    """Stored shorter than they were."""
    hardware_times: int
    segments: int
    """Finished."""
    recovered: int
    """Of them, left by an earlier run."""
    write_errors: int
    index_errors: int
    """Segments that have no index; they are read as a whole."""
    directory_made: int
    """How often the directory had to be made again."""
    disk_segments: int
    """That are on the disk now."""
    disk_bytes: int
    """Theirs, with indexes and what grows."""
    disk_limit: int
    """What they may be now: the budget, or less if the disk is too small for it; 0: not known yet."""
    deleted_segments: int
    """To make room."""
    deleted_bytes: int
    memory_bytes: int
    """Of the ring in memory."""
    oldest_ns: int
    """Time of the earliest packet that there still is; 0: none."""
    newest_ns: int
    span_s: float
    """Between the two."""
    gaps: int
    """Spans in which packets are missing, see the file of gaps."""
    flows: int
    """Connections seen."""
    members: tuple[MemberFigures, ...]
