"""Times as JSON in each of Zeek's formats."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.zeek.json_time import TimeFormat, make_time_renderer


@pytest.mark.parametrize(
    ("value", "millis", "unsigned", "iso"),
    [
        (0.0, "0", "0", "1970-01-01T00:00:00.000000Z"),
        (1056991897.46641, "1056991897466", "1056991897466", "2003-06-30T16:51:37.466410Z"),
        (1700000000.5, "1700000000500", "1700000000500", "2023-11-14T22:13:20.500000Z"),
        (951782400.0, "951782400000", "951782400000", "2000-02-29T00:00:00.000000Z"),
        (4107542400.0, "4107542400000", "4107542400000", "2100-03-01T00:00:00.000000Z"),
        (-0.25, "-250", str(2**64 - 250), "1969-12-31T23:59:59.750000Z"),
        (-1.0, "-1000", str(2**64 - 1000), "1969-12-31T23:59:59.000000Z"),
        (0.9999999, "999", "999", "1970-01-01T00:00:00.1000000Z"),
        (math.nan, str(-(2**63)), str(2**63), "2000-01-01T00:00:00.000000"),
        (math.inf, str(-(2**63)), str(2**63), "2000-01-01T00:00:00.000000"),
        (-math.inf, str(-(2**63)), str(2**63), "2000-01-01T00:00:00.000000"),
        (1e300, str(-(2**63)), str(2**63), "2000-01-01T00:00:00.000000"),
        (1e17, str(-(2**63)), str(2**63), "2000-01-01T00:00:00.000000"),
        (253402300800.0, "253402300800000", "253402300800000", "10000-01-01T00:00:00.000000Z"),
    ],
)
def test_formats(value: float, millis: str, unsigned: str, iso: str) -> None:
    """Cut-off milliseconds, rounded microseconds, and Zeek's answer to what is no time."""
    assert make_time_renderer(TimeFormat.MILLIS)(value) == millis.encode()
    assert make_time_renderer(TimeFormat.MILLIS_UNSIGNED)(value) == unsigned.encode()
    assert make_time_renderer(TimeFormat.ISO8601)(value) == f'"{iso}"'.encode()


def test_epoch() -> None:
    """Seconds as any other double, and null for what is none."""
    render = make_time_renderer(TimeFormat.EPOCH)
    assert render(1056991897.46641) == b"1056991897.46641"
    assert render(math.nan) == b"null"


@settings(deadline=None)
@given(st.integers(-62135596800, 253402300799))
def test_dates_are_those_of_the_calendar(second: int) -> None:
    """Every second of the years 1 to 9999."""
    text = json.loads(make_time_renderer(TimeFormat.ISO8601)(float(second)))
    expected = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=second)
    assert text == f"{expected.year}-{expected:%m-%dT%H:%M:%S}.000000Z"
