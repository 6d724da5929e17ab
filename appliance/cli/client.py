"""A client of the local endpoint: one request over a Unix socket."""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from appliance.errors import ApplianceError

__all__ = [
    "DEFAULT_SOCKET",
    "NoAnswerError",
    "RefusedError",
    "ask",
    "fetch",
    "fetch_status",
    "find_socket",
    "follow",
    "publish",
    "stream",
]

DEFAULT_SOCKET = Path("/run/broappliance/api.sock")
EVENTS = "/v1/events"
TIMEOUT_S = 10.0
SILENCE_S = 45.0
"""A stream of events that says nothing for so long is broken: it has a heartbeat of 15 s."""
_BLOCK_BYTES = 1 << 18
KEYS = {"name", "state", "services", "ledger", "last_reload"}


class NoAnswerError(ApplianceError):
    """There is nobody to be asked."""


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
        NoAnswerError: the file asks for no socket.
    """
    if path is not None:
        return path
    if config is None:
        return DEFAULT_SOCKET
    from appliance.config import load

    listen = load(config).config.api.listen
    if not listen:
        raise NoAnswerError(f"{config} has an empty [api] listen: its appliance cannot be asked")
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
        is_absent = isinstance(exc, FileNotFoundError | ConnectionRefusedError)
        raise (NoAnswerError if is_absent else ApplianceError)(
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


def fetch(path: Path, target: str, *, timeout_s: float = TIMEOUT_S) -> tuple[http.client.HTTPResponse, Iterator[bytes]]:
    """Status and headers of an answer, and its body piece by piece; the connection is closed behind the last one.

    Raises:
        ApplianceError: nobody answers there; while the body is read: it ends early.
    """
    stack = ExitStack()
    response = stack.enter_context(_request(path, "GET", target, timeout_s=timeout_s))

    def blocks() -> Iterator[bytes]:
        with stack:
            try:
                while block := response.read(_BLOCK_BYTES):
                    yield block
            except http.client.IncompleteRead:
                raise ApplianceError(f"the answer from {path} ends early", hint="its log says why") from None

    return response, blocks()


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


class RefusedError(ApplianceError):
    """The appliance does not do what it was asked for.

    Args:
        message: why.
        where: which part of the request is wrong, e.g. ``args[1]``; empty if none is.
    """

    def __init__(self, message: str, *, where: str = "") -> None:
        super().__init__(message)
        self.where = where


def _refusal(path: Path, response: http.client.HTTPResponse) -> ApplianceError:
    """What an answer means that is no success."""
    document = json.loads(response.read())
    if response.status in (404, 405) and not (isinstance(document, dict) and "reason" in document):
        return ApplianceError(f"the appliance at {path} has no events")
    if not isinstance(document, dict) or not isinstance(document.get("title"), str):
        return ApplianceError(f"{path} answered with HTTP {response.status}")
    detail = document.get("detail")
    where = document.get("where", "") if response.status == 400 else ""
    return RefusedError(f"{document['title']}: {detail}" if detail else document["title"], where=str(where))


def publish(path: Path, publication: dict[str, Any]) -> int:
    """Let the appliance behind `path` publish something; returns for how many peers it was queued.

    Args:
        path: the socket.
        publication: what ``POST /v1/events`` takes. Surrogates stand for bytes that are not UTF-8.

    Raises:
        RefusedError: the appliance says why not.
        ApplianceError: nobody answers there.
    """
    body = json.dumps(publication, ensure_ascii=False).encode("utf-8", "surrogateescape")
    with _request(path, "POST", EVENTS, body=body) as response:
        if response.status != 202:
            raise _refusal(path, response)
        answer = json.loads(response.read())
    if not isinstance(answer, dict) or not isinstance(answer.get("peers"), int):
        raise ApplianceError(f"{path} answered with something that is no answer to this")
    return int(answer["peers"])


def follow(path: Path, prefixes: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Kind (``event``, ``print``, ``dropped``) and data of what arrives at the appliance behind `path`, until it ends.

    Raises:
        RefusedError: the appliance says why not.
        ApplianceError: nobody answers there, or nobody any more.
    """
    query = urlencode([("topic", prefix) for prefix in prefixes], errors="surrogateescape")
    return stream(path, f"{EVENTS}?{query}")


def stream(path: Path, target: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Kind and data of each server-sent event; likewise."""
    with _request(path, "GET", target, timeout_s=SILENCE_S) as response:
        if response.status != 200:
            raise _refusal(path, response)
        kind = ""
        while line := response.readline():
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "event":
                kind = value
            elif name == "data":
                yield kind, json.loads(value)
