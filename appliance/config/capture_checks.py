"""What is wrong in ``[[capture]]`` across keys: keys of another `conn_type`, addresses, shared sockets, handlers."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import msgspec

from appliance.config.lines import Key
from appliance.config.report import Report, one_of, quote, show_key
from appliance.config.shape import EACH, HOLE, select
from appliance.config.sockets import SOCKET_KEYS, USED_BY, address_of, parse_group
from appliance.config.tables import Capture, Config, Handler

__all__ = ["check_captures"]

_DEFAULTS = {field.name: field.default for field in msgspec.structs.fields(Capture)}
_LARGEST_FRAME = 262_144  # MAXIMUM_SNAPLEN of libpcap: its readers refuse longer records
_TLS_KEYS = ("ca", "certificate", "key")


def check_captures(config: Config, report: Report, *, check_run: Callable[[Key, str, Report], None]) -> None:
    """Report every mistake in the captures; `check_run` judges the names of callables."""
    first: dict[Hashable, tuple[Key, Capture]] = {}
    for key, capture in select(config, "capture", EACH):
        if HOLE in (capture.conn_type, capture.mode):
            continue
        _check_keys(key, capture, report)
        _check_frames(key, capture, report)
        for group_key, group in select(capture, "multicast", EACH):
            _check_group((*key, *group_key), group, capture, report)
        for handler_key, handler in select(capture, "handler", EACH):
            _check_handler((*key, *handler_key), handler, capture, report, check_run)
        _check_names(key, capture, report)
        if capture.address is not HOLE and HOLE not in capture.address:
            _check_shared(key, capture, first, report)


def _differs(capture: Capture, name: str, value: Any) -> bool:
    mine = getattr(capture, name)
    return mine is not HOLE and value is not HOLE and mine != value


def _check_keys(key: Key, capture: Capture, report: Report) -> None:
    for name, conn_types in USED_BY.items():
        if capture.conn_type not in conn_types and _differs(capture, name, _DEFAULTS[name]):
            report.add((*key, name), f"is for conn_type {one_of(conn_types)}")
    if capture.conn_type != "tcp":
        return
    if capture.tls is False:
        for name in _TLS_KEYS:
            if _differs(capture, name, ""):
                report.add((*key, name), "is for TLS", "write tls = true")
    elif capture.tls is True and capture.mode == "listen" and "" in (capture.certificate, capture.key):
        report.add((*key, "tls"), "a server needs a certificate and its key", "set certificate and key")
    elif bool(capture.certificate) != bool(capture.key) and HOLE not in (capture.certificate, capture.key):
        report.add((*key, "certificate" if capture.certificate else "key"), "certificate and key go together")
    if capture.mode == "connect" and _differs(capture, "max_clients", _DEFAULTS["max_clients"]):
        report.add((*key, "max_clients"), "is for those who listen", 'write mode = "listen"')


def _check_frames(key: Key, capture: Capture, report: Report) -> None:
    if capture.max_frame is not HOLE and not 1 <= capture.max_frame <= _LARGEST_FRAME:
        report.add((*key, "max_frame"), f"must be 1 to {_LARGEST_FRAME} bytes, got {capture.max_frame}")
    if capture.keepalive is not HOLE and capture.keepalive < 10**9:
        report.add((*key, "keepalive"), f"must be at least 1s, got {capture.keepalive}")


def _check_group(key: Key, text: str, capture: Capture, report: Report) -> None:
    try:
        group, _ = parse_group(text)
    except ValueError as exc:
        report.add(key, str(exc))
        return
    if capture.address is HOLE or capture.address[0] is HOLE:
        return
    if (":" in group) != (":" in capture.address[0]):
        want, host = ("an IPv6", "::") if ":" in group else ("an IPv4", "")
        report.add(key, f"needs a socket on {want} address", f"write address = [{quote(host)}, port]")


def _check_handler(
    key: Key, handler: Handler, capture: Capture, report: Report, check_run: Callable[[Key, str, Report], None]
) -> None:
    for run_key, run in select(handler, "pre_write_transforms", EACH):
        check_run((*key, *run_key), run, report)
    if capture.conn_type == "ethernet" and handler.linktype not in ("auto", HOLE):
        report.add((*key, "linktype"), "frames are always of link type 1", 'leave it out, or write linktype = "auto"')
    if capture.conn_type == "tcp" and handler.linktype == "ip" and handler.pre_write_transforms not in ((), HOLE):
        report.add((*key, "linktype"), "a stream that transforms change has no headers", 'write linktype = "user0"')


def _check_names(key: Key, capture: Capture, report: Report) -> None:
    first: dict[str, Key] = {}
    for handler_key, name in select(capture, "handler", EACH, "name"):
        other = first.setdefault(name, handler_key)
        if other is not handler_key:
            file, line = report.place((*key, *other))
            where = f"{show_key((*key, *other))} at {file}:{line}"
            report.add((*key, *handler_key), f"the name {quote(name)} is used twice, first by {where}")


def _check_shared(key: Key, capture: Capture, first: dict[Hashable, tuple[Key, Capture]], report: Report) -> None:
    """Captures of one address share a socket, so they must agree about it."""
    try:
        address = address_of(capture)
    except ValueError as exc:
        report.add((*key, "address"), str(exc))
        return
    if address is None:
        return
    other_key, other = first.setdefault(address, (key, capture))
    file, line = report.place(other_key)
    where = f"{show_key(other_key)} at {file}:{line}" if line else f"capture {quote(other.name)}"
    if other.conn_type != capture.conn_type:
        report.add((*key, "conn_type"), f"the address is that of {where}, which is {quote(other.conn_type)}")
        return
    for name in SOCKET_KEYS:
        if (
            name != "address"
            and _differs(capture, name, _DEFAULTS[name])
            and _differs(other, name, getattr(capture, name))
        ):
            hint = "write the same, or leave it out here"
            report.add((*key, name), f"the socket is opened by {where}, which says otherwise", hint)
