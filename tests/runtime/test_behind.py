"""Work in a thread of less weight."""

from __future__ import annotations

import errno
import os
import threading

import pytest
import trio

from appliance.runtime.behind import LESS, run_behind


def get_nice() -> tuple[str, int]:
    return threading.current_thread().name, os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


async def test_it_has_less_weight_and_the_others_keep_theirs() -> None:
    """The thread that works is nicer than the one that asked, which is as it was."""
    _, before = get_nice()
    assert await run_behind(get_nice, name="work") == ("work", min(19, before + LESS))
    assert get_nice()[1] == before
    assert (await trio.to_thread.run_sync(get_nice))[1] == before


async def test_what_it_raises_comes_back() -> None:
    """An exception of the work is the caller's."""
    with pytest.raises(ZeroDivisionError):
        await run_behind(lambda: 1 // 0, name="work")


async def test_cancelled_it_ends_all_the_same() -> None:
    """Whoever is cancelled waits for the end of the work."""
    began, go_on, ended = threading.Event(), threading.Event(), []

    def work() -> None:
        began.set()
        go_on.wait(10)
        ended.append(True)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: run_behind(work, name="work"))
        await trio.to_thread.run_sync(began.wait, 10)
        nursery.cancel_scope.cancel()
        go_on.set()
    assert ended


async def test_where_weight_cannot_be_given_away_it_works_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under a filter of system calls that refuses it."""

    def refuse(_: int) -> int:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "nice", refuse)
    with trio.fail_after(10):
        assert await run_behind(lambda: 7, name="work") == 7
