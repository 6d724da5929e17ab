"""How long something is out of reach, and when that is too long."""

from __future__ import annotations

import trio.testing

from appliance.runtime.dialing import Dialing, Reach


def test_what_was_never_reached_is_out_of_reach_from_the_start() -> None:
    """And overdue once that is longer than normal, not before."""
    now_s = [100.0]
    reach = Reach(5.0, clock_s=lambda: now_s[0])
    assert (reach.down_s, reach.is_overdue) == (0.0, False)
    now_s[0] = 105.0
    assert (reach.down_s, reach.is_overdue) == (5.0, False)
    now_s[0] = 105.5
    assert (reach.down_s, reach.is_overdue) == (5.5, True)


def test_what_is_lost_is_out_of_reach_from_then_on() -> None:
    """However often it is noted again; and reached is reached."""
    now_s = [0.0]
    reach = Reach(5.0, clock_s=lambda: now_s[0])
    reach.note(is_there=True)
    now_s[0] = 50.0
    assert (reach.down_s, reach.is_overdue) == (0.0, False)
    for now_s[0] in (60.0, 63.0, 66.0):
        reach.note(is_there=False)
    assert (reach.down_s, reach.is_overdue) == (6.0, True)
    reach.note(is_there=True)
    assert (reach.down_s, reach.is_overdue) == (0.0, False)


async def test_attempts_that_fail_do_not_begin_the_time_anew(autojump_clock: trio.testing.MockClock) -> None:
    """It runs from the first one, or from the last connection, until there is one again."""
    del autojump_clock
    dialing = Dialing(5.0)
    for _ in range(3):
        dialing.begin()
        dialing.fail("nobody answers")
        dialing.wait()
        await trio.sleep(2.0)
    found = dialing.figures("192.0.2.1:9999")
    assert (found.state, found.attempts, found.down_s, found.is_overdue) == ("waiting", 3, 6.0, True)
    assert found.told == "192.0.2.1:9999: nobody answers"
    dialing.begin()
    dialing.succeed()
    await trio.sleep(60.0)
    found = dialing.figures("192.0.2.1:9999")
    assert (found.state, found.last_error, found.down_s, found.is_overdue) == ("peered", "", 0.0, False)
    dialing.fail("the peer has closed the connection")
    await trio.sleep(1.0)
    dialing.wait()
    await trio.sleep(1.0)
    found = dialing.figures("192.0.2.1:9999")
    assert (found.state, found.down_s, found.is_overdue) == ("waiting", 2.0, False)
