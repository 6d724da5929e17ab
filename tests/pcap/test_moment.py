"""Times as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.pcap.moment import format_duration, format_time, parse_time

S = 10**9
T0 = 1_795_254_931 * S


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("2026-11-21T09:55:31Z", T0), ("2026-11-21 09:55:31", T0), ("2026-11-21T10:55:31+01:00", T0),
        ("2026-11-21T04:25:31.5-0530", T0 + S // 2), ("2026-11-21T09:55:31.123456789", T0 + 123_456_789),
        ("2026-11-21T09:55", T0 - 31 * S), ("2026-11-21", T0 // (86400 * S) * 86400 * S),
        ("1795254931", T0), ("1795254931.000000001", T0 + 1), (" 0 ", 0),
    ],
)  # fmt: skip
def test_times_are_read_to_the_nanosecond(text: str, ns: int) -> None:
    """UTC without a zone."""
    assert parse_time(text) == ns


@pytest.mark.parametrize(
    "text", ["", "now", "2026-13-01", "2026-11-21T25:00", "1.0123456789", "1960-01-01", "²", "1e9"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    """With the text that was written."""
    with pytest.raises(ValueError, match=r"time|before 1970"):
        parse_time(text)


@given(st.integers(0, 253_402_300_799 * S))
def test_what_is_printed_can_be_read(ns: int) -> None:
    """Nothing is rounded."""
    assert parse_time(format_time(ns)) == ns


def test_what_no_calendar_holds_is_printed_in_seconds() -> None:
    """pcapng can count that far."""
    assert format_time(253_402_300_800 * S + 5) == "253402300800.000000005 s"


def test_durations_are_printed_to_the_millisecond() -> None:
    """Days stand before."""
    assert format_duration(90_061 * S + 5_000_000) == "1d 01:01:01.005"
    assert format_duration(59 * S) == "00:00:59.000"
