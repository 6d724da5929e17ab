"""Times of Zeek's log records, in every form that its JSON writer has."""

from __future__ import annotations

from appliance.zeek.json_moment import parse_timestamp

__all__ = ["MARGIN_NS", "parse_span", "parse_time"]

MARGIN_NS = 1_000_000
"""What a packet's time may differ from that in a log: Zeek counts in doubles and writes microseconds."""
_MILLIS = 1e11
"""Seconds in the year 5138; greater ones are milliseconds, as ``JSON::TS_MILLIS`` writes them."""


def parse_time(value: object) -> int | None:
    """Nanoseconds since the epoch, to the microsecond: of a number of seconds or milliseconds, or a text in ISO 8601.

    None: it is no such thing, or before 1970 or after 2262.
    """
    if isinstance(value, str):
        try:
            ns = parse_timestamp(value)
        except ValueError:
            return None
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if not 0 <= value < 1 << 53:
            return None
        seconds = value / 1e3 if value > _MILLIS else value
        ns = round(seconds * 1e6) * 1000
    else:
        return None
    return ns if 0 <= ns < 1 << 63 else None


def parse_span(value: object) -> int:
    """Nanoseconds of a number of seconds; 0 if it is none, or less."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1 << 33:
        return round(value * 1e6) * 1000
    return 0
