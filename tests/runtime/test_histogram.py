"""Durations in buckets."""

from __future__ import annotations

from appliance.runtime.histogram import BOUNDS_S, Histogram


def test_a_duration_is_in_the_first_bucket_whose_bound_it_does_not_exceed() -> None:
    """And in the last one if it exceeds all of them; nothing is lost from the sum."""
    histogram = Histogram()
    for seconds in (0.0, BOUNDS_S[0], 0.0011, 1.0, 1000.0):
        histogram.add(seconds)
    figures = histogram.statistics()
    found = {bound: count for bound, count in zip((*BOUNDS_S, None), figures.counts, strict=True) if count}
    assert found == {BOUNDS_S[0]: 2, 0.0025: 1, 1.0: 1, None: 1}
    assert figures.count == 5
    assert figures.sum_s == 1001.0012
