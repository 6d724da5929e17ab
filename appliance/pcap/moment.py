"""Times as people write them, and as we do: UTC, to the nanosecond. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

__all__ = ["format_duration", "format_time", "parse_time"]

_S = 10**9
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NUMBER = re.compile(r"([0-9]{1,11})(?:\.([0-9]{1,9}))?")
_ISO = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[T ]([0-9]{2}:[0-9]{2}(?::[0-9]{2})?)(?:\.([0-9]{1,9}))?)?"
    r"(Z|[+-][0-9]{2}:?[0-9]{2})?"
)
_LAST_S = 253_402_300_799


def parse_time(text: str) -> int:
    """Nanoseconds since the epoch of ``2026-11-21T09:55:31.5Z``, ``2026-11-21 09:55``, ``2026-11-21`` or of seconds
    since the epoch, ``1795254931.5``. Without a zone it is UTC.

    Raises:
        ValueError: it is none of these; the text says so.
    """
    text = text.strip()
    if found := _NUMBER.fullmatch(text):
        return int(found[1]) * _S + int((found[2] or "").ljust(9, "0"))
    found = _ISO.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no time; write 2026-11-21T09:55:31Z, or seconds since the epoch")
    day, clock, fraction, zone = found.groups()
    try:
        when = datetime.fromisoformat(f"{day}T{clock or '00:00'}{zone or 'Z'}")
    except ValueError as exc:
        raise ValueError(f"{text!r} is no time: {exc}") from None
    ns = (when - _EPOCH) // timedelta(seconds=1) * _S + int((fraction or "").ljust(9, "0"))
    if ns < 0:
        raise ValueError(f"{text!r} is before 1970")
    return ns


def format_time(ns: int) -> str:
    """``2026-11-21T09:55:31.500000000Z``; what no calendar holds is given in seconds."""
    seconds, rest = divmod(ns, _S)
    if not 0 <= seconds <= _LAST_S:
        return f"{seconds}.{rest:09} s"
    return f"{(_EPOCH + timedelta(seconds=seconds)).strftime('%Y-%m-%dT%H:%M:%S')}.{rest:09}Z"


def format_duration(ns: int) -> str:
    """``1d 02:03:04.500``, or without days."""
    seconds, rest = divmod(ns, _S)
    days, seconds = divmod(seconds, 86400)
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{rest // 10**6:03}"
    return f"{days}d {clock}" if days else clock
