"""Places for connections: who has to make room, and when."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import trio
from trio.testing import MockClock

from appliance.api.pool import GRACE_S, Pool
from appliance.api.sockets import Bounded, has_unread


def connection(idle_since: float | None, *, has_unread: bool = False) -> Any:
    """A hashable one, as a pool knows it."""

    class Idle:
        pass

    found: Any = Idle()
    found.idle_since, found.has_unread = idle_since, has_unread
    return found


async def test_who_was_waited_for_longest_goes(autojump_clock: MockClock) -> None:
    """And not who is at work, has sent something, or was asked to go before."""
    pool, start = Pool(8), trio.current_time()
    each = [connection(None), connection(start - 9, has_unread=True), connection(start - 2), connection(start - 3)]
    with pool.may_be_cut(each[0]), pool.may_be_cut(each[1]), pool.may_be_cut(each[2]), pool.may_be_cut(each[3]):
        for expected, wait_s in (([3], 0.0), ([2, 3], 0.0), ([2, 3], GRACE_S)):
            assert pool.make_room() == wait_s
            assert [i for i, one in enumerate(each) if pool._open[one].cancel_called] == expected
        assert pool.cut == 2


async def test_nobody_goes_who_has_only_just_come(autojump_clock: MockClock) -> None:
    """It is asked again when the first of them has had its time."""
    pool = Pool(1)
    late = connection(trio.current_time())
    with pool.may_be_cut(late):
        assert 0 < pool.make_room() <= GRACE_S
        assert not pool._open[late].cancel_called
        await trio.sleep(GRACE_S)
        assert pool.make_room() == 0
        assert pool._open[late].cancel_called


async def test_who_has_sent_something_is_looked_at_again_soon(autojump_clock: MockClock) -> None:
    """It may be no request: nobody waits for a place until he is sent away for his silence."""
    pool = Pool(1)
    one = connection(trio.current_time() - 9, has_unread=True)
    with pool.may_be_cut(one):
        assert pool.make_room() == GRACE_S
        one.has_unread = False
        assert pool.make_room() == 0
        assert pool.cut == 1


async def test_a_place_that_becomes_free_is_taken_at_once(autojump_clock: MockClock) -> None:
    """Although the one who asks for room would wait longer."""
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    places, accepted = trio.Semaphore(0), trio.Event()
    bounded = Bounded(listener, places, lambda: 1000.0)

    async def accept() -> None:
        async with await bounded.accept():
            accepted.set()

    address = listener.socket.getsockname()
    async with listener, await trio.open_tcp_stream(*address), trio.open_nursery() as nursery:
        nursery.start_soon(accept)
        await trio.sleep(1)
        places.release()
        with trio.fail_after(10):
            await accepted.wait()


def test_what_waits_in_the_kernel_is_seen() -> None:
    """Also under TLS; a closed connection has nothing."""
    ours, theirs = socket.socketpair()
    for stream in (SimpleNamespace(socket=ours), SimpleNamespace(transport_stream=SimpleNamespace(socket=ours))):
        assert not has_unread(stream)
        theirs.send(b"GET")
        assert has_unread(stream)
        ours.recv(3)
    theirs.close()
    ours.close()
    assert not has_unread(stream)
    assert not has_unread(object())
