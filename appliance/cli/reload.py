"""``broappliance reload``: let a running appliance read its configuration again, and tell what has changed."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from appliance.errors import ApplianceError

from .client import Endpoint, ask, find_endpoint, refusal

__all__ = ["call"]

PATH = "/v1/reload"
STEP_S = 5.0
"""For each question; then it is asked again."""
AWAY_S = 5.0
"""For so long the endpoint may be gone: it is among what a reload can change."""
TOLD = {
    "needs_restart": "needs a process restart",
    "removed": "removed",
    "added": "added",
    "restarted": "restarted",
    "applied": "applied live",
}
"""What became of a service, in words, what weighs most first."""


def call(arguments: argparse.Namespace) -> int:
    """Ask for a reload; 1 if it failed, 2 if the file has mistakes."""
    endpoint = find_endpoint(arguments)
    line = _ask(endpoint, "POST", PATH)
    if arguments.wait:
        line = _wait(arguments, endpoint, line)
    outcome = line["outcome"]
    if arguments.json:
        print(json.dumps(outcome or line, indent=2))
    elif outcome is None:
        print(f"reload {line['number']} was asked for; 'broappliance status' tells its outcome, --wait waits for it")
    if outcome is None:
        return 0
    if not arguments.json:
        _print(outcome)
    is_mistake = any(mistake["key"] or mistake["file"] for mistake in outcome["mistakes"])
    return 0 if outcome["ok"] else 2 if is_mistake else 1


def _ask(endpoint: Endpoint, method: str, target: str, timeout_s: float = 10.0) -> Any:
    status, document = ask(endpoint, method, target, timeout_s=timeout_s)
    if status in (200, 202) and isinstance(document, dict) and {"number", "state", "outcome"} <= document.keys():
        return document
    raise refusal(endpoint, status, document)


def _wait(arguments: argparse.Namespace, endpoint: Endpoint, line: dict[str, Any]) -> dict[str, Any]:
    """The same when it has ended.

    Raises:
        ApplianceError: it has not, in time, or the appliance ends.
    """
    number = line["number"]
    deadline = time.monotonic() + arguments.timeout
    away_since: float | None = None
    while line["state"] in ("waiting", "running"):
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise ApplianceError(
                f"reload {number} has not ended within {arguments.timeout:g} s",
                hint="'broappliance status' tells how it ends",
            )
        try:
            line = _ask(endpoint, "GET", f"{PATH}/{number}?wait={min(STEP_S, left_s):.3f}", STEP_S + 10.0)
            away_since = None
        except ApplianceError as exc:
            away_since = away_since or time.monotonic()
            if time.monotonic() - away_since > AWAY_S:
                hint = "if the file moves [api] listen, the new socket is to be asked: --config FILE or --socket PATH"
                raise ApplianceError(f"it cannot be told how reload {number} ended: {exc.message}", hint=hint) from exc
            time.sleep(0.1)
            endpoint = find_endpoint(arguments)  # the file may name another one now
    if line["state"] == "dropped":
        raise ApplianceError(f"reload {number} was not done: the appliance ends")
    return line


def _print(outcome: dict[str, Any]) -> None:
    from .tables import make_console, make_table

    for error, mistake in zip(outcome["errors"], outcome["mistakes"], strict=True):
        print(error if mistake["file"] else f"broappliance: {error}", file=sys.stderr)
    rows = [change for how in TOLD for change in outcome["changes"] if change["how"] == how]
    if rows:
        table = make_table("changes", "service!", "what became of it!", "keys that differ")
        for change in rows:
            files = [f"{key} (its file)" for key in change.get("files", ()) if key not in change["keys"]]
            table.add_row(change["name"], TOLD[change["how"]], ", ".join([*change["keys"], *files]))
        make_console().print(table)
    if not outcome["ok"]:
        told = f"reload {outcome['number']} was refused, generation {outcome['generation']} goes on unchanged"
        print(f"broappliance: {told}", file=sys.stderr)
        return
    unchanged = [change["name"] for change in outcome["changes"] if change["how"] == "unchanged"]
    if unchanged:
        print(f"unchanged: {', '.join(unchanged)}")
    did = "applied" if rows else "nothing differs"
    print(f"generation {outcome['generation']}: {did}, {outcome['took_s']:.1f} s")
