"""When an output file is complete: after a time, at a boundary of the UTC clock, at a size, or at a number of items.

Pure: the caller reads the clocks and passes integer nanoseconds in.

The wall clock names and aligns the files, the monotonic clock ends them. A caller takes
`Rotation.monotonic_deadline_ns` once, when it opens the file, and closes the file when the *monotonic* clock has
reached it, whether or not anything arrives. So a wall clock that is stepped, in either direction, neither stops
rotation nor causes one: the file that is open lives as long as was planned, never longer than one interval, and the
next one is aligned to the new time.
"""

from __future__ import annotations

import calendar
from datetime import MAXYEAR, date, timedelta

import msgspec

__all__ = ["Rotation"]

_SECOND_NS = 10**9
_DAY_NS = 86400 * _SECOND_NS
_EPOCH = date(1970, 1, 1)

# AIT's spellings of rotate_log_index: singular, plural, and the name in C's struct tm.
_NS = {
    **dict.fromkeys(("second", "seconds", "tm_sec"), _SECOND_NS),
    **dict.fromkeys(("minute", "minutes", "tm_min"), 60 * _SECOND_NS),
    **dict.fromkeys(("hour", "hours", "tm_hour"), 3600 * _SECOND_NS),
    **dict.fromkeys(("day", "days", "tm_mday"), _DAY_NS),
}
_MONTHS = {**dict.fromkeys(("month", "months", "tm_mon"), 1), **dict.fromkeys(("year", "years", "tm_year"), 12)}


class Rotation(msgspec.Struct, frozen=True, kw_only=True):
    """A policy; made by `every`, `calendar` or `never`, compared by value.

    Aligned deadlines lie on a grid that begins at 1970-01-01T00:00:00Z: multiples of the interval, or of the number of
    months. So ``6h`` means 00, 06, 12 and 18 o'clock, 3 months mean quarters, 15 minutes the quarters of the hour; 7
    days begin on Thursdays, and 90 seconds do not care for the minute. The first file is shorter than the others.
    Otherwise the interval counts from the opening. A file never lives longer than the interval in either case.
    """

    interval_ns: int | None = None
    """Elapsed time; None: no limit, or one in months."""
    months: int | None = None
    """Calendar months; None: no limit, or one in nanoseconds."""
    aligned: bool = True
    """Due on the clock's boundary rather than a full interval after the opening."""
    max_bytes: int | None = None
    """No file grows beyond this, unless its first item alone does."""
    max_items: int | None = None
    """No file holds more items."""

    def __post_init__(self) -> None:
        for name in ("interval_ns", "months", "max_bytes", "max_items"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be positive, not {value}")

    @classmethod
    def every(
        cls, interval_ns: int, *, aligned: bool = True, max_bytes: int | None = None, max_items: int | None = None
    ) -> Rotation:
        """After `interval_ns` nanoseconds.

        Raises:
            ValueError: an argument is less than 1.
        """
        return cls(interval_ns=interval_ns, aligned=aligned, max_bytes=max_bytes, max_items=max_items)

    @classmethod
    def calendar(
        cls, unit: str, delta: int, *, aligned: bool = True, max_bytes: int | None = None, max_items: int | None = None
    ) -> Rotation:
        """After `delta` units of real elapsed time, not when fields of two broken-down times differ by `delta`.

        Args:
            unit: ``second``, ``seconds``, ``tm_sec`` and so for minute (``tm_min``), hour, day (``tm_mday``), month
                (``tm_mon``) and year. A day is 86400 seconds, months and years are the calendar's.
            delta: at least 1; may exceed what the next unit holds.
            aligned: to the grid; else the same day and time `delta` months later, or the month's last day if it is
                too short.
            max_bytes: a size limit in addition.
            max_items: an item limit in addition.

        Raises:
            ValueError: an unknown unit, or a number less than 1.
        """
        if unit in _NS:
            return cls(interval_ns=delta * _NS[unit], aligned=aligned, max_bytes=max_bytes, max_items=max_items)
        if unit not in _MONTHS:
            raise ValueError(f"unknown unit {unit!r}; one of {' '.join((*_NS, *_MONTHS))}")
        return cls(months=delta * _MONTHS[unit], aligned=aligned, max_bytes=max_bytes, max_items=max_items)

    @classmethod
    def never(cls, *, max_bytes: int | None = None, max_items: int | None = None) -> Rotation:
        """No deadline; size and item limits hold if given.

        Raises:
            ValueError: an argument is less than 1.
        """
        return cls(max_bytes=max_bytes, max_items=max_items)

    def deadline_ns(self, opened_ns: int) -> int | None:
        """The wall time when a file opened at that wall time is due: later than it, nanoseconds since the epoch.

        None: never, which includes everything after the year 9999.
        """
        if self.months is not None:
            return _months_later_ns(opened_ns, self.months, aligned=self.aligned)
        if self.interval_ns is None:
            return None
        start_ns = opened_ns - opened_ns % self.interval_ns if self.aligned else opened_ns
        return start_ns + self.interval_ns

    def monotonic_deadline_ns(self, *, wall_ns: int, mono_ns: int) -> int | None:
        """The monotonic time when a file opened now is due; taken once at the opening, it stands.

        Read the wall clock first: then the result errs to the late side, and a file that is opened at the deadline has
        the new boundary's name rather than the old one's again.

        Args:
            wall_ns: the wall clock, which also gives the file its name.
            mono_ns: the monotonic clock. One that stops while the machine sleeps (CLOCK_MONOTONIC on Linux) prolongs
                the file by that time.
        """
        due_ns = self.deadline_ns(wall_ns)
        return None if due_ns is None else mono_ns + (due_ns - wall_ns)

    def is_full(self, bytes_: int, items: int, adding_bytes: int, *, adding_items: int = 1) -> bool:
        """Whether a file must be completed before the next item is added to it.

        A file without items is never full, so an item that is larger than the limit gets a file of its own.

        Args:
            bytes_: size of the file, headers included.
            items: how many it holds.
            adding_bytes: what the next item takes.
            adding_items: more than 1 if several are added at once.
        """
        if not items:
            return False
        if self.max_bytes is not None and bytes_ + adding_bytes > self.max_bytes:
            return True
        return self.max_items is not None and items + adding_items > self.max_items


def _months_later_ns(opened_ns: int, months: int, *, aligned: bool) -> int | None:
    days, rest_ns = divmod(opened_ns, _DAY_NS)
    opened = _EPOCH + timedelta(days=days)
    index = (opened.year - 1970) * 12 + opened.month - 1
    target = index - index % months + months if aligned else index + months
    year, month = 1970 + target // 12, target % 12 + 1
    if year > MAXYEAR:
        return None
    if aligned:
        day, rest_ns = 1, 0
    else:
        day = min(opened.day, calendar.monthrange(year, month)[1])
    return (date(year, month, day) - _EPOCH).days * _DAY_NS + rest_ns
