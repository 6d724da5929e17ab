"""A client of the endpoint: one request for each connection."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from appliance.errors import ApplianceError

from .endpoint import DEFAULT_SOCKET, Endpoint, NoAnswerError, find_endpoint

__all__ = [
    "DEFAULT_SOCKET",
    "Endpoint",
    "NoAnswerError",
    "RefusedError",
    "ask",
    "fetch",
    "fetch_status",
    "find_endpoint",
    "follow",
    "publish",
    "refusal",
    "stream",
]

EVENTS = "/v1/events"
TIMEOUT_S = 10.0
SILENCE_S = 45.0
"""A stream of events that says nothing for so long is broken: it has a heartbeat of 15 s."""
_BLOCK_BYTES = 1 << 18
_LONGEST_REFUSAL = 1 << 16
KEYS = {"name", "state", "services", "ledger", "last_reload"}

Where = Endpoint | Path
"""A path is that of a Unix socket."""


@contextmanager
def _request(
    where: Where, method: str, target: str, *, body: bytes | None = None, timeout_s: float = TIMEOUT_S
) -> Iterator[http.client.HTTPResponse]:
    """Make a request; the response can be read as long as the context lasts.

    Raises:
        ApplianceError: nobody answers there, or nobody who speaks HTTP, or he does not let us in.
    """
    endpoint = where if isinstance(where, Endpoint) else Endpoint(path=where)
    connection = endpoint.connect(timeout_s)
    try:
        connection.request(
            method, target, body, endpoint.headers | ({"Content-Type": "application/json"} if body else {})
        )
        with connection.getresponse() as response:
            if response.status in (401, 403):
                raise _denial(endpoint, response)
            yield response
    except (OSError, http.client.HTTPException, ValueError) as exc:
        raise endpoint.explain(exc) from exc
    finally:
        connection.close()


def _denial(endpoint: Endpoint, response: http.client.HTTPResponse) -> ApplianceError:
    try:
        document = json.loads(response.read(_LONGEST_REFUSAL))
    except ValueError:
        document = None
    told = str(refusal(endpoint, response.status, document))
    if response.status == 403:
        return ApplianceError(told)
    if endpoint.token:
        return ApplianceError(f"{endpoint} does not know the token: {told}", hint="it may have been taken back")
    hint = "give one with --token-file FILE or BROAPPLIANCE_TOKEN_FILE"
    return ApplianceError(f"{endpoint} wants a token: {told}", hint=hint)


def refusal(where: Where, status: int, document: Any) -> ApplianceError:
    """A refusal in the appliance's own words, as RFC 9457 has them.

    Args:
        where: who was asked.
        status: of HTTP.
        document: what was answered.
    """
    document = document if isinstance(document, dict) else {}
    told = ": ".join(str(part) for part in (document.get("title"), document.get("detail")) if part)
    return ApplianceError(told or f"{where} answered with HTTP {status}")


def ask(
    where: Where, method: str, target: str, document: Any = None, *, timeout_s: float = TIMEOUT_S
) -> tuple[int, Any]:
    """Make a request of the appliance at `where`; returns the status of HTTP and the document that came.

    Args:
        where: who is asked.
        method: of HTTP.
        target: the path of the document.
        document: goes with the request, unless it is None.
        timeout_s: for each step.

    Raises:
        ApplianceError: nobody answers there, or not with a document.
    """
    body = None if document is None else json.dumps(document).encode()
    with _request(where, method, target, body=body, timeout_s=timeout_s) as response:
        return response.status, json.loads(response.read())


def fetch(
    where: Where, target: str, *, timeout_s: float = TIMEOUT_S
) -> tuple[http.client.HTTPResponse, Iterator[bytes]]:
    """Status and headers of an answer, and its body piece by piece; the connection is closed behind the last one.

    Raises:
        ApplianceError: nobody answers there; while the body is read: it ends early.
    """
    stack = ExitStack()
    response = stack.enter_context(_request(where, "GET", target, timeout_s=timeout_s))

    def blocks() -> Iterator[bytes]:
        with stack:
            try:
                while block := response.read(_BLOCK_BYTES):
                    yield block
            except http.client.IncompleteRead:
                raise ApplianceError(f"the answer from {where} ends early", hint="its log says why") from None

    return response, blocks()


def fetch_status(where: Where) -> dict[str, Any]:
    """The status document of the appliance at `where`.

    Raises:
        ApplianceError: nobody answers there, or not with a status.
    """
    with _request(where, "GET", "/v1/status") as response:
        body = response.read()
        if response.status != 200:
            raise ApplianceError(f"{where} answered with HTTP {response.status}")
        status: dict[str, Any] = json.loads(body)
    if not isinstance(status, dict) or not status.keys() >= KEYS:
        raise ApplianceError(f"{where} answered with something that is no status")
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


def _refusal(where: Where, response: http.client.HTTPResponse) -> ApplianceError:
    """What an answer means that is no success."""
    document = json.loads(response.read())
    if response.status in (404, 405) and not (isinstance(document, dict) and "reason" in document):
        return ApplianceError(f"the appliance at {where} has no events")
    if not isinstance(document, dict) or not isinstance(document.get("title"), str):
        return ApplianceError(f"{where} answered with HTTP {response.status}")
    detail = document.get("detail")
    part = document.get("where", "") if response.status == 400 else ""
    return RefusedError(f"{document['title']}: {detail}" if detail else document["title"], where=str(part))


def publish(where: Where, publication: dict[str, Any]) -> int:
    """Let the appliance at `where` publish something; returns for how many peers it was queued.

    Args:
        where: who is asked.
        publication: what ``POST /v1/events`` takes. Surrogates stand for bytes that are not UTF-8.

    Raises:
        RefusedError: the appliance says why not.
        ApplianceError: nobody answers there.
    """
    body = json.dumps(publication, ensure_ascii=False).encode("utf-8", "surrogateescape")
    with _request(where, "POST", EVENTS, body=body) as response:
        if response.status != 202:
            raise _refusal(where, response)
        answer = json.loads(response.read())
    if not isinstance(answer, dict) or not isinstance(answer.get("peers"), int):
        raise ApplianceError(f"{where} answered with something that is no answer to this")
    return int(answer["peers"])


def follow(where: Where, prefixes: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Kind (``event``, ``print``, ``dropped``) and data of what arrives at the appliance at `where`, until it ends.

    Raises:
        RefusedError: the appliance says why not.
        ApplianceError: nobody answers there, or nobody any more.
    """
    query = urlencode([("topic", prefix) for prefix in prefixes], errors="surrogateescape")
    return stream(where, f"{EVENTS}?{query}")


def stream(where: Where, target: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Kind and data of each server-sent event; likewise."""
    with _request(where, "GET", target, timeout_s=SILENCE_S) as response:
        if response.status != 200:
            raise _refusal(where, response)
        kind = ""
        while line := response.readline():
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "event":
                kind = value
            elif name == "data":
                yield kind, json.loads(value)
