"""``broappliance evidence``: what a running appliance has of packets for alarms, and asking for more."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any
from urllib.parse import quote

from appliance.errors import ApplianceError, ConfigError

from .client import ask, find_endpoint, refusal

__all__ = ["call_list", "call_request"]

PATH = "/v1/evidence"
WAIT_S = 30
"""For each question; then it is asked again."""
PATIENCE_S = 70.0
_CHOICES = ("conn", "host", "uid", "community_id", "all")


def _ask(arguments: argparse.Namespace, method: str, target: str, body: Any = None) -> Any:
    """The answer; what is no success is raised in the appliance's words."""
    socket = find_endpoint(arguments)
    status, document = ask(socket, method, target, body, timeout_s=PATIENCE_S)
    if status == 200:
        return document
    document = document if isinstance(document, dict) else {}
    if status == 400:
        raise ConfigError(document.get("detail", ""), key=document.get("where", "").replace("_", "-"))
    raise refusal(socket, status, document)


def call_list(arguments: argparse.Namespace) -> int:
    """Print what is pending, and what was finished."""
    document = _ask(arguments, "GET", f"{PATH}?limit={max(0, arguments.limit)}")
    if arguments.json:
        print(json.dumps(document, indent=2))
        return 0
    from .tables import make_console, make_table

    console = make_console()
    pending = make_table("pending", "evidence!", "id>", "packets of", "from", "to", "alarms>", "so far>", "failures>")
    finished = make_table("finished", "PCAP!", "packets>", "bytes>", "alarms>", "missing")
    for table in document["evidence"]:
        for job in table["pending"]:
            pending.add_row(
                table["name"], str(job["id"]), job["query"], job["from"][:19], job["to"][:19], f"{job['alarms']:,}",
                f"{job['packets']:,}", f"{job['failures']:,}",
            )  # fmt: skip
        for note in table["finished"]:
            finished.add_row(
                note["pcap"] or note["note"],
                *(f"{note[key] or 0:,}" for key in ("packets", "bytes", "alarms")),
                ", ".join(note["missing"]),
            )
    console.print(pending)
    console.print(finished)
    return 0


def call_request(arguments: argparse.Namespace) -> int:
    """Ask for packets; print where they are, or will be."""
    body: dict[str, Any] = {key: value for key in _CHOICES if (value := getattr(arguments, key))}
    body |= {"at": arguments.at, "reason": arguments.reason}
    body |= {key: value for key in ("before", "after") if (value := getattr(arguments, key)) is not None}
    job = _ask(arguments, "POST", f"{PATH}/{quote(arguments.name or _only(arguments), safe='')}", body)
    target = f"{PATH}/{quote(job['evidence'], safe='')}/{job['id']}?wait={WAIT_S}"
    while arguments.wait and job["state"] == "pending":
        job = _ask(arguments, "GET", target)
    if arguments.json:
        print(json.dumps(job, indent=2))
    elif job["state"] == "pending":
        print(f"{job['pcap']} will be there after {job['to'][:19]}Z")
    else:
        print(job["pcap"] or "there are no packets", file=sys.stdout if job["pcap"] else sys.stderr)
        for text in job["missing"]:
            print(f"missing: {text}", file=sys.stderr)
    return 0 if job["state"] == "pending" or job["complete"] else 3


def _only(arguments: argparse.Namespace) -> str:
    """The one table that there is.

    Raises:
        ApplianceError: there are several, or none.
    """
    names = [table["name"] for table in _ask(arguments, "GET", f"{PATH}?limit=0")["evidence"]]
    if len(names) != 1:
        raise ApplianceError(f"say which one: {', '.join(names)}" if names else "there is no [[evidence]] that runs")
    return str(names[0])
