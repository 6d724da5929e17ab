"""A client of the status endpoint: one request over a Unix socket."""

from __future__ import annotations

import http.client
import json
import os
import socket
from pathlib import Path
from typing import Any

from appliance.errors import ApplianceError

__all__ = ["DEFAULT_SOCKET", "fetch_status", "find_socket"]

DEFAULT_SOCKET = Path("/run/broappliance/api.sock")
TIMEOUT_S = 10.0
KEYS = {"name", "state", "services", "ledger", "last_reload"}


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(os.fspath(self._path))


def find_socket(config: Path | None, path: Path | None) -> Path:
    """The socket that the arguments mean.

    Raises:
        ExceptionGroup: the configuration file has mistakes.
        ApplianceError: the file asks for no socket.
    """
    if path is not None:
        return path
    if config is None:
        return DEFAULT_SOCKET
    from appliance.config import load

    listen = load(config).config.api.listen
    if not listen:
        raise ApplianceError(f"{config} has an empty [api] listen: its appliance cannot be asked")
    return Path(listen[0].removeprefix("unix:"))


def fetch_status(path: Path) -> dict[str, Any]:
    """The status document of the appliance behind `path`.

    Raises:
        ApplianceError: nobody answers there, or not with a status.
    """
    connection = _UnixConnection(path)
    try:
        connection.request("GET", "/v1/status")
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise ApplianceError(f"{path} answered with HTTP {response.status}")
        status: dict[str, Any] = json.loads(body)
        if not isinstance(status, dict) or not status.keys() >= KEYS:
            raise ApplianceError(f"{path} answered with something that is no status")
    except (OSError, http.client.HTTPException, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or exc
        raise ApplianceError(
            f"no appliance answers at {path}: {reason}", hint="is it running, and is this its [api] listen?"
        ) from exc
    finally:
        connection.close()
    return status
