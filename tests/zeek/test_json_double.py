"""Doubles as text, exactly as rapidjson prints them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.zeek.json_double import render_double


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (1.0, "1.0"),
        (-3.0, "-3.0"),
        (0.1, "0.1"),
        (1421708099.0, "1421708099.0"),
        (1056991897.46641, "1056991897.46641"),
        (1056991897.6499209, "1056991897.6499209"),
        (0.0003750324249267578, "0.0003750324249267578"),
        (1e-6, "0.000001"),
        (1.5e-6, "0.0000015"),
        (1e-7, "1e-7"),
        (1.5e-7, "1.5e-7"),
        (1e15, "1000000000000000.0"),
        (1e20, "100000000000000000000.0"),
        (123456789012345680000.0, "123456789012345680000.0"),
        (1e21, "1e21"),
        (1.5e21, "1.5e21"),
        (1e100, "1e100"),
        (-2.5e-300, "-2.5e-300"),
        (9007199254740992.0, "9007199254740992.0"),
        (2.0**63, "9223372036854776000.0"),
        (5e-324, "5e-324"),
        (2.2250738585072014e-308, "2.2250738585072014e-308"),
        (1.7976931348623157e308, "1.7976931348623157e308"),
        (math.inf, "null"),
        (-math.inf, "null"),
        (math.nan, "null"),
        # Not the shortest that would do.
        (6.818961358158385, "6.8189613581583854"),
        (0.0001115681509985994, "0.00011156815099859941"),
        (-7785.526602861019, "-7785.5266028610185"),
        (-17300.40040938528, "-17300.400409385282"),
    ],
)
def test_text(value: float, text: str) -> None:
    """The texts of rapidjson."""
    assert render_double(value) == text.encode()


@settings(deadline=None, max_examples=500)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_text_reads_back(value: float) -> None:
    """No double is lost, and at most two digits more than necessary are written."""
    text = render_double(value).decode()
    assert float(text) == value
    assert math.copysign(1.0, float(text)) == math.copysign(1.0, value)
    assert len(text.partition("e")[0].strip("-0.").replace(".", "")) <= 17 or abs(value) >= 1e17


@settings(deadline=None)
@given(st.integers(-(2**53) + 1, 2**53 - 1))
def test_whole_numbers(value: int) -> None:
    """Whole numbers have all their digits and one behind the point."""
    assert render_double(float(value)) == f"{value}.0".encode()
