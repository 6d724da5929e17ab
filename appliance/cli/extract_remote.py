"""``broappliance extract`` through the running appliance, which alone has what is in its memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from appliance.errors import ApplianceError, ConfigError

from .client import DEFAULT_SOCKET, ask, fetch, find_socket

if TYPE_CHECKING:
    from .extract import Sink

__all__ = ["download", "find_appliance"]

EXTRACT = "/v1/extract"
PATIENCE_S = 86400.0
"""It says nothing while it searches, and whoever records comes first. That it has died shows at once."""


def find_appliance(config: Path | None, path: Path | None) -> Path | None:
    """The socket of an appliance that records; None: none was asked for by name, and none answers.

    Raises:
        ApplianceError: the one at `path` does not answer.
    """
    if config is None and path is None and not DEFAULT_SOCKET.exists():
        return None
    socket = find_socket(config, path)
    try:
        status, _ = ask(socket, "GET", EXTRACT)
    except ApplianceError:
        if path is not None:
            raise
        return None
    if status == 200:
        return socket
    if path is not None:
        raise ApplianceError(f"the appliance at {path} has no recorder")
    return None


def download(
    socket: Path, values: dict[str, list[str]], recorder: str | None, max_bytes: int | None, out: Sink
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


def _refusal(socket: Path, status: int, body: bytes) -> ApplianceError:
    document = json.loads(body)
    title, detail = document.get("title"), document.get("detail")
    told = f"{title}: {detail}" if detail else str(title or f"{socket} answered with HTTP {status}")
    return ConfigError(told, key=document.get("where", "")) if status == 400 else ApplianceError(told)
