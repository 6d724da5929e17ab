"""The blocks at both ends of a pcapng file, for one interface with times in nanoseconds; pure functions.

Source: draft-ietf-opsawg-pcapng, sections 4.1, 4.2 and 4.6, options 3.5.
"""

from __future__ import annotations

import struct

__all__ = ["make_start", "make_statistics"]

_SECTION, _INTERFACE, _STATISTICS = 0x0A0D0D0A, 1, 5
_BYTE_ORDER = 0x1A2B3C4D
_END, _COMMENT = 0, 1
_SHB_OS, _SHB_APPLICATION = 3, 4
_IF_NAME, _IF_TSRESOL, _IF_FILTER = 2, 9, 11
_ISB_START, _ISB_END, _ISB_RECEIVED, _ISB_IF_DROPPED, _ISB_OS_DROPPED = 2, 3, 4, 5, 7
_TEXT_MAX = 16384
"""Longest text in bytes; an option's length has 16 bits."""


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("=HH", code, len(value)) + value + bytes(-len(value) % 4)


def _text(code: int, value: str, prefix: bytes = b"") -> bytes:
    """A text option, cut at a character's boundary if it is too long; nothing if there is no text."""
    data = value.encode(errors="replace")[:_TEXT_MAX].decode(errors="ignore").encode()
    return _option(code, prefix + data) if data else b""


def _block(kind: int, body: bytes, options: bytes) -> bytes:
    if options:
        body += options + _option(_END, b"")
    size = len(body) + 12
    return struct.pack("=II", kind, size) + body + struct.pack("=I", size)


def _time(ts_ns: int) -> bytes:
    return struct.pack("=II", ts_ns >> 32, ts_ns & 0xFFFFFFFF)


def make_start(
    *,
    snaplen: int,
    linktype: int,
    interface: str,
    comment: str,
    application: str,
    os: str,
    filter: str,  # noqa: A002 - the key of the configuration
) -> bytes:
    """A section header of unknown length and the description of its only interface; empty texts are left out."""
    section = _text(_COMMENT, comment) + _text(_SHB_OS, os) + _text(_SHB_APPLICATION, application)
    described = (
        _text(_IF_NAME, interface) + _option(_IF_TSRESOL, b"\x09") + _text(_IF_FILTER, filter, b"\0")  # a string
    )
    return _block(_SECTION, struct.pack("=IHHq", _BYTE_ORDER, 1, 0, -1), section) + _block(
        _INTERFACE, struct.pack("=HHI", linktype, 0, snaplen), described
    )


def make_statistics(
    *, ts_ns: int, first_ns: int, last_ns: int, received: int, if_dropped: int, os_dropped: int
) -> bytes:
    """The statistics of interface 0."""
    counters = ((_ISB_RECEIVED, received), (_ISB_IF_DROPPED, if_dropped), (_ISB_OS_DROPPED, os_dropped))
    options = _option(_ISB_START, _time(first_ns)) + _option(_ISB_END, _time(last_ns))
    options += b"".join(_option(code, struct.pack("=Q", value)) for code, value in counters)
    return _block(_STATISTICS, struct.pack("=I", 0) + _time(ts_ns), options)
