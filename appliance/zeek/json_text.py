"""The JSON that Zeek and Broker speak on WebSockets, which is not quite JSON.

What comes may hold bytes that are not UTF-8, control characters as they are, ``\\v``, and bare ``inf`` or ``nan``. What
goes out avoids all of it, except that a string which is not UTF-8 can only be transmitted as it is.

Source: Broker, ``broker/format/json.cc``; the C++ Actor Framework below it, ``detail/json.cpp``.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress

from appliance.errors import RemoteProtocolError

__all__ = ["MAX_JSON_DEPTH", "dump_string", "load"]

MAX_JSON_DEPTH = 320
"""Objects and arrays within each other: three for each table in a table, and room for the message around it."""

# A string (perhaps without its end), a bracket, or a number that is none in JSON. Possessive, so never slow.
_PIECE = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]|-?\b(?:inf|nan)\b', re.DOTALL)
_ESCAPE = re.compile(r"\\.", re.DOTALL)
_NUMBERS = {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN", "-nan": "NaN"}
_SPECIAL = re.compile(r'[\x00-\x1f"\\]')
_ESCAPES = {chr(code): f"\\u{code:04x}" for code in range(32)} | {
    "\b": r"\b",
    "\t": r"\t",
    "\n": r"\n",
    "\f": r"\f",
    "\r": r"\r",
    '"': r"\"",
    "\\": r"\\",
}


def load(data: bytes) -> object:
    """Read one JSON text.

    Returns:
        What ``json.loads`` returns; bytes that are not UTF-8 are surrogates in its strings, see `schema.as_bytes`.

    Raises:
        RemoteProtocolError: not JSON even by these lenient rules, or nested too deep.
    """
    text = data.decode("utf-8", "surrogateescape")
    # Nearly everything is JSON and flat, and to find that out in pieces takes five times as long.
    if data.count(b"[") + data.count(b"{") <= MAX_JSON_DEPTH:
        with suppress(ValueError, RecursionError):
            return json.loads(text, strict=False)
    depth = 0

    def mend(found: re.Match[str]) -> str:
        nonlocal depth
        piece = found[0]
        if piece[0] == '"':
            return _ESCAPE.sub(_mend_escape, piece) if r"\v" in piece else piece
        if piece in "[{":
            depth += 1
            if depth > MAX_JSON_DEPTH:
                raise RemoteProtocolError("JSON nested too deep")
        elif piece in "]}":
            depth -= 1
        else:
            return _NUMBERS[piece]
        return piece

    try:
        return json.loads(_PIECE.sub(mend, text), strict=False)
    except (ValueError, RecursionError) as exc:
        raise RemoteProtocolError(f"not JSON: {exc}") from None


def dump_string(data: bytes) -> bytes:
    """Write a string. Bytes that are not UTF-8 stay as they are: the result is UTF-8 exactly if `data` is."""
    text = data.decode("utf-8", "surrogateescape")
    return b'"' + _SPECIAL.sub(lambda found: _ESCAPES[found[0]], text).encode("utf-8", "surrogateescape") + b'"'


def _mend_escape(found: re.Match[str]) -> str:
    return r"\u000b" if found[0] == r"\v" else found[0]
