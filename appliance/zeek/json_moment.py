"""Timestamps and timespans as texts in Broker's JSON.

Source: Broker, ``broker/time.cc``; the C++ Actor Framework below it, ``chrono.hpp`` and
``detail/parser/read_timespan.hpp``.
"""

from __future__ import annotations

import re
from datetime import date

__all__ = ["parse_timespan", "parse_timestamp", "render_timespan", "render_timestamp"]

_SECOND_NS = 10**9
_EPOCH = date(1970, 1, 1).toordinal()
_UNITS_NS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": _SECOND_NS, "min": 60 * _SECOND_NS, "h": 3600 * _SECOND_NS}
_WRITTEN = ("s", "ms", "us", "ns")

_TIMESPAN = re.compile(r"([+-]?)([0-9]{1,19})(?:\.([0-9]{1,19}))?(ns|us|ms|s|min|h)")
_TIMESTAMP = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?"
    r"(?:Z|([+-])([0-9]{2}):?([0-9]{2})?)?"
)


def render_timestamp(ns: int) -> str:
    """``2026-11-21T06:18:00.000`` in UTC, with as many threes of digits behind the point as it takes, one at least.

    Raises:
        ValueError: does not fit into 64 bits.
    """
    seconds, fraction = divmod(_check(ns), _SECOND_NS)
    days, second = divmod(seconds, 86400)
    digits = f"{fraction:09}"
    while len(digits) > 3 and digits.endswith("000"):
        digits = digits[:-3]
    day = date.fromordinal(_EPOCH + days)
    return f"{day.isoformat()}T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}.{digits}"


def parse_timestamp(text: str) -> int:
    """Nanoseconds since the epoch of an ISO 8601 text; without a zone it is UTC.

    Raises:
        ValueError: not such a text, no such day, or out of range.
    """
    found = _TIMESTAMP.fullmatch(text)
    if found is None:
        raise ValueError("a timestamp that is none")
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    sign, zone_hour, zone_minute = found[8], int(found[9] or 0), int(found[10] or 0)
    if hour > 23 or minute > 59 or second > 59 or zone_minute > 59:
        raise ValueError("a timestamp with a time that is none")
    zone = (zone_hour * 60 + zone_minute) * (-60 if sign == "-" else 60)
    days = date(year, month, day).toordinal() - _EPOCH
    seconds = days * 86400 + hour * 3600 + minute * 60 + second - zone
    return _check(seconds * _SECOND_NS + int((found[7] or "").ljust(9, "0")))


def render_timespan(ns: int) -> str:
    """A whole number of the coarsest unit that is exact: ``-1500ms``, ``0s``.

    Raises:
        ValueError: does not fit into 64 bits.
    """
    unit = next(unit for unit in _WRITTEN if _check(ns) % _UNITS_NS[unit] == 0)
    return f"{ns // _UNITS_NS[unit]}{unit}"


def parse_timespan(text: str) -> int:
    """Nanoseconds of a number with a unit; what is finer is cut off.

    Raises:
        ValueError: not such a text, or out of range.
    """
    found = _TIMESPAN.fullmatch(text)
    if found is None:
        raise ValueError("a timespan that is none")
    fraction = found[3] or ""
    ns: int = int(found[2] + fraction) * _UNITS_NS[found[4]] // 10 ** len(fraction)
    return _check(-ns if found[1] == "-" else ns)


def _check(ns: int) -> int:
    if type(ns) is not int or not -(1 << 63) <= ns < 1 << 63:
        raise ValueError(f"{ns!r} is not a number of 64 bits")
    return ns
