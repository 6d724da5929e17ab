"""``broappliance store``: the data stores of a running appliance."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any
from urllib.parse import quote

from appliance.errors import ApplianceError, ConfigError

from .client import RefusedError, ask, find_endpoint, refusal, stream
from .literals import parse_literal, parse_span_ns
from .store_arguments import Verb
from .subscribe import render_time, render_value

__all__ = ["call", "call_entries", "call_list", "call_watch"]

PATH = "/v1/stores"
PATIENCE_S = 30.0
"""The appliance gives up before that."""
PAGE = 10_000
"""Entries of one answer, as many as there may be."""


def _ask(arguments: argparse.Namespace, method: str, target: str, body: Any = None) -> Any:
    """The answer; what is no success is raised in the appliance's words."""
    socket = find_endpoint(arguments)
    status, document = ask(socket, method, target, body, timeout_s=PATIENCE_S)
    if status == 200:
        return document
    document = document if isinstance(document, dict) else {}
    told = refusal(socket, status, document)
    if status == 400 and document.get("where"):
        raise ConfigError(f"{document['where']}: {document.get('detail', told)}")
    raise told


def _target(name: str) -> str:
    return f"{PATH}/{quote(name, safe='')}"


def call_list(arguments: argparse.Namespace) -> int:
    """Print every store."""
    document = _ask(arguments, "GET", PATH)
    if arguments.json:
        print(json.dumps(document, indent=2))
        return 0
    from .tables import make_console, make_table

    table = make_table(
        "stores", "store!", "role!", "state!", "entries>", "clones>", "writers>", "unsettled>", "refused, by reason"
    )
    for store in document["stores"]:
        numbers = (f"{store[key]:,}" for key in ("entries", "clones", "writers", "unsettled"))
        reasons = " ".join(f"{reason}={count:,}" for reason, count in sorted(store["refused"].items()))
        table.add_row(store["name"], store["role"], store["state"], *numbers, reasons)
    make_console().print(table)
    return 0


def call_entries(arguments: argparse.Namespace) -> int:
    """Print keys, or keys and values, a line for each; page by page, until there were all or enough."""
    shown: list[Any] = []
    count, size, cursor = 0, 0, ""
    while True:
        limit = PAGE if arguments.limit is None else min(PAGE, arguments.limit - count)
        # Not as a query: a cursor has the last key in it, which may be too long for one.
        body = {"operation": arguments.what, "limit": limit, "cursor": cursor}
        document = _ask(arguments, "POST", _target(arguments.name), body)
        entries, size, cursor = document["entries"], document["size"], document["next"]
        count += len(entries)
        if arguments.json:
            shown += entries
        else:
            for entry in entries:
                key = _render(entry["key"])
                print(f"{key} {_render(entry['value'])}" if "value" in entry else key)
        if not cursor or count == arguments.limit:
            break
    if arguments.json:
        print(json.dumps({"size": size, "entries": shown}, indent=2))
    elif count == arguments.limit and size > count:
        print(f"broappliance: {size - count:,} more, see --limit", file=sys.stderr)
    return 0


def call(arguments: argparse.Namespace) -> int:
    """Do one operation."""
    verb: Verb = arguments.verb
    body = {"operation": verb.operation, **_members(arguments, verb)}
    if verb.operation == "get" and "index" in body:
        body["operation"] = "index"
    if verb.operation == "insert" and "value" not in body:
        body["value"] = body.pop("index")
    if verb.operation in ("increment", "decrement"):
        body.setdefault("value", parse_literal("1"))
    answer = _ask(arguments, "POST", _target(arguments.name), body)
    if arguments.json:
        print(json.dumps(answer, indent=2))
    elif "has_value" in answer:
        if not answer["has_value"]:
            raise ApplianceError(f"store {arguments.name!r} has no {' '.join(_words(arguments, verb))}")
        print(_render(answer["value"]))
    elif "size" in answer:
        print(answer["size"])
    return 0 if answer.get("has_effect", answer.get("has_value", True)) else 1


def _words(arguments: argparse.Namespace, verb: Verb) -> list[str]:
    return [word for member in verb.arguments if (word := getattr(arguments, member.strip("[]"))) is not None]


def _members(arguments: argparse.Namespace, verb: Verb) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for member in verb.arguments:
        name = member.strip("[]")
        text = getattr(arguments, name)
        if text is not None:
            try:
                found[name] = parse_literal(text)
            except ValueError as exc:
                raise ConfigError(f"{name}: {exc}") from exc
    if verb.has_ttl and arguments.ttl is not None:
        try:
            found["ttl"] = parse_span_ns(arguments.ttl) / 1e9
        except ValueError as exc:
            raise ConfigError(f"--ttl: {exc}") from exc
    return found


def call_watch(arguments: argparse.Namespace) -> int:
    """Print a line for each change, until there were enough or Ctrl-C ends it."""
    path = find_endpoint(arguments)
    left = arguments.count
    try:
        for kind, data in stream(path, f"{_target(arguments.name)}/watch"):
            if kind == "dropped":
                print(f"broappliance: {data['dropped']:,} dropped, this is too slow", file=sys.stderr, flush=True)
                continue
            print(json.dumps(data) if arguments.json else _render_change(data), flush=True)
            left = None if left is None else left - 1
            if left == 0:
                return 0
    except RefusedError as exc:
        raise ApplianceError(exc.message) from exc
    except KeyboardInterrupt:  # which is how one ends it
        return 0
    raise ApplianceError(f"the appliance at {path} ends")


def _render_change(data: dict[str, Any]) -> str:
    words = [render_time(data["ts"]), data["change"]]
    if data["change"] != "clear":
        words.append(_render(data["key"]))
    if data["change"] in ("insert", "update"):
        words.append(_render(data["value"]))
    if data["change"] == "update":
        words.append(f"(was {_render(data['old'])})")
    return " ".join(words)


def _render(value: dict[str, Any]) -> str:
    """A value as it can be typed; one with a number that JSON does not have as JSON."""
    return json.dumps(value["plain"]) if value["typed"] is None else render_value(value["typed"])
