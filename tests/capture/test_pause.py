"""How long the kernel may collect packets: numbers in, numbers out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from appliance.capture.pause import LONGEST_S, PER_PAUSE, SHARE, SHORTEST_S, Pause

LIMIT = 8 << 20


def pauses(per_s: float, size: int, *, rounds: int = 20) -> list[float]:
    """The pauses of a stream that is steady, whose packets use `size` bytes of the buffer each."""
    pause, now_s, packets, found = Pause(), 0.0, 0, []
    for _ in range(rounds):
        found.append(pause.next_s(now_s, packets))
        span_s = max(found[-1], 1 / per_s, 1e-4)
        now_s += span_s
        pause.look(now_s, int(per_s * span_s * size), LIMIT)
        packets += int(per_s * span_s)
    return found


def test_rare_packets_are_received_as_they_come() -> None:
    """One wake-up for each does not cost much then."""
    assert set(pauses(0.9 * PER_PAUSE / LONGEST_S, 768)) == {0.0}


def test_busy_stream_has_the_longest_pause_in_the_end() -> None:
    """It grows from nothing, by two each time."""
    found = pauses(10_000, 768)
    assert found[0] == 0.0
    assert found[-1] == LONGEST_S
    assert all(after <= max(SHORTEST_S, 2 * before) for before, after in zip(found, found[1:], strict=False))


@given(st.floats(1e3, 1e7), st.integers(256, 70_000))
def test_pause_never_fills_more_than_its_share(per_s: float, size: int) -> None:
    """At whatever rate and size; where that is not even the shortest one there is none."""
    for pause_s in pauses(per_s, size)[2:]:
        assert pause_s * per_s * size <= SHARE * LIMIT * 1.1
        assert pause_s == 0 or SHORTEST_S <= pause_s <= LONGEST_S


def test_kernel_that_does_not_tell_means_no_pause() -> None:
    """Nobody knows then how long would be too long."""
    pause = Pause()
    for i in range(10):
        assert pause.next_s(i / 100, i * 1000) == 0.0
        pause.look(i / 100 + 0.001, 0, 0)


def test_burst_after_silence_begins_without_a_pause() -> None:
    """The rate of a long silence says nothing about what begins now."""
    pause = Pause()
    pause.next_s(0.0, 0)
    pause.look(10.0, 40 * 768, LIMIT)
    assert pause.next_s(10.0, 40) == 0.0
