"""A client of the status endpoint: one request over a Unix socket."""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from appliance.errors import ApplianceError

__all__ = ["DEFAULT_SOCKET", "ask", "fetch_status", "find_socket"]

DEFAULT_SOCKET = Path("/run/broappliance/api.sock")
TIMEOUT_S = 10.0
KEYS = {"name", "state", "services", "ledger", "last_reload"}


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
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


@contextmanager
def _request(
    path: Path, method: str, target: str, *, body: bytes | None = None, timeout_s: float = TIMEOUT_S
) -> Iterator[http.client.HTTPResponse]:
    """Make a request; the response can be read as long as the context lasts.

    Raises:
        ApplianceError: nobody answers there, or nobody who speaks HTTP.
    """
    connection = _UnixConnection(path, timeout_s)
    try:
        connection.request(method, target, body, {"Content-Type": "application/json"} if body else {})
        with connection.getresponse() as response:
            yield response
    except (OSError, http.client.HTTPException, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or exc
        raise ApplianceError(
            f"no appliance answers at {path}: {reason}", hint="is it running, and is this its [api] listen?"
        ) from exc
    finally:
        connection.close()


def ask(path: Path, method: str, target: str, document: Any = None, *, timeout_s: float = TIMEOUT_S) -> tuple[int, Any]:
    """Make a request of the appliance behind `path`; returns the status of HTTP and the document that came.

    Args:
        path: the socket.
        method: of HTTP.
        target: the path of the document.
        document: goes with the request, unless it is None.
        timeout_s: for each step.

    Raises:
        ApplianceError: nobody answers there, or not with a document.
    """
    body = None if document is None else json.dumps(document).encode()
    with _request(path, method, target, body=body, timeout_s=timeout_s) as response:
        return response.status, json.loads(response.read())


def fetch_status(path: Path) -> dict[str, Any]:
    """The status document of the appliance behind `path`.

    Raises:
        ApplianceError: nobody answers there, or not with a status.
    """
    with _request(path, "GET", "/v1/status") as response:
        body = response.read()
        if response.status != 200:
            raise ApplianceError(f"{path} answered with HTTP {response.status}")
        status: dict[str, Any] = json.loads(body)
    if not isinstance(status, dict) or not status.keys() >= KEYS:
        raise ApplianceError(f"{path} answered with something that is no status")
    return status
