"""Plots of the last hour: where a sample is drawn, and that no peak is lost."""

from __future__ import annotations

import re
from math import nan

from appliance.runtime.history import Point
from appliance.ui.plot import plot, sparkline


def line_of(markup: str) -> list[tuple[float, float]]:
    """The points of the curve."""
    found = re.search(r'class="line" d="([^"]*)"', markup)
    assert found is not None
    return [(float(x), float(y)) for x, y in re.findall(r"(\d+),([\d.]+)", found[1])]


def test_a_peak_of_one_sample_is_seen() -> None:
    """Among 719 others, although there are 120 steps."""
    points: list[Point] = [(1.0, 0.0, 0.0)] * 719
    points[300] = (1000.0, 0.0, 0.0)
    drawn = line_of(sparkline(points, "x"))
    assert len(drawn) == 120
    assert min(drawn, key=lambda point: point[1]) == (50.0, 1.0)


def test_the_newest_is_at_the_right_end() -> None:
    """A short history leaves the left side empty, and a hole in it is no line."""
    points: list[Point] = [(1.0, 0.0, 0.0)] * 12 + [(nan, nan, nan)] * 12 + [(2.0, 0.0, 0.0)] * 6
    drawn = line_of(sparkline(points, "x"))
    assert [x for x, _ in drawn] == [115.0, 116.0, 119.0]
    assert drawn[-1][1] == 1.0


def test_the_large_one_has_scales_and_figures() -> None:
    """Read by people who do not see the curve, too."""
    points: list[Point] = [(10.0, 0.0, 0.0), (30.0, 2.0, 0.0), (14.0, 0.0, 5.0)]
    text = plot("zmq.<a>", "records", points)
    for told in (
        "peak</span> <b>30<",
        "mean</span> <b>18<",
        "now</span> <b>14<",
        "lost</span> <b>10<",
        "queued</span> <b>5<",
    ):
        assert told in text
    assert "zmq.&lt;a&gt;" in text
    assert "<span>50</span><span>25</span><span>0</span>" in text
    assert 'aria-label="zmq.&lt;a&gt;: records per second over the last hour, at most 30, 10 lost"' in text


def test_nothing_yet_is_a_plot_as_well() -> None:
    """Without a division by nothing."""
    assert "peak</span> <b>0<" in plot("a", "records", [])
    assert line_of(sparkline([], "x")) == []
