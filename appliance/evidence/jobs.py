"""What is pending: alarms as jobs, one for each file that is to be written, and what limits them. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import msgspec

from appliance.native import FlowKey

from .selection import Selection

__all__ = [
    "MAX_SHOWN",
    "Alarm",
    "Asked",
    "Desk",
    "Job",
    "Limits",
    "Missing",
    "Piece",
    "Shown",
    "Span",
    "cover",
    "merge_missing",
    "uncovered",
]

MAX_SHOWN = 100
"""Records in the note of a job; further ones are counted."""
MAX_ASKED = 1000
"""Requests that one job answers; a further one is a job of its own."""
_MINUTE_NS = 60 * 10**9

Span = tuple[int, int]
"""From a time to another one that does not belong to it, in nanoseconds since the epoch."""


class Missing(msgspec.Struct, frozen=True, omit_defaults=True):
    """Packets that are not in the file and should be, or may be."""

    reason: str
    from_ns: int
    to_ns: int
    packets: int | None = None
    """How many; None if nobody can know."""
    bytes: int | None = None

    def __str__(self) -> str:
        count = "" if self.packets is None else f", {self.packets} packets"
        return f"{self.reason} from {self.from_ns / 1e9:.6f} to {self.to_ns / 1e9:.6f}{count}"


class Piece(msgspec.Struct, frozen=True):
    """Packets that were taken: a PCAP in the folder of stages."""

    file: str
    from_ns: int
    """Of the span that it was taken from."""
    to_ns: int
    packets: int
    size: int
    first_ns: int
    last_ns: int
    linktype: int


class Shown(msgspec.Struct, frozen=True):
    """An alarm as the note shows it."""

    kind: str
    """e.g. ``log:notice``"""
    source: str
    """The door."""
    ts_ns: int
    record: str
    """As JSON."""


class Asked(msgspec.Struct, frozen=True):
    """A request that waits for its answer."""

    id: str
    topic: str


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """A record and the packets that it is about."""

    selection: Selection
    ts_ns: int
    from_ns: int
    to_ns: int
    """Does not belong to it any more."""
    shown: Shown
    asked: Asked | None = None
    flows: Sequence[FlowKey] = ()
    """Of its connection, as far as it is known: no cutoff for them from now on."""


class Job(msgspec.Struct, kw_only=True):
    """One file to be. It changes in the loop only."""

    id: int
    selection: Selection
    ts_ns: int
    """Of its first alarm."""
    from_ns: int
    to_ns: int
    began_ns: int
    """Wall clock."""
    alarms: int = 1
    shown: list[Shown] = []
    asked: list[Asked] = []
    covered: list[Span] = []
    """What was taken from the recorder; disjoint, in order."""
    pieces: list[Piece] = []
    missing: list[Missing] = []
    capped_ns: int | None = None
    """From when on its packets did not fit into the file."""
    failures: int = 0
    """Attempts in a row that failed."""

    @property
    def tag(self) -> str:
        """Tells its file from others of that second."""
        text = f"{self.id} {self.began_ns} {self.selection.key}"
        return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()

    @property
    def size(self) -> int:
        return sum(piece.size for piece in self.pieces)


def uncovered(from_ns: int, to_ns: int, covered: Iterable[Span]) -> list[Span]:
    """The parts of a span that are not in `covered`."""
    left: list[Span] = []
    for begin, end in covered:
        if begin >= to_ns:
            break
        if begin > from_ns:
            left.append((from_ns, begin))
        from_ns = max(from_ns, end)
    return [*left, (from_ns, to_ns)] if from_ns < to_ns else left


def cover(covered: Iterable[Span], span: Span) -> list[Span]:
    """`covered` with one more span, those that meet made one."""
    merged: list[Span] = []
    for begin, end in sorted([*covered, span]):
        if merged and begin <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        else:
            merged.append((begin, end))
    return merged


def merge_missing(missing: Sequence[Missing]) -> list[Missing]:
    """In order, and what several stages have seen of one gap made one."""
    merged: list[Missing] = []
    for each in sorted(missing, key=lambda each: (each.reason, each.from_ns, each.to_ns)):
        last = merged[-1] if merged else None
        same = last and (last.reason, last.packets, last.bytes) == (each.reason, each.packets, each.bytes)
        if last is not None and same and each.from_ns <= last.to_ns + 1:
            merged[-1] = msgspec.structs.replace(last, to_ns=max(last.to_ns, each.to_ns))
        else:
            merged.append(each)
    return sorted(merged, key=lambda each: each.from_ns)


class Limits(msgspec.Struct, frozen=True):
    """How much may be asked for."""

    max_pending: int
    max_rate: int
    """Jobs begun in a minute, all of them at once if there were none before."""
    max_span_ns: int
    """How long a job may become by joining."""


class Desk:
    """Joins alarms about the same packets, and refuses those that would begin too many jobs."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.jobs: dict[int, Job] = {}
        self._open: dict[str, Job] = {}
        self._tokens = float(limits.max_rate)
        self._filled_ns = 0

    def restore(self, jobs: Iterable[Job]) -> None:
        """Go on with what an earlier run has left, and forget everything else."""
        self.jobs.clear()
        self._open.clear()
        for job in jobs:
            self.jobs[job.id] = job
            self._open[job.selection.key] = job

    def admit(self, alarm: Alarm, now_ns: int, new_id: int) -> tuple[Job | None, str]:
        """Join an alarm to a job, or begin one.

        Args:
            alarm: what is wanted.
            now_ns: wall clock.
            new_id: for a new job.

        Returns:
            The job and ``joined`` or ``begun``; or None and why not: ``too_many_pending``, ``rate_limit``.
        """
        job = self._open.get(alarm.selection.key)
        if job is not None and self._join(job, alarm):
            return job, "joined"
        if len(self.jobs) >= self.limits.max_pending:
            return None, "too_many_pending"
        if not self._take_token(now_ns):
            return None, "rate_limit"
        job = Job(
            id=new_id, selection=alarm.selection, ts_ns=alarm.ts_ns, from_ns=alarm.from_ns, to_ns=alarm.to_ns,
            began_ns=now_ns, shown=[alarm.shown], asked=[alarm.asked] if alarm.asked else [],
        )  # fmt: skip
        self.jobs[job.id] = self._open[alarm.selection.key] = job
        return job, "begun"

    def _join(self, job: Job, alarm: Alarm) -> bool:
        from_ns, to_ns = min(job.from_ns, alarm.from_ns), max(job.to_ns, alarm.to_ns)
        if to_ns - from_ns > max(self.limits.max_span_ns, job.to_ns - job.from_ns):
            return False
        if alarm.from_ns > job.to_ns or alarm.to_ns < job.from_ns or len(job.asked) >= MAX_ASKED:
            return False
        job.from_ns, job.to_ns = from_ns, to_ns
        job.alarms += 1
        if len(job.shown) < MAX_SHOWN:
            job.shown.append(alarm.shown)
        if alarm.asked:
            job.asked.append(alarm.asked)
        return True

    def _take_token(self, now_ns: int) -> bool:
        passed_ns, self._filled_ns = max(0, now_ns - self._filled_ns), now_ns
        self._tokens = min(self.limits.max_rate, self._tokens + passed_ns * self.limits.max_rate / _MINUTE_NS)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def close(self, job: Job) -> None:
        """No more alarms for this one: it is being finished."""
        if self._open.get(job.selection.key) is job:
            del self._open[job.selection.key]

    def remove(self, job: Job) -> None:
        """It is finished."""
        self.close(job)
        self.jobs.pop(job.id, None)
