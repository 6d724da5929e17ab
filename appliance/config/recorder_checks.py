"""What is wrong in ``[[recorder]]`` across keys: limits of the ring, budgets too small, memory that is missing."""

from __future__ import annotations

from appliance.config.lines import Key
from appliance.config.report import Report
from appliance.config.shape import EACH, HOLE, select
from appliance.config.tables import Config, Recorder
from appliance.units import Size

__all__ = ["check_recorders"]

_RING = Size(2 << 20), Size(4 << 30)
_SEGMENT = Size(1 << 20), Size(1 << 40)
_SECOND_NS = 10**9
_SMALLEST_MEMORY = Size(2 << 20)
"""Of each ring: two segments of the smallest size."""


def check_recorders(config: Config, report: Report) -> None:
    """Report every mistake in the recorders."""
    for key, recorder in select(config, "recorder", EACH):
        _check_range(key, "ring", recorder.ring, _RING, report)
        _check_range(key, "segment_size", recorder.segment_size, _SEGMENT, report)
        if recorder.segment_every is not HOLE and 0 < recorder.segment_every < _SECOND_NS:
            report.add((*key, "segment_every"), f"must be at least 1s, got {recorder.segment_every}")
        if recorder.cutoff == 0:
            report.add((*key, "cutoff"), "must be more than 0", 'write cutoff = "none" to keep all')
        _check_room(key, recorder, report)


def _check_range(key: Key, name: str, value: Size, limits: tuple[Size, Size], report: Report) -> None:
    if value is not HOLE and not limits[0] <= value <= limits[1]:
        report.add((*key, name), f"must be {limits[0]} to {limits[1]}, got {value}")


def _check_room(key: Key, recorder: Recorder, report: Report) -> None:
    if recorder.fanout is HOLE:
        return
    if HOLE not in (recorder.budget, recorder.segment_size) and recorder.budget is not None:
        least = Size((recorder.fanout + 1) * recorder.segment_size)
        if recorder.budget < least:
            hint = f"a smaller segment_size, or {least} at least: a growing segment for each ring, and a finished one"
            report.add((*key, "budget"), f"holds too few segments of {recorder.segment_size}", hint)
    if HOLE in (recorder.memory, recorder.write):
        return
    least = Size(_SMALLEST_MEMORY * recorder.fanout)
    if recorder.write == "triggered" and not recorder.memory:
        report.add((*key, "write"), "needs the newest packets in memory", 'set memory, e.g. memory = "1GiB"')
    elif 0 < recorder.memory < least:
        report.add((*key, "memory"), f"must be at least {least} for {recorder.fanout} rings, got {recorder.memory}")
