"""``broappliance capture``: handlers of a running appliance, over its socket."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from appliance.errors import ApplianceError, ConfigError

from .client import Endpoint, ask, find_endpoint, refusal

__all__ = ["call_list", "call_rotate", "call_start", "call_stop"]

PATH = "/v1/captures"
PATIENCE_S = 70.0
"""The appliance gives up before that."""
HANDLER_KEYS = (
    "log_dir", "file_name_pattern", "rotate_log", "rotate_log_index", "rotate_log_delta", "rotate_size",
    "rotate_packets", "format", "linktype", "compress",
)  # fmt: skip
SOCKET_KEYS = ("mode", "framing", "filter", "interface", "multicast")


def _socket(arguments: argparse.Namespace) -> Endpoint:
    return find_endpoint(arguments)


def _ask(socket: Endpoint, method: str, target: str, body: Any = None) -> Any:
    """The answer; what is no success is raised in the appliance's words."""
    status, document = ask(socket, method, target, body, timeout_s=PATIENCE_S)
    if status in (200, 201):
        return document
    document = document if isinstance(document, dict) else {}
    if mistakes := document.get("mistakes"):
        raise ExceptionGroup(
            "the capture has mistakes",
            [ConfigError(each["message"], key=each["key"], hint=each["hint"]) for each in mistakes],
        )
    raise refusal(socket, status, document)


# ── list ──


def call_list(arguments: argparse.Namespace) -> int:
    """Print what captures."""
    captures = _ask(_socket(arguments), "GET", PATH)["captures"]
    if arguments.json:
        print(json.dumps(captures, indent=2))
        return 0
    from .tables import make_console, make_table

    table = make_table(
        "captures",
        "handler!",
        "type!",
        "address!",
        "packets>",
        "bytes>",
        "per s>",
        "lost>",
        "files>",
        "open file",
        "from",
    )
    for capture, handler in _handlers(captures):
        figures = handler["statistics"] or {}
        host, number = capture["address"]
        named = f"[{host}]" if ":" in host else host
        where = f"{named}:{number}" if capture["conn_type"] != "ethernet" else host
        lost = figures.get("kernel_drops", 0) + figures.get("handler_drops", 0)
        table.add_row(
            f"{capture['name']}/{handler['name']}", capture["conn_type"], where, f"{figures.get('packets', 0):,}",
            f"{figures.get('bytes', 0):,}", f"{figures.get('packets_per_s', {}).get('last_10s', 0):,.0f}", f"{lost:,}",
            f"{figures.get('segments', 0):,}", figures.get("open_file", ""),
            "while running" if figures.get("is_runtime") else "the file",
        )  # fmt: skip
    make_console().print(table)
    return 0


def _handlers(captures: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for capture in captures:
        for handler in capture["handlers"]:
            yield capture, handler


# ── start ──


def call_start(arguments: argparse.Namespace) -> int:
    """Add a handler."""
    handler = {"name": arguments.name, **_given(arguments, HANDLER_KEYS)}
    if "rotate_size" in handler and handler["rotate_size"].isdecimal():
        handler["rotate_size"] = int(handler["rotate_size"])
    table = {
        "name": arguments.capture,
        "conn_type": arguments.conn_type,
        "address": _parse_address(arguments.conn_type, arguments.address),
        "handler": [handler],
        **_given(arguments, SOCKET_KEYS),
    }
    answer = _ask(_socket(arguments), "POST", PATH, {key: value for key, value in table.items() if value is not None})
    print(json.dumps(answer, indent=2) if arguments.json else f"started {answer['capture']}/{arguments.name}")
    return 0


def _given(arguments: argparse.Namespace, keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key in keys if (value := getattr(arguments, key)) is not None}


def _parse_address(conn_type: str, text: str) -> list[str | int]:
    """Host and port, or interface and protocol."""
    host, colon, number = text.rpartition(":")
    if conn_type == "ethernet" and not colon:
        return [text, 0]
    try:
        value = int(number if colon else "", 0)
    except ValueError:
        what = "interface or interface:protocol" if conn_type == "ethernet" else "host:port, [::1]:port or :port"
        raise ConfigError(f"{text!r} is no address: expected {what}") from None
    return [host.removeprefix("[").removesuffix("]"), value]


# ── stop, rotate ──


def _find(socket: Endpoint, names: list[str]) -> list[str]:
    """Paths of the handlers of those names; ``capture/handler`` names one exactly.

    Raises:
        ApplianceError: there is none of a name; nothing was done yet.
    """
    known = [
        (capture["name"], handler["name"]) for capture, handler in _handlers(_ask(socket, "GET", PATH)["captures"])
    ]
    found: dict[str, None] = {}
    for name in names:
        mine = [key for key in known if name in (key[1], "/".join(key))]
        if not mine:
            there = ", ".join("/".join(key) for key in known) or "none"
            raise ApplianceError(f"there is no handler {name!r}", hint=f"there are: {there}")
        found |= dict.fromkeys(f"{quote(capture)}/{quote(handler)}" for capture, handler in mine)
    return list(found)


def call_stop(arguments: argparse.Namespace) -> int:
    """Stop handlers."""
    socket = _socket(arguments)
    stopped = []
    for path in _find(socket, arguments.name):
        _ask(socket, "DELETE", f"{PATH}/{path}")
        stopped.append(path)
        if not arguments.json:
            print(f"stopped {path}")
    if arguments.json:
        print(json.dumps({"stopped": stopped}, indent=2))
    return 0


def call_rotate(arguments: argparse.Namespace) -> int:
    """End files, and print what became of them."""
    socket = _socket(arguments)
    finished = []
    for path in _find(socket, arguments.name):
        segments = _ask(socket, "POST", f"{PATH}/{path}/rotate")["segments"]
        finished += segments
        if arguments.json:
            continue
        for segment in segments:
            print(f"{segment['path']}: {segment['packets']:,} packets, {segment['size']:,} bytes")
        if not segments:
            print(f"{path} has no open file")
    if arguments.json:
        print(json.dumps({"segments": finished}, indent=2))
    return 0
