"""``broappliance subscribe``: print what arrives at a running appliance."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

from appliance.errors import ApplianceError

from .client import find_endpoint, follow

__all__ = ["call", "render_item", "render_time", "render_value"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def call(arguments: argparse.Namespace) -> int:
    """Print a line for each event and print, until there were enough or Ctrl-C ends it."""
    path = find_endpoint(arguments)
    left = arguments.count
    try:
        for kind, data in follow(path, arguments.prefix):
            if kind == "dropped":
                print(f"broappliance: {data['dropped']:,} dropped, this is too slow", file=sys.stderr, flush=True)
                continue
            print(json.dumps(data) if arguments.json else render_item(data), flush=True)
            left = None if left is None else left - 1
            if left == 0:
                return 0
    except KeyboardInterrupt:  # which is how one ends it
        return 0
    raise ApplianceError(f"the appliance at {path} ends")


def render_item(item: dict[str, Any]) -> str:
    """An event or a print as a line for people; arguments look as ``publish event`` takes them."""
    head = f"{render_time(item['ts'])} {_printable(item['topic'])}"
    if item["kind"] == "print":
        return f"{head} {_printable(item['text'])}"
    if item["args"] is None:  # a number that JSON does not have
        args = [_printable(json.dumps(arg, ensure_ascii=False)) for arg in item["plain"]]
    else:
        args = [render_value(arg) for arg in item["args"]]
    return f"{head} {_printable(item['name'])}({', '.join(args)})"


def render_value(value: dict[str, Any]) -> str:
    """A value with its type as Zeek's scripts write it."""
    kind, data = value["@data-type"], value["data"]
    if kind == "vector":
        return f"[{', '.join(map(render_value, data))}]"
    if kind == "set":
        return f"{{{', '.join(map(render_value, data))}}}"
    if kind == "table":
        pairs = (f"{render_value(pair['key'])}: {render_value(pair['value'])}" for pair in data)
        return f"{{{', '.join(pairs)}}}"
    if kind == "string":
        return _printable(json.dumps(data, ensure_ascii=False))
    if kind == "boolean":
        return "T" if data else "F"
    if kind == "integer":
        return f"{data:+d}"
    return "none" if kind == "none" else _printable(str(data))


def render_time(ts: float) -> str:
    """Seconds since the epoch as a time of day in UTC."""
    try:
        return (_EPOCH + timedelta(seconds=ts)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    except OverflowError:
        return str(ts)


def _printable(text: str) -> str:
    """Without what a terminal would take for a command."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
