from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.runtime.rotation import Rotation

S = 10**9
DAY = 86400 * S
TIMES = st.integers(0, 4_102_444_800 * S)  # until 2100
UNITS = [
    *("year", "years", "tm_year", "month", "months", "tm_mon", "day", "days", "tm_mday"),
    *("hour", "hours", "tm_hour", "minute", "minutes", "tm_min", "second", "seconds", "tm_sec"),
]


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * S


@pytest.mark.parametrize(
    ("unit", "delta", "opened", "aligned", "elapsed"),
    [
        ("hour", 1, "2024-05-30 10:59:59", "2024-05-30 11:00:00", "2024-05-30 11:59:59"),
        ("hour", 1, "2024-05-30 10:00:00", "2024-05-30 11:00:00", "2024-05-30 11:00:00"),
        ("hour", 6, "2024-05-30 23:50:00", "2024-05-31 00:00:00", "2024-05-31 05:50:00"),
        ("minute", 15, "2024-05-30 10:50:00", "2024-05-30 11:00:00", "2024-05-30 11:05:00"),
        ("second", 30, "2024-05-30 10:00:45", "2024-05-30 10:01:00", "2024-05-30 10:01:15"),
        ("second", 90, "2024-05-30 10:00:00", "2024-05-30 10:01:30", "2024-05-30 10:01:30"),
        ("second", 90, "2024-05-30 10:01:00", "2024-05-30 10:01:30", "2024-05-30 10:02:30"),
        ("minute", 90, "2024-05-30 10:00:00", "2024-05-30 10:30:00", "2024-05-30 11:30:00"),
        ("hour", 36, "2024-05-30 10:00:00", "2024-05-30 12:00:00", "2024-05-31 22:00:00"),
        ("day", 1, "2024-05-30 10:00:00", "2024-05-31 00:00:00", "2024-05-31 10:00:00"),
        ("day", 7, "2024-05-30 10:00:00", "2024-06-06 00:00:00", "2024-06-06 10:00:00"),
        ("month", 1, "2024-01-31 10:00:00", "2024-02-01 00:00:00", "2024-02-29 10:00:00"),
        ("month", 1, "2023-01-31 10:00:00", "2023-02-01 00:00:00", "2023-02-28 10:00:00"),
        ("month", 3, "2024-11-30 10:00:00", "2025-01-01 00:00:00", "2025-02-28 10:00:00"),
        ("month", 14, "2024-11-30 10:00:00", "2026-01-01 00:00:00", "2026-01-30 10:00:00"),
        ("year", 1, "2023-12-31 23:59:59", "2024-01-01 00:00:00", "2024-12-31 23:59:59"),
        ("year", 1, "2024-02-29 12:00:00", "2025-01-01 00:00:00", "2025-02-28 12:00:00"),
        ("year", 10, "2024-02-29 12:00:00", "2030-01-01 00:00:00", "2034-02-28 12:00:00"),
    ],
)
def test_calendar(unit: str, delta: int, opened: str, aligned: str, elapsed: str) -> None:
    """Aligned files end on the grid, others after the whole interval, whatever fields of the date change between."""
    assert Rotation.calendar(unit, delta, aligned=True).deadline_ns(ns(opened)) == ns(aligned)
    assert Rotation.calendar(unit, delta, aligned=False).deadline_ns(ns(opened)) == ns(elapsed)


@pytest.mark.parametrize("unit", UNITS)
def test_spellings(unit: str) -> None:
    """AIT's three spellings of a unit mean the same."""
    name = {"tm_mon": "month", "tm_mday": "day", "tm_min": "minute", "tm_sec": "second"}.get(unit, unit)
    assert Rotation.calendar(unit, 2) == Rotation.calendar(name.removeprefix("tm_").removesuffix("s"), 2)


def test_units_become_intervals() -> None:
    """Up to days the calendar's units are intervals."""
    assert Rotation.calendar("tm_mday", 7, aligned=False) == Rotation.every(7 * DAY, aligned=False)


@pytest.mark.parametrize("unit", ["week", "Day", "", "tm_wday"])
def test_unknown_unit(unit: str) -> None:
    """An unknown unit is refused and not taken for a day."""
    with pytest.raises(ValueError, match=r"unknown unit .* one of second .* tm_year"):
        Rotation.calendar(unit, 1)


@pytest.mark.parametrize("number", [0, -1])
def test_numbers_must_be_positive(number: int) -> None:
    """A limit that every file exceeds at once is refused."""
    with pytest.raises(ValueError, match="interval_ns must be positive"):
        Rotation.every(number)
    with pytest.raises(ValueError, match="months must be positive"):
        Rotation.calendar("year", number)
    with pytest.raises(ValueError, match="max_bytes must be positive"):
        Rotation.never(max_bytes=number)
    with pytest.raises(ValueError, match="max_items must be positive"):
        Rotation.never(max_items=number)


def test_never() -> None:
    """Without an interval there is no deadline, and after the year 9999 neither."""
    assert Rotation.never().deadline_ns(ns("2024-05-30")) is None
    assert Rotation.never().monotonic_deadline_ns(wall_ns=ns("2024-05-30"), mono_ns=0) is None
    assert Rotation.calendar("year", 1_000_000).deadline_ns(ns("2024-05-30")) is None


@given(TIMES, st.integers(1, 400 * DAY))
def test_aligned_interval(opened_ns: int, interval_ns: int) -> None:
    """An aligned deadline is the next multiple of the interval."""
    due_ns = Rotation.every(interval_ns).deadline_ns(opened_ns)
    assert due_ns is not None
    assert due_ns % interval_ns == 0
    assert opened_ns < due_ns <= opened_ns + interval_ns


@given(TIMES, st.sampled_from(UNITS), st.integers(1, 500))
def test_calendar_laws(opened_ns: int, unit: str, delta: int) -> None:
    """A deadline is after the opening; the aligned one comes first, repeats evenly, and none is crossed unnoticed."""
    aligned, elapsed = Rotation.calendar(unit, delta), Rotation.calendar(unit, delta, aligned=False)
    due_ns, elapsed_ns = aligned.deadline_ns(opened_ns), elapsed.deadline_ns(opened_ns)
    assert due_ns is not None
    assert elapsed_ns is not None
    assert opened_ns < due_ns
    assert opened_ns < elapsed_ns
    assert aligned.deadline_ns(due_ns - 1) == due_ns
    next_ns = aligned.deadline_ns(due_ns)
    assert next_ns == elapsed.deadline_ns(due_ns)
    assert next_ns is not None
    assert opened_ns < next_ns
    assert elapsed_ns <= next_ns


@given(TIMES, st.integers(0, 10**18), st.integers(-30 * DAY, 30 * DAY), st.booleans())
def test_a_stepped_clock(wall_ns: int, mono_ns: int, step_ns: int, aligned: bool) -> None:
    """After any step the open file ends when planned, and the next one lives no longer than the interval."""
    rotation = Rotation.every(3600 * S, aligned=aligned)
    due_ns = rotation.monotonic_deadline_ns(wall_ns=wall_ns, mono_ns=mono_ns)
    assert due_ns is not None
    assert mono_ns < due_ns <= mono_ns + 3600 * S
    wall_after_ns = max(0, wall_ns + (due_ns - mono_ns) + step_ns)
    next_ns = rotation.monotonic_deadline_ns(wall_ns=wall_after_ns, mono_ns=due_ns)
    assert next_ns is not None
    assert due_ns < next_ns <= due_ns + 3600 * S


def test_a_clock_stepped_back() -> None:
    """A step back over midnight ends no file, and rotation goes on without waiting for the time to come again."""
    rotation = Rotation.every(3600 * S)
    due_ns = rotation.monotonic_deadline_ns(wall_ns=ns("2024-05-30 00:05:00"), mono_ns=5 * S)
    assert due_ns == (5 + 3300) * S
    # Ten minutes later the clock goes back by an hour, from 00:15 to 23:15: at the deadline it says midnight again.
    assert rotation.monotonic_deadline_ns(wall_ns=ns("2024-05-30 00:00:00"), mono_ns=due_ns) == due_ns + 3600 * S


@pytest.mark.parametrize(
    ("rotation", "size", "items", "adding", "full"),
    [
        (Rotation.never(), 10**12, 10**9, 1, False),
        (Rotation.never(max_bytes=100), 24, 0, 500, False),
        (Rotation.never(max_bytes=100), 60, 1, 40, False),
        (Rotation.never(max_bytes=100), 60, 1, 41, True),
        (Rotation.never(max_items=3), 60, 2, 41, False),
        (Rotation.never(max_items=3), 60, 3, 0, True),
        (Rotation.every(S, max_bytes=100, max_items=3), 60, 2, 40, False),
        (Rotation.every(S, max_bytes=100, max_items=3), 60, 3, 40, True),
        (Rotation.calendar("day", 1, max_bytes=100, max_items=3), 60, 1, 41, True),
    ],
)
def test_is_full(rotation: Rotation, size: int, items: int, adding: int, full: bool) -> None:
    """A file is full if the next item would exceed a limit, but never before the first one."""
    assert rotation.is_full(size, items, adding) is full


def test_is_full_for_several_items() -> None:
    """Items that are added together count together."""
    rotation = Rotation.never(max_items=3)
    assert not rotation.is_full(9, 1, 9, adding_items=2)
    assert rotation.is_full(9, 1, 9, adding_items=3)


@given(st.lists(st.integers(1, 150), max_size=60), st.integers(1, 100), st.integers(1, 10))
def test_no_file_exceeds_its_limits(sizes: list[int], max_bytes: int, max_items: int) -> None:
    """Files that are filled by asking first keep both limits, but for a single item that is larger."""
    rotation = Rotation.never(max_bytes=max_bytes, max_items=max_items)
    files: list[list[int]] = [[]]
    for size in sizes:
        if rotation.is_full(sum(files[-1]), len(files[-1]), size):
            files.append([])
        files[-1].append(size)
    assert all(len(file) <= max_items for file in files)
    assert all(sum(file) <= max_bytes or len(file) == 1 for file in files)
