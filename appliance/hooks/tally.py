"""What became of calls: booked for their records, counted, and told to the log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from appliance.runtime.histogram import HistogramFigures
from appliance.runtime.intake import Parcel
from appliance.runtime.journal.entries import Failure
from appliance.runtime.logs import Throttle

from .failure import Outcome, failure_of
from .plan import Call, Job
from .steer import Failed

__all__ = ["HookFigures", "Tally"]


class HookFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One hook at one moment."""

    calls: int
    done: int
    """Calls that returned."""
    failed: int
    """Calls that did not, for whatever reason."""
    errors: int
    timeouts: int
    running: int
    """Lanes that are in calls."""
    hung: int
    """Threads that exceeded their time and still run."""
    workers: int
    """Worker processes that run."""
    workers_started: int
    busy_s: float
    """Time spent in calls, all lanes together."""
    last_error: str
    durations: HistogramFigures
    """Of the calls."""


class Tally:
    """See the module.

    Args:
        log: with the hook's name.
    """

    def __init__(self, log: Any) -> None:
        self._log = log
        self._throttle = Throttle()
        self.calls = self.failed = self.errors = self.timeouts = self.running = 0
        self.busy_s = 0.0
        self.last_error = ""

    def settle(self, parcel: Parcel, job: Job, outcomes: Sequence[Outcome]) -> None:
        """Book the outcomes of the first calls, in their order, from the front of the parcel on."""
        good = 0
        for call, outcome in zip(job.calls, outcomes, strict=False):
            count = len(call.positions)
            is_whole = call.positions[0] == parcel.settled + good and call.positions[-1] - call.positions[0] < count
            if outcome is None and is_whole and not job.undecodable:
                good += count
                self.calls += 1
                continue
            parcel.deliver(good)
            good = 0
            failure = self.count(call, outcome, job.undecodable)
            for position in call.positions:
                parcel.drop("where", position - parcel.settled)
                book(parcel, failure, is_undecodable=position in job.undecodable)
        parcel.deliver(good)

    def count(self, call: Call, outcome: Outcome, undecodable: set[int]) -> Failure | None:
        """Count a call; returns how it failed."""
        self.calls += not undecodable.issuperset(call.positions)
        if outcome is None:
            return None
        failure = failure_of(outcome)
        self.failed += 1
        self.timeouts += failure.reason == "timeout"
        self.errors += failure.reason in ("hook_error", "crash")
        self.last_error = failure.error
        if failure.reason in ("retry", "rejected"):
            self._log.debug("hook gave a record back", reason=failure.reason, error=failure.error)
        elif (held := self._throttle.admit(failure.error[:80])) is not None:
            self._log.warning(
                "hook failed", reason=failure.reason, error=failure.error, more=held, **_trace(failure, outcome)
            )
        return failure


def book(parcel: Parcel, failure: Failure | None, *, is_undecodable: bool) -> None:
    """Settle the next record of a parcel."""
    if is_undecodable:
        parcel.drop("undecodable", 1)
    elif failure is None:
        parcel.deliver(1)
    else:
        parcel.fail(failure)


def _trace(failure: Failure, outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, BaseException):
        return {"exc_info": outcome} if failure.reason == "hook_error" and not isinstance(outcome, Failed) else {}
    return {"traceback": failure.trace} if failure.trace else {}
