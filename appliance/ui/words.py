"""Numbers as people read them. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

__all__ = ["count", "moment", "number", "per_second", "size", "span"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SIZES = (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))
_SPANS = (("d", 86400), ("h", 3600), ("min", 60))


def number(value: float) -> str:
    """A whole number, exact."""
    return f"{value:,.0f}"


def count(value: int, thing: str) -> str:
    """``1 letter``, ``2 letters``."""
    return f"{value:,} {thing}" if value == 1 else f"{value:,} {thing}s"


def per_second(value: float) -> str:
    """A rate; one decimal while it is small."""
    return f"{value:,.1f}" if 0 < value < 10 else f"{value:,.0f}"


def size(value: float) -> str:
    """Bytes."""
    for unit, scale in _SIZES:
        if value >= scale:
            return f"{value / scale:,.1f} {unit}"
    return f"{value:,.0f} B"


def span(seconds: float) -> str:
    """A length of time."""
    for unit, scale in _SPANS:
        if seconds >= 2 * scale:
            return f"{seconds / scale:,.0f} {unit}"
    return f"{seconds:,.0f} s"


def moment(ns: int) -> str:
    """A time, UTC to the second."""
    return (_EPOCH + timedelta(microseconds=ns // 1000)).strftime("%Y-%m-%d %H:%M:%S")
