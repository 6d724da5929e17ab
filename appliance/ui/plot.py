"""Plots of the last hour as inline SVG, without a style of their own: colours are the style sheet's. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan

from appliance.runtime.history import INTERVAL_S, LENGTH, Point

from .markup import Html, join, tag
from .words import number, per_second

__all__ = ["plot", "sparkline"]

_SPARK = (120, 24)
_WIDE = (360, 100)
"""Width and height in units of the drawing; of the width, each is one step of time."""


def _steps(values: Sequence[float], steps: int) -> list[float | None]:
    """The largest value of each step, so that a peak is never averaged away; the last sample is at the right end."""
    padded = [float("nan")] * (LENGTH - len(values)) + list(values)
    each = LENGTH // steps
    return [
        max((value for value in padded[start : start + each] if not isnan(value)), default=None)
        for start in range(0, LENGTH, each)
    ]


def _runs(values: Sequence[float | None]) -> list[list[tuple[int, float]]]:
    """Stretches without a hole."""
    runs: list[list[tuple[int, float]]] = [[]]
    for x, value in enumerate(values):
        if value is None:
            runs.append([])
        else:
            runs[-1].append((x, value))
    return [run for run in runs if run]


def _curve(values: Sequence[float | None], top: float, height: int) -> tuple[str, str]:
    """The line, and the area below it."""
    line, area = [], []
    for run in _runs(values):
        path = " ".join(f"{x},{height - value / top * (height - 1):.1f}" for x, value in run)
        first, last = run[0][0], run[-1][0]
        line.append(f"M{path}" if len(run) > 1 else f"M{path} h1")
        area.append(f"M{first},{height} {path} {last},{height} Z")
    return " ".join(line), " ".join(area)


def sparkline(points: Sequence[Point], label: str) -> Html:
    """Received per second, and in the colour of losses where something was lost."""
    width, height = _SPARK
    values = _steps([point[0] for point in points], width)
    lost = _steps([point[1] for point in points], width)
    top = max((value for value in values if value is not None), default=0.0) or 1.0
    line, area = _curve(values, top, height)
    marks = " ".join(f"M{x},0 V{height}" for x, value in enumerate(lost) if value)
    return tag(
        "svg",
        tag("path", class_="area", d=area),
        tag("path", class_="line", d=line),
        tag("path", class_="lost", d=marks) if marks else None,
        class_="spark",
        viewBox=f"0 0 {width} {height}",
        preserveAspectRatio="none",
        role="img",
        aria_label=label,
    )


def plot(name: str, unit: str, points: Sequence[Point]) -> Html:
    """Received and lost per second of one account, with scales and what was most."""
    width, height = _WIDE
    known = [point for point in points if not isnan(point[0])]
    values = _steps([point[0] for point in points], width)
    lost = _steps([point[1] for point in points], width)
    peak = max((point[0] for point in known), default=0.0)
    top = _round_up(max([peak, *(point[1] for point in known)]))
    line, area = _curve(values, top, height)
    lost_line, lost_area = _curve([value or None for value in lost], top, height)
    mean = sum(point[0] for point in known) / len(known) if known else 0.0
    total = sum(point[0] for point in known) * INTERVAL_S
    gone = sum(point[1] for point in known) * INTERVAL_S
    told = f"{name}: {unit} per second over the last hour, at most {per_second(peak)}, {number(gone)} lost"
    drawing = tag(
        "svg",
        *(tag("line", class_="grid", x1=0, x2=width, y1=y, y2=y) for y in (0.5, height / 2, height - 0.5)),
        *(tag("line", class_="grid", x1=x, x2=x, y1=0, y2=height) for x in (width / 4, width / 2, width * 3 / 4)),
        tag("path", class_="area", d=area),
        tag("path", class_="line", d=line),
        tag("path", class_="lost area", d=lost_area),
        tag("path", class_="lost line", d=lost_line),
        viewBox=f"0 0 {width} {height}",
        preserveAspectRatio="none",
        role="img",
        aria_label=told,
    )
    facts = (
        ("now", per_second(known[-1][0] if known else 0.0)), ("peak", per_second(peak)), ("mean", per_second(mean)),
        ("in the hour", number(total)), ("lost", number(gone)), ("queued", number(known[-1][2] if known else 0.0)),
    )  # fmt: skip
    return tag(
        "figure",
        tag(
            "figcaption",
            tag("strong", name, class_="name"),
            f" {unit} per second",
            tag("span", *(join(tag("span", what), " ", tag("b", value), " ") for what, value in facts), class_="facts"),
        ),
        tag("div", tag("span", per_second(top)), tag("span", per_second(top / 2)), tag("span", 0), class_="scale"),
        drawing,
        tag("div", *(tag("span", when) for when in ("−60 min", "−45", "−30", "−15", "now")), class_="times"),
        class_="plot",
    )


def _round_up(value: float) -> float:
    """The next 1, 2 or 5 with zeros behind it."""
    if value <= 0:
        return 1.0
    scale = 1.0
    while scale * 10 <= value:
        scale *= 10
    while scale > value:
        scale /= 10
    return next(step * scale for step in (1, 2, 5, 10) if step * scale >= value * 0.999)
