"""How a call of a hook ended, as the journal keeps it."""

from __future__ import annotations

import traceback

from appliance.runtime.journal.entries import Failure

from .steer import Failed, Reject, Retry

__all__ = ["Outcome", "OverdueError", "failure_of"]

MAX_ERROR = 500
"""Characters of an exception that are kept."""
MAX_TRACE = 16_384
"""The same of a traceback, the end of it."""
MAX_FRAMES = 50

Outcome = BaseException | Failure | None
"""How a call ended: None, or what it raised, or what was made of that where it ran."""


class OverdueError(TimeoutError):
    """A call was not finished in its time."""


def failure_of(outcome: BaseException | Failure) -> Failure:
    """What a hook raised, with its traceback."""
    if isinstance(outcome, Failure):
        return outcome
    wish = isinstance(outcome, Retry | Reject | Failed)
    text = str(outcome) if wish else "".join(traceback.format_exception_only(outcome)).strip()
    error = text.encode("utf-8", "backslashreplace").decode()[:MAX_ERROR]  # it is shown, and kept, as JSON
    if isinstance(outcome, Retry):
        return Failure(reason="retry", error=error, retry_after_s=outcome.after_s)
    if isinstance(outcome, Reject):
        return Failure(reason="rejected", error=error, is_final=True)
    if isinstance(outcome, OverdueError):
        return Failure(reason="timeout", error=error)
    if isinstance(outcome, Failed):
        return Failure(reason="hook_error", error=error, trace=outcome.trace[-MAX_TRACE:])
    trace = "".join(traceback.format_exception(outcome, limit=-MAX_FRAMES))
    return Failure(reason="hook_error", error=error, trace=trace[-MAX_TRACE:].encode("utf-8", "replace").decode())
