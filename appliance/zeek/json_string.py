r"""Strings as Zeek writes them in JSON. They are bytes, and often not UTF-8.

Usually Zeek looks at a string as a whole. If all of it is UTF-8 that it likes, it is written as it is. If anything in
it is not, every byte of it that is not printable ASCII is written as four characters ``\xNN``, even those of
well-formed UTF-8 elsewhere in the string. What Zeek does not like: ASCII control characters other than
``\b \f \n \r \t``, those of U+0080 to U+009F, the private use area U+E000 to U+F8FF, U+FFF0 to U+FFFF, surrogates,
over-long forms and what is beyond U+10FFFF. `EscapeStyle` has the exceptions.

Source: Zeek, ``src/util.cc``: ``json_escape_utf8`` (8.0), ``escape_utf8`` and ``escape_string_for_json`` (9.0);
rapidjson's ``Writer``.
"""

from __future__ import annotations

import enum
import re

__all__ = ["EscapeStyle", "quote", "quote_name"]


class EscapeStyle(enum.Enum):
    """What becomes of bytes that Zeek does not like."""

    HEX = "hex"
    r"""Text ``\xNN`` for every byte of the string that is not printable: Zeek up to 8.0, and from 8.2 on."""
    CONTROLS = "controls"
    r"""The same, but ASCII control characters are liked, and written as ``\u00NN``: Zeek 8.1."""
    PRIVATE = "private"
    r"""Private characters ``\udb80\udcNN`` for just these bytes: ``STRING_ESCAPE_POLICY_PUA`` of Zeek 9.0."""


_HARMLESS = re.compile(rb"[ !#-\[\]-~]*")
_WIDE = (
    rb"\xc2[\xa0-\xbf]|[\xc3-\xdf][\x80-\xbf]|"
    rb"\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec][\x80-\xbf]{2}|\xed[\x80-\x9f][\x80-\xbf]|"
    rb"\xef(?:[\xa4-\xbe][\x80-\xbf]|\xbf[\x80-\xaf])|"
    rb"\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2}"
)
_PLAIN = {EscapeStyle.HEX: rb"\x08\t\n\f\r -~", EscapeStyle.CONTROLS: rb"\x00-\x7f"}
_LIKED = {style: re.compile(rb"(?:[" + plain + rb"]++|" + _WIDE + rb")*+") for style, plain in _PLAIN.items()}
_REST = {style: re.compile(rb"[^" + plain + rb"]") for style, plain in _PLAIN.items()}
_PIECES = re.compile(rb"([ !#-\[\]-~]++|" + _WIDE + rb')|([\x08\t\n\f\r"\\])|([\x00-\xff])')

# rapidjson escapes what JSON requires and nothing else: neither "/" nor DEL.
_SPECIAL = re.compile(rb'[\x00-\x1f"\\]')
_ESCAPES = {bytes((code,)): b"\\u%04X" % code for code in range(32)} | {
    b"\b": rb"\b",
    b"\t": rb"\t",
    b"\n": rb"\n",
    b"\f": rb"\f",
    b"\r": rb"\r",
    b'"': rb"\"",
    b"\\": rb"\\",
}


def quote(data: bytes, style: EscapeStyle = EscapeStyle.HEX) -> bytes:
    """JSON string of some bytes, with its quotation marks; always UTF-8."""
    if _HARMLESS.fullmatch(data):
        return b'"' + data + b'"'
    if style is EscapeStyle.PRIVATE:
        return b'"' + _PIECES.sub(_make_private, data) + b'"'
    if not _LIKED[style].fullmatch(data):
        data = _REST[style].sub(_make_hex, data)
    return b'"' + _SPECIAL.sub(_escape, data) + b'"'


def quote_name(data: bytes) -> bytes:
    """JSON string of the name of a column.

    Zeek does not look into names. One that is not UTF-8 it writes as it is, so that the line is not JSON; here it is
    escaped.
    """
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        data = _REST[EscapeStyle.CONTROLS].sub(_make_hex, data)
    return b'"' + _SPECIAL.sub(_escape, data) + b'"'


def _make_hex(found: re.Match[bytes]) -> bytes:
    return b"\\x%02x" % ord(found[0])


def _make_private(found: re.Match[bytes]) -> bytes:
    if found[3] is not None:
        return b"\\udb80\\udc%02x" % ord(found[3])
    return _ESCAPES[found[2]] if found[2] is not None else found[0]


def _escape(found: re.Match[bytes]) -> bytes:
    return _ESCAPES[found[0]]
