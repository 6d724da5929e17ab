"""``broappliance extract`` through the running appliance, which alone has what is in its memory."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from appliance.errors import ApplianceError, ConfigError

from .client import Endpoint, NoAnswerError, ask, fetch, find_endpoint, refusal

if TYPE_CHECKING:
    from .extract import Sink

__all__ = ["download", "find_appliance"]

EXTRACT = "/v1/extract"
PATIENCE_S = 86400.0
"""It says nothing while it searches, and whoever records comes first. That it has died shows at once."""


def find_appliance(arguments: argparse.Namespace) -> Endpoint | None:
    """An appliance that records; None: none was asked for by name, and none answers.

    Raises:
        ApplianceError: the one that was named does not answer.
    """
    endpoint = find_endpoint(arguments)
    is_named = endpoint.said.startswith(("-", "$"))
    try:
        status, _ = ask(endpoint, "GET", EXTRACT)
    except ApplianceError as exc:
        has_files = getattr(arguments, "config", None) is not None
        if is_named or not (has_files or isinstance(exc, NoAnswerError)):
            raise
        return None
    if status == 200:
        return endpoint
    if is_named:
        raise ApplianceError(f"the appliance at {endpoint} has no recorder")
    return None


def download(
    socket: Endpoint, values: dict[str, list[str]], recorder: str | None, max_bytes: int | None, out: Sink
) -> dict[str, Any]:
    """Let the appliance extract; returns its report.

    Raises:
        ConfigError: a condition is wrong.
        ApplianceError: it refuses, or the answer ends early.
    """
    given = [(key, value) for key, each in values.items() for value in each]
    given += [("recorder", recorder)] if recorder is not None else []
    given += [("max-bytes", str(max_bytes))] if max_bytes is not None else []
    query = urlencode(given, errors="surrogateescape")
    response, blocks = fetch(socket, f"{EXTRACT}/pcap?{query}", timeout_s=PATIENCE_S)
    if response.status != 200:
        raise _refusal(socket, response.status, b"".join(blocks))
    for block in blocks:
        out.write(block)
    status, document = ask(socket, "GET", response.getheader("extract-report", ""))
    if status != 200:
        raise ApplianceError(f"{socket} lost the report: whether packets are missing is not known")
    return dict(document)


def _refusal(socket: Endpoint, status: int, body: bytes) -> ApplianceError:
    document = json.loads(body)
    told = refusal(socket, status, document)
    return ConfigError(told.message, key=document.get("where", "")) if status == 400 else told
