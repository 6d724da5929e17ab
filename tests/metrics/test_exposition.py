"""The text itself, read by Prometheus' own parsers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.metrics.exposition import OPENMETRICS, TEXT, Metric, Page, choose, make_labels

from .readers import read_open, read_text

COUNTER = Metric("broappliance_things_total", "counter", 'How many "things".')
GAUGE = Metric("broappliance_level", "gauge", "How high.")
HISTOGRAM = Metric("broappliance_wait_seconds", "histogram", "How long.")
UNKNOWN = Metric("broappliance_odd", "unknown", "Who knows.")
PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
"""As Prometheus 2.50 asks."""


def make_page() -> Page:
    page = Page({"node": "n1"})
    page.add(COUNTER, make_labels({"path": "conn"}, page.labels), 3)
    page.add(GAUGE, page.labels, 0.5)
    page.add(UNKNOWN, page.labels, True)
    page.add_histogram(HISTOGRAM, page.labels, bounds=(0.1, 1), counts=(1, 2, 3), total=9.25)
    return page


def test_text_is_as_the_format_says() -> None:
    """Families by name; the buckets of a histogram are cumulative."""
    assert make_page().render().decode() == (
        "# HELP broappliance_level How high.\n"
        "# TYPE broappliance_level gauge\n"
        'broappliance_level{node="n1"} 0.5\n'
        "# HELP broappliance_odd Who knows.\n"
        "# TYPE broappliance_odd untyped\n"
        'broappliance_odd{node="n1"} 1\n'
        '# HELP broappliance_things_total How many "things".\n'
        "# TYPE broappliance_things_total counter\n"
        'broappliance_things_total{node="n1",path="conn"} 3\n'
        "# HELP broappliance_wait_seconds How long.\n"
        "# TYPE broappliance_wait_seconds histogram\n"
        'broappliance_wait_seconds_bucket{node="n1",le="0.1"} 1\n'
        'broappliance_wait_seconds_bucket{node="n1",le="1.0"} 3\n'
        'broappliance_wait_seconds_bucket{node="n1",le="+Inf"} 6\n'
        'broappliance_wait_seconds_count{node="n1"} 6\n'
        'broappliance_wait_seconds_sum{node="n1"} 9.25\n'
    )


def test_openmetrics_names_counters_without_their_suffix_and_has_an_end() -> None:
    """Samples have the suffix all the same; a type that nobody knows is called so."""
    lines = make_page().render(OPENMETRICS).decode().splitlines()
    assert '# HELP broappliance_things How many \\"things\\".' in lines
    assert "# TYPE broappliance_things counter" in lines
    assert 'broappliance_things_total{node="n1",path="conn"} 3' in lines
    assert "# TYPE broappliance_odd unknown" in lines
    assert lines[-1] == "# EOF"


def test_a_page_without_samples_is_valid() -> None:
    """Nothing at all, or only the end."""
    assert Page({}).render() == b""
    assert Page({}).render(OPENMETRICS) == b"# EOF\n"


@pytest.mark.parametrize("content_type", [TEXT, OPENMETRICS], ids=["text", "openmetrics"])
def test_parsers_of_prometheus_read_both_formats(content_type: str) -> None:
    """Kinds, labels and values are what was put in."""
    text = make_page().render(content_type).decode()
    read = read_open if content_type == OPENMETRICS else read_text
    found = {family.name: family for family in read(text)}
    assert {name: family.type for name, family in found.items()} == {
        "broappliance_level": "gauge",
        "broappliance_odd": "unknown",
        "broappliance_things": "counter",
        "broappliance_wait_seconds": "histogram",
    }
    (sample,) = found["broappliance_things"].samples
    assert (sample.name, sample.labels, sample.value) == (
        "broappliance_things_total", {"node": "n1", "path": "conn"}, 3,
    )  # fmt: skip
    assert len(found["broappliance_wait_seconds"].samples) == 5


@settings(deadline=None)
@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\r\x00\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029")),
    st.one_of(st.integers(0, 2**63), st.floats(allow_nan=False)),
)
def test_any_label_and_any_number_arrive_as_they_were(text: str, value: float) -> None:
    """Quotes, backslashes and ends of lines are escaped in both formats."""
    page = Page({"node": text})
    page.add(GAUGE, page.labels, value)
    for read, content_type in ((read_text, TEXT), (read_open, OPENMETRICS)):
        (family,) = read(page.render(content_type).decode())
        assert family.samples[0].labels == {"node": text}
        assert float(family.samples[0].value) == float(value)


def test_what_is_no_text_and_no_number_is_written_all_the_same() -> None:
    """File names may hold surrogates; NaN has a name."""
    page = Page({"node": "a\udc80"})
    page.add(GAUGE, page.labels, math.nan)
    assert page.render().decode().splitlines()[-1] == 'broappliance_level{node="a?"} NaN'


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("text/html", TEXT),
        ("application/openmetrics-text", OPENMETRICS),
        (PROMETHEUS, OPENMETRICS),
        ("application/openmetrics-text;version=0.0.1", TEXT),
        ("application/openmetrics-text; q=0, text/plain", TEXT),
        ("text/plain, application/openmetrics-text;q=0.5", TEXT),
        ("application/openmetrics-text;version=\"1.0.0\";q=0.4;escaping=allow-utf-8,*/*;q=0.2", OPENMETRICS),
        (";;;q=,,=", TEXT),
    ],
)  # fmt: skip
def test_the_format_is_the_one_that_is_asked_for(accept: str, wanted: str) -> None:
    """Prometheus asks for several, with weights."""
    assert choose(accept) == wanted
