"""What types cannot tell about evidence: whose packets, where they go, and what the map of uids is fed with."""

from __future__ import annotations

from appliance.config import patterns
from appliance.config.report import Report, nearest, one_of, quote
from appliance.config.shape import EACH, HOLE, select
from appliance.config.tables import Config
from appliance.units import Size

__all__ = ["check_evidence"]

_FIELDS = ("name",)
_SMALLEST_FILE = Size(4 << 10)


def check_evidence(config: Config, report: Report, *, complete: bool) -> None:
    """Report what is wrong with each table; with `complete`, also that there is no such recorder."""
    for key, size in select(config, "evidence", EACH, "max_size"):
        if size < _SMALLEST_FILE:
            report.add(key, f"must be at least {_SMALLEST_FILE}, got {size}")
    for key, text in select(config, "evidence", EACH, "directory"):
        for mistake, hint in patterns.mistakes_in(text, _FIELDS):
            report.add(key, mistake, hint)
    for key, evidence in select(config, "evidence", EACH):
        for name in evidence.foreign_keys if evidence.queue is not HOLE else ():
            if (*key, name) in report.places:
                report.add((*key, name), "is for durable queues", 'leave it out, or write queue = "durable"')
    _check_uids(config, report)
    if complete:
        _check_recorders(config, report)


def _check_uids(config: Config, report: Report) -> None:
    for key, entry in select(config, "uids", "on", EACH):
        if not entry.startswith("log:") or not entry.removeprefix("log:").strip():
            report.add(key, f'takes only "log:", got {quote(entry)}', 'write "log:conn"')


def _check_recorders(config: Config, report: Report) -> None:
    names = [name for _, name in select(config, "recorder", EACH, "name")]
    for key, name in select(config, "evidence", EACH, "recorder"):
        if name not in names:
            meant = nearest(name, names)
            hint = f"did you mean {quote(meant)}?" if meant else f"there is {one_of(names)}" if names else ""
            report.add(key, f"there is no recorder {quote(name)}", hint or "write a table [[recorder]]")
