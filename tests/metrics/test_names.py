"""The names of metrics, and that no figure was forgotten."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from appliance.metrics.exposition import Metric
from appliance.metrics.names import TABLES, all_metrics
from appliance.metrics.spec import Each, Inside, metric_of

from ..structs import figures


def test_no_table_is_of_a_struct_that_is_gone() -> None:
    """Nor of one that parts of others are said to be."""
    assert set(TABLES) <= figures().keys()
    parts = [each for table in TABLES.values() for each in table.fields.values() if isinstance(each, Inside | Each)]
    assert {part.of for part in parts} <= set(TABLES)


@pytest.mark.parametrize("metric", all_metrics(), ids=lambda metric: metric.name)
def test_names_follow_the_conventions(metric: Metric) -> None:
    """Prefix, base units, ``_total`` for counters alone, a sentence of help."""
    assert re.fullmatch(r"(broappliance|process)_[a-z][a-z0-9_]*[a-z0-9]", metric.name)
    assert (metric.kind == "counter") == metric.name.endswith("_total")
    assert metric.kind in ("counter", "gauge", "histogram")
    assert not re.search(r"_(ms|ns|us|millis\w*|minutes|hours|kib|mib|percent|count|s)(_|$)", metric.name)
    assert metric.help.endswith(".")
    assert not metric.help.startswith(" ")


def test_no_two_families_have_one_name() -> None:
    """Not even in OpenMetrics, where the counter ``x_total`` is the family ``x``, and a histogram takes three more."""
    names = []
    for metric in all_metrics():
        family = metric.name.removesuffix("_total")
        names += [family, *(f"{family}_{each}" for each in ("bucket", "count", "sum") if metric.kind == "histogram")]
    assert [name for name, count in Counter(names).items() if count > 1] == []


def test_one_name_is_one_metric() -> None:
    """Tables that share a prefix agree about what they share."""
    seen: dict[str, Metric] = {}
    for table in TABLES.values():
        for each in table.fields.values():
            metric = metric_of(each, table.prefix)
            if metric is not None:
                assert seen.setdefault(metric.name, metric) == metric
