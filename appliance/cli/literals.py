"""Arguments of events as people type them: what looks like a value of one of Zeek's types is one, all else is a string.

``TYPE:VALUE`` says the type where the looks deceive.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from appliance.zeek.address import Address, Subnet
from appliance.zeek.json_moment import parse_timestamp, render_timespan, render_timestamp

__all__ = ["TYPES", "parse_literal", "parse_span_ns"]

_WHOLE = re.compile(r"[0-9]+")
_SIGNED = re.compile(r"[+-][0-9]+")
_REAL = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+(?:[eE][+-]?[0-9]+)?|[eE][+-]?[0-9]+)")
_NUMBER = re.compile(r"[+-]?[0-9]{1,30}(?:\.[0-9]{1,30})?")
_PORT = re.compile(r"([0-9]+)/(?:tcp|udp|icmp|unknown)")
_SPAN = re.compile(r"([+-]?[0-9]{1,30}(?:\.[0-9]{1,30})?) ?([a-z]+)")
# Those that Zeek's scripts have, and those of Broker's JSON.
_UNITS_NS = {
    **dict.fromkeys(("ns",), 1),
    **dict.fromkeys(("us", "usec", "usecs"), 10**3),
    **dict.fromkeys(("ms", "msec", "msecs"), 10**6),
    **dict.fromkeys(("s", "sec", "secs"), 10**9),
    **dict.fromkeys(("min", "mins"), 60 * 10**9),
    **dict.fromkeys(("h", "hr", "hrs"), 3600 * 10**9),
    **dict.fromkeys(("d", "day", "days"), 86400 * 10**9),
}
_BOOLS = {"T": True, "F": False, "true": True, "false": False}


def parse_literal(text: str) -> Any:
    """The JSON that stands for an argument in ``POST /v1/events``.

    Raises:
        ValueError: what is wrong with it; the message quotes it.
    """
    kind, colon, value = text.partition(":")
    if colon and kind in TYPES:
        return TYPES[kind](value)
    for looks, parse in _LOOKS:
        if looks(text):
            return parse(text)
    return _typed("string", text)


def _typed(kind: str, data: object) -> dict[str, object]:
    return {"@data-type": kind, "data": data}


def _count(text: str) -> Any:
    if not _WHOLE.fullmatch(text) or len(text) > 20 or int(text) >= 1 << 64:
        raise ValueError(f"{text!r} is no count, which has 64 bits")
    return _typed("count", int(text))


def _int(text: str) -> Any:
    digits = text.removeprefix("+").removeprefix("-") if text[:2] not in ("+-", "-+") else ""
    if not _WHOLE.fullmatch(digits) or len(digits) > 20 or not -(1 << 63) <= int(text) < 1 << 63:
        raise ValueError(f"{text!r} is no int, which has 64 bits")
    return _typed("integer", int(text))


def _double(text: str) -> Any:
    if not (_REAL.fullmatch(text) or _NUMBER.fullmatch(text)) or float(text) in (float("inf"), float("-inf")):
        raise ValueError(f"{text!r} is no double")
    return _typed("real", float(text))


def _bool(text: str) -> Any:
    if text not in _BOOLS:
        raise ValueError(f"{text!r} is no bool, which is T or F")
    return _typed("boolean", _BOOLS[text])


def _addr(text: str) -> Any:
    return _typed("address", str(Address.parse(text)))


def _subnet(text: str) -> Any:
    return _typed("subnet", str(Subnet.parse(text)))


def _port(text: str) -> Any:
    match = _PORT.fullmatch(text)
    if match is None or len(match[1]) > 5 or int(match[1]) > 0xFFFF:
        raise ValueError(f"{text!r} is no port like 80/tcp")
    return _typed("port", text)


def _enum(text: str) -> Any:
    if not text:
        raise ValueError("the name of an enum value is missing")
    return _typed("enum-value", text)


def _time(text: str) -> Any:
    ns = int(Decimal(text) * 10**9) if _NUMBER.fullmatch(text) else parse_timestamp(text)
    return _typed("timestamp", render_timestamp(ns))


def parse_span_ns(text: str) -> int:
    """Nanoseconds.

    Raises:
        ValueError: it is no interval.
    """
    match = _SPAN.fullmatch(text)
    if match is None or match[2] not in _UNITS_NS:
        raise ValueError(f"{text!r} is no interval like 5s or 10min")
    return int(Decimal(match[1]) * _UNITS_NS[match[2]])


def _interval(text: str) -> Any:
    return _typed("timespan", render_timespan(parse_span_ns(text)))


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as exc:
        raise ValueError(f"{text!r} is no JSON: {exc}") from exc


def _is_span(text: str) -> bool:
    match = _SPAN.fullmatch(text)
    return match is not None and match[2] in _UNITS_NS


def _parses(parse: Callable[[str], object]) -> Callable[[str], bool]:
    def looks(text: str) -> bool:
        try:
            parse(text)
        except ValueError:
            return False
        return True

    return looks


TYPES: dict[str, Callable[[str], Any]] = {
    "count": _count,
    "int": _int,
    "double": _double,
    "bool": _bool,
    "string": lambda text: _typed("string", text),
    "addr": _addr,
    "subnet": _subnet,
    "port": _port,
    "enum": _enum,
    "time": _time,
    "interval": _interval,
    "json": _json,
}
"""What may stand before a colon."""

_LOOKS: tuple[tuple[Callable[[str], object], Callable[[str], Any]], ...] = (
    (_WHOLE.fullmatch, _count),
    (_SIGNED.fullmatch, _int),
    (_REAL.fullmatch, _double),
    (("T", "F").__contains__, _bool),
    (_PORT.fullmatch, _port),
    (_is_span, _interval),
    (_parses(_addr), _addr),
    (_parses(_subnet), _subnet),
)
