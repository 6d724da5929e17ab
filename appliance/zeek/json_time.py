"""Times as Zeek writes them in JSON, in each of its formats.

Source: Zeek, ``src/threading/formatters/JSON.cc``. What C leaves undefined is done as on x86-64 with the GNU library.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable

from appliance.zeek.json_double import render_double

__all__ = ["TimeFormat", "make_time_renderer"]

_DAY_S = 86400
_INT64_MIN = -(1 << 63)
_UINT64 = 1 << 64
_MAX_YEAR = (1 << 31) - 1 + 1900  # struct tm counts years from 1900 in an int
_MIN_YEAR = -(1 << 31) + 1900


class TimeFormat(enum.Enum):
    """Zeek's ``LogAscii::json_timestamps``."""

    EPOCH = "epoch"
    """Seconds since 1970 with a fraction, ``JSON::TS_EPOCH``."""
    MILLIS = "millis"
    """Milliseconds, negative before 1970, ``JSON::TS_MILLIS`` of Zeek 8.0 and later."""
    MILLIS_UNSIGNED = "millis_unsigned"
    """Milliseconds modulo 2^64, ``JSON::TS_MILLIS_UNSIGNED``, and ``JSON::TS_MILLIS`` before 8.0."""
    ISO8601 = "iso8601"
    """``2026-11-21T06:18:00.000000Z``, ``JSON::TS_ISO8601``."""


def make_time_renderer(style: TimeFormat) -> Callable[[float], bytes]:
    """Function that writes seconds since the epoch as JSON."""
    return _RENDERERS[style]


def _render_millis(value: float) -> bytes:
    return b"%d" % _truncate(value * 1000)


def _render_millis_unsigned(value: float) -> bytes:
    return b"%d" % (_truncate(value * 1000) % _UINT64)


def _truncate(value: float) -> int:
    """Convert to a signed 64-bit integer; what does not fit becomes the smallest."""
    return math.trunc(value) if -(2.0**63) <= value < 2.0**63 else _INT64_MIN


def _render_iso8601(value: float) -> bytes:
    days, second = divmod(_truncate(math.floor(value) if math.isfinite(value) else value), _DAY_S)
    year, month, day = _make_date(days)
    if not _MIN_YEAR <= year <= _MAX_YEAR:
        return b'"2000-01-01T00:00:00.000000"'
    fraction = math.modf(value)[0]
    # Rounded up, this may well be 1000000: seven digits, and the second is left as it is.
    micros = "%06.0f" % (abs(fraction + 1 if fraction < 0 else fraction) * 1000000)
    hour, second = divmod(second, 3600)
    return b'"%d-%02d-%02dT%02d:%02d:%02d.%sZ"' % (
        year,
        month,
        day,
        hour,
        second // 60,
        second % 60,
        micros.encode("ascii"),
    )


def _make_date(days: int) -> tuple[int, int, int]:
    """Year, month and day of a number of days since 1970, in the Gregorian calendar of all times.

    Counted from 1 March of year 0, so that leap days come last in a year.

    Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", ``civil_from_days``.
    """
    era, day = divmod(days + 719468, 146097)
    year = (day - day // 1460 + day // 36524 - day // 146096) // 365
    day -= 365 * year + year // 4 - year // 100
    month = (5 * day + 2) // 153
    day -= (153 * month + 2) // 5
    is_next = month >= 10
    return year + 400 * era + is_next, month - 9 if is_next else month + 3, day + 1


_RENDERERS: dict[TimeFormat, Callable[[float], bytes]] = {
    TimeFormat.EPOCH: render_double,
    TimeFormat.MILLIS: _render_millis,
    TimeFormat.MILLIS_UNSIGNED: _render_millis_unsigned,
    TimeFormat.ISO8601: _render_iso8601,
}
