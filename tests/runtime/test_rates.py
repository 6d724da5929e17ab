"""Rates from samples of a counter."""

from __future__ import annotations

from appliance.runtime.rates import RateMeter, Rates


def test_a_new_counter_has_no_rate() -> None:
    """One sample is no time."""
    assert RateMeter(5.0).rates() == Rates(last_1s=0.0, last_10s=0.0, last_60s=0.0)


def test_windows_see_their_seconds_only() -> None:
    """A burst leaves the short windows first."""
    meter = RateMeter(0.0)
    total = 0
    for second in range(1, 101):
        total += 600 if second == 70 else 0
        meter.sample(float(second), total)
        if second == 70:
            assert meter.rates() == Rates(last_1s=600.0, last_10s=60.0, last_60s=10.0)
        if second == 75:
            assert meter.rates() == Rates(last_1s=0.0, last_10s=60.0, last_60s=10.0)
    assert meter.rates() == Rates(last_1s=0.0, last_10s=0.0, last_60s=10.0)


def test_a_short_life_is_a_short_window() -> None:
    """The rate is over the life of the counter then."""
    meter = RateMeter(0.0)
    meter.sample(2.0, 100)
    assert meter.rates() == Rates(last_1s=0.0, last_10s=50.0, last_60s=50.0)


def test_unpunctual_samples_are_enough() -> None:
    """Half a second late is punctual."""
    meter = RateMeter(0.0, 50)
    meter.sample(1.4, 190)
    assert meter.rates().last_1s == 100.0


def test_memory_is_bounded() -> None:
    """No more samples than the longest window needs."""
    meter = RateMeter(0.0)
    for second in range(1000):
        meter.sample(float(second), second)
    assert len(meter._samples) == 62
    assert meter.rates() == Rates(last_1s=1.0, last_10s=1.0, last_60s=1.0)
