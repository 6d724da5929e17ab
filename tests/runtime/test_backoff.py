"""Delays before another attempt."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from appliance.runtime.backoff import Backoff


def test_delays_grow_up_to_the_longest() -> None:
    """And begin again after a reset."""
    backoff = Backoff(first_s=1.0, longest_s=5.0, jitter=0.0)
    assert [backoff.next_s() for _ in range(5)] == [1.0, 2.0, 4.0, 5.0, 5.0]
    backoff.reset()
    assert backoff.next_s() == 1.0


def test_no_delay_is_longer_than_the_longest() -> None:
    """The first is none, either."""
    backoff = Backoff(first_s=9.0, longest_s=5.0, jitter=0.0)
    assert backoff.next_s() == 5.0
    backoff.reset()
    assert backoff.next_s() == 5.0


@given(st.floats(0, 1, exclude_max=True), st.floats(0, 1))
def test_jitter_shortens_only(chance: float, jitter: float) -> None:
    """By its share at most."""
    backoff = Backoff(first_s=1.0, longest_s=8.0, jitter=jitter, uniform=lambda: chance)
    for plain_s in (1.0, 2.0, 4.0, 8.0, 8.0):
        assert plain_s * (1 - jitter) <= backoff.next_s() <= plain_s


def test_chance_is_real_by_default() -> None:
    """Many that fail together do not come back together."""
    assert len({Backoff().next_s() for _ in range(20)}) > 1
