"""Some calls on a lane, from their begin until what became of them is settled."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from .around import Around, cut_unsent, send_all
from .failure import Outcome
from .lanes import Lane
from .plan import Job
from .tally import Tally

__all__ = ["make_some"]


async def make_some(
    lane: Lane,
    job: Job,
    *,
    tally: Tally,
    around: Around | None,
    settle: Callable[[Job, Sequence[Outcome]], None],
) -> int:
    """Make the first of a job's calls; returns how many.

    Args:
        lane: where.
        job: the calls.
        tally: counts them.
        around: gets what they want to have done.
        settle: told what became of the first of them, in any case.

    Cancellation: what was called to its end is settled.
    """
    outcomes: list[Outcome] = []
    began = time.monotonic()
    tally.running += 1
    try:
        await lane.run(job, outcomes)
        await send_all(around, job, outcomes)
    finally:
        tally.running -= 1
        tally.busy_s += time.monotonic() - began
        cut_unsent(job, outcomes)
        settle(job, outcomes)
    return len(outcomes)
