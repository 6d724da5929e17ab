"""The text that Prometheus reads, in its own format and as OpenMetrics. Pure: samples in, text out.

Sources: the Prometheus text format 0.0.4; OpenMetrics 1.0.0, "Text Format".
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import msgspec

__all__ = ["OPENMETRICS", "PREFIX", "TEXT", "Labels", "Metric", "Page", "choose", "make_labels"]

PREFIX = "broappliance_"
TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

Labels = str
"""Names and values as they stand between the braces."""

_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", '"': '\\"'})
_HELP_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n"})
_WEIGHT = re.compile(r"q=([01](?:\.[0-9]{0,3})?)")


class Metric(msgspec.Struct, frozen=True):
    """A family of samples."""

    name: str
    """In full; that of a counter ends in ``_total``."""
    kind: str
    """counter, gauge, histogram, or unknown."""
    help: str


def make_labels(labels: Mapping[str, object], base: Labels = "") -> Labels:
    """Write labels, after those that there are already.

    Args:
        labels: by name; a text that is no UTF-8 is written with question marks.
        base: what they are added to.
    """
    made = [f'{name}="{_clean(str(value)).translate(_ESCAPES)}"' for name, value in labels.items()]
    return ",".join([base, *made] if base else made)


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def choose(accept: str) -> str:
    """The content type for a request's ``Accept``: `OPENMETRICS` if it is wanted at least as much as plain text.

    Source: RFC 9110 §12.5.1; versions of OpenMetrics other than 1.0.0 get plain text.
    """
    best, wanted = 0.0, TEXT
    for entry in accept.split(","):
        kind, *parameters = (part.strip().lower() for part in entry.split(";"))
        found = next(filter(None, map(_WEIGHT.fullmatch, parameters)), None)
        weight = float(found[1]) if found else 1.0
        if kind == "application/openmetrics-text":
            version = next((each for each in parameters if each.startswith("version=")), "version=1.0.0")
            if version.partition("=")[2].strip('"') == "1.0.0" and weight >= best and weight:
                best, wanted = weight, OPENMETRICS
        elif kind in ("text/plain", "text/*", "*/*") and weight > best:
            best, wanted = weight, TEXT
    return wanted


class Page:
    """Samples by family.

    Args:
        labels: of every sample.
    """

    def __init__(self, labels: Mapping[str, object]) -> None:
        self.labels = make_labels(labels)
        self._families: dict[str, tuple[Metric, list[str]]] = {}

    def add(self, metric: Metric, labels: Labels, value: float) -> None:
        """One sample; `labels` are complete, those of the page included."""
        self._lines(metric).append(f"{metric.name}{{{labels}}} {_number(value)}")

    def add_histogram(
        self, metric: Metric, labels: Labels, *, bounds: Sequence[float], counts: Sequence[int], total: float
    ) -> None:
        """One histogram.

        Args:
            metric: its family.
            labels: complete.
            bounds: upper ends of the buckets, without the infinite one.
            counts: for each bucket, with the infinite one, what is in it and in none before.
            total: the sum of everything that was observed.
        """
        lines, so_far = self._lines(metric), 0
        for bound, count in zip((*map(float, bounds), math.inf), counts, strict=True):
            so_far += count
            lines.append(f'{metric.name}_bucket{{{labels},le="{_number(bound)}"}} {so_far}')
        lines.append(f"{metric.name}_count{{{labels}}} {so_far}")
        lines.append(f"{metric.name}_sum{{{labels}}} {_number(total)}")

    def _lines(self, metric: Metric) -> list[str]:
        if metric.name not in self._families:
            self._families[metric.name] = (metric, [])
        return self._families[metric.name][1]

    @property
    def metrics(self) -> list[Metric]:
        """The families that there are, by name."""
        return [self._families[name][0] for name in sorted(self._families)]

    def render(self, content_type: str = TEXT) -> bytes:
        """The whole text.

        Args:
            content_type: `TEXT` or `OPENMETRICS`.
        """
        is_open = content_type == OPENMETRICS
        out: list[str] = []
        for name in sorted(self._families):
            metric, lines = self._families[name]
            if is_open and metric.kind == "counter":
                name = name.removesuffix("_total")
            kind = "untyped" if metric.kind == "unknown" and not is_open else metric.kind
            help_ = metric.help.translate(_ESCAPES if is_open else _HELP_ESCAPES)
            out.append(f"# HELP {name} {help_}")
            out.append(f"# TYPE {name} {kind}")
            out += lines
        if is_open:
            out.append("# EOF")
        return ("\n".join(out) + "\n").encode() if out else b""


def _number(value: float) -> str:
    if isinstance(value, int):  # a bool is one, too
        return str(int(value))
    if math.isfinite(value):
        return repr(value)
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
