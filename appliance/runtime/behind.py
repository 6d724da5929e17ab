"""Work that the threads which take data must not wait for, where processors are few."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from typing import TypeVar

import trio

__all__ = ["LESS", "run_behind"]

T = TypeVar("T")

LESS = 5
"""Added to the nice value: a third of the weight (sched(7)), so that it goes on also while the others never rest."""


async def run_behind(work: Callable[[], T], *, name: str) -> T:
    """Call `work` in a thread of its own, which has less weight than others where they share a processor.

    Not one of trio's threads: who has given weight away cannot take it back without privileges.

    Cancellation: it goes on until `work` is done.
    """
    done = trio.Event()
    soon = trio.lowlevel.current_trio_token().run_sync_soon
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            with contextlib.suppress(OSError):  # a site's filter of system calls may not want it: then as the others
                os.nice(LESS)  # of this thread alone, as Linux has it
            results.append(work())
        except BaseException as exc:  # noqa: BLE001 - whoever waits gets it
            errors.append(exc)
        soon(done.set)

    threading.Thread(target=run, name=name).start()
    with trio.CancelScope(shield=True):
        await done.wait()
    if errors:
        raise errors[0]
    return results[0]
