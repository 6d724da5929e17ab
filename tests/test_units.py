"""Durations and sizes as users write them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.units import Duration, Secret, Size


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1ns", 1),
        ("3us", 3_000),
        ("250ms", 250_000_000),
        ("10s", 10 * 10**9),
        ("1.5s", 1_500_000_000),
        ("5m", 300 * 10**9),
        ("1h", 3600 * 10**9),
        ("7d", 7 * 86400 * 10**9),
        ("0s", 0),
        ("2 h", 7200 * 10**9),
    ],
)
def test_durations_are_read(text: str, ns: int) -> None:
    """Every unit is worth what it says."""
    assert Duration.parse(text) == ns


@pytest.mark.parametrize(
    ("text", "size"),
    [("1B", 1), ("64KiB", 65536), ("1.5GiB", 3 << 29), ("2TiB", 2 << 40), ("10MB", 10**7), ("1kB", 1000)],
)
def test_sizes_are_read(text: str, size: int) -> None:
    """Binary and decimal units are told apart."""
    assert Size.parse(text) == size


@pytest.mark.parametrize(
    "text", ["", "s", "10", "-1s", "1e3s", "1,5s", ".5s", "1.s", "1S", "²s", " 1s", "1s\n", "9" * 5000 + "s"]
)
def test_other_texts_are_not_durations(text: str) -> None:
    """The message says what is wrong and which units there are."""
    with pytest.raises(ValueError, match=r"is not a duration, write a number and a unit \(ns us ms s m h d\)$"):
        Duration.parse(text)


def test_other_texts_are_not_sizes() -> None:
    """The message says what is wrong and which units there are."""
    told = "'10 bytes' is not a size, write a number and a unit (B KiB MiB GiB TiB kB KB MB GB TB)"
    with pytest.raises(ValueError, match=f"^{re.escape(told)}$"):
        Size.parse("10 bytes")


def test_fractions_of_the_smallest_unit_are_refused() -> None:
    """Nothing is rounded behind the user's back."""
    with pytest.raises(ValueError, match=r"^'1\.5ns' is finer than one ns$"):
        Duration.parse("1.5ns")
    with pytest.raises(ValueError, match=r"^'0\.3B' is finer than one B$"):
        Size.parse("0.3B")


def test_what_does_not_fit_64_bits_is_refused() -> None:
    """C code and databases must be able to hold every value."""
    with pytest.raises(ValueError, match=r"^'200000d' is too large$"):
        Duration.parse("200000d")
    with pytest.raises(ValueError, match=r"^'8388608TiB' is too large$"):
        Size.parse("8388608TiB")
    with pytest.raises(ValueError, match=r"^9223372036854775808 is not a number of bytes$"):
        Size.count(1 << 63)
    with pytest.raises(ValueError, match=r"^-1 is not a number of bytes$"):
        Size.count(-1)


def test_plain_numbers_are_bytes() -> None:
    """A size may be counted."""
    assert Size.count(4096) == Size.parse("4KiB")
    assert isinstance(Size.count(1), Size)


def test_durations_know_their_seconds() -> None:
    """Clocks count in seconds."""
    assert Duration.parse("250ms").seconds == 0.25


@given(st.integers(0, (1 << 63) - 1))
def test_what_is_printed_reads_back(number: int) -> None:
    """Printing loses nothing."""
    assert Duration.parse(str(Duration(number))) == number
    assert Size.parse(str(Size(number))) == number


def test_the_largest_fitting_unit_is_printed() -> None:
    """People see what they wrote."""
    assert [str(Duration.parse(each)) for each in ("60s", "1500ms", "48h", "0h")] == ["1m", "1500ms", "2d", "0s"]
    assert [str(Size.parse(each)) for each in ("1024KiB", "1000B", "0KiB")] == ["1MiB", "1000B", "0B"]


def test_a_secret_shows_itself_only_to_code() -> None:
    """A repr in a log or a traceback gives nothing away."""
    secret = Secret("hunter2")
    assert secret == "hunter2"
    assert repr(secret) == "'********'"
    assert "hunter2" not in repr([secret])
