"""``broappliance publish``: send an event or a print through a running appliance."""

from __future__ import annotations

import argparse
import json
import re
from typing import Any

from appliance.errors import ConfigError

from .client import RefusedError, find_endpoint, publish

__all__ = ["call_event", "call_print"]

_ARGUMENT = re.compile(r"args\[([0-9]+)\]")


def call_event(arguments: argparse.Namespace) -> int:
    """Publish an event."""
    from .literals import parse_literal

    args = []
    for number, text in enumerate(arguments.arg, 1):
        try:
            args.append(parse_literal(text))
        except ValueError as exc:
            raise ConfigError(f"argument {number} of the event: {exc}") from exc
    return _publish(arguments, {"topic": arguments.topic, "event": arguments.name, "args": args})


def call_print(arguments: argparse.Namespace) -> int:
    """Publish a print."""
    return _publish(arguments, {"topic": arguments.topic, "print": arguments.text})


def _publish(arguments: argparse.Namespace, publication: dict[str, Any]) -> int:
    if arguments.via:
        publication["via"] = arguments.via
    try:
        peers = publish(find_endpoint(arguments), publication)
    except RefusedError as exc:
        if not exc.where:
            raise
        found = _ARGUMENT.fullmatch(exc.where)
        where = f"argument {int(found[1]) + 1} of the event" if found else exc.where
        raise ConfigError(f"{where}: {exc.message}") from exc
    print(json.dumps({"peers": peers}) if arguments.json else f"queued for {peers} peer{'' if peers == 1 else 's'}")
    return 0
