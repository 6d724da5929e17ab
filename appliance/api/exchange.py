"""A request, its answer, and the answers that have no end of their own: what handlers see of HTTP.

A handler gets a `Request` and returns an `Answer`, or a function of an `Exchange` that sends the answer bit by bit.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qsl

import msgspec
import trio

from .roles import NOBODY, Identity

__all__ = [
    "JSON",
    "MAX_BODY",
    "PROBLEM",
    "Answer",
    "Exchange",
    "RefusedError",
    "Reply",
    "Request",
    "decode_body",
    "parameters",
    "problem",
    "to_json",
]

MAX_BODY = 1 << 20
"""Bytes of a request's body, unless its endpoint says otherwise."""
JSON = "application/json"
PROBLEM = "application/problem+json"
_PART = 1 << 16
_MAX_FIELDS = 64

Struct = TypeVar("Struct")


class Request(NamedTuple):
    """What a client wants."""

    method: str
    path: str
    """As it came, without the query."""
    query: str = ""
    body: bytes = b""
    params: Mapping[str, str] = {}
    """What the path has in place of the names in braces, decoded."""
    who: Identity = NOBODY
    headers: Mapping[str, str] = {}
    """Names in lower case; of several with one name, the last."""


class Answer(NamedTuple):
    """A whole response."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: Mapping[str, str] = {}


class RefusedError(Exception):
    """Raised by a handler: this is the answer."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def to_json(document: object, status: int = 200) -> Answer:
    """A document as an answer."""
    return Answer(status, msgspec.json.encode(document))


def problem(
    status: int, title: str, *, allow: Iterable[str] = (), headers: Mapping[str, str] | None = None, **members: object
) -> Answer:
    """A refusal, for programs and people.

    Args:
        status: of HTTP.
        title: what is the matter, in a few words.
        allow: the methods that there are, for status 405.
        headers: that go with it.
        members: what else there is to say: ``detail`` for people, ``reason`` and ``where`` for programs.

    Source: RFC 9457.
    """
    body = msgspec.json.encode({"title": title, "status": status, **members})
    given = dict(headers or {})
    if named := ", ".join(allow):
        given["allow"] = named
    return Answer(status, body, PROBLEM, given)


def parameters(request: Request, kind: type[Struct]) -> Struct:
    """The query of a request as a struct; a field that is a list may come several times.

    Raises:
        RefusedError: unknown, repeated or wrong fields.
    """
    try:
        pairs = parse_qsl(request.query, keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    except ValueError as exc:
        raise RefusedError(problem(400, "this makes no sense", detail=str(exc))) from None
    fields = {each.encode_name: each for each in msgspec.structs.fields(kind)}  # type: ignore[arg-type]
    given: dict[str, Any] = {}
    for name, value in pairs:
        if name not in fields:
            detail = f"there is no field {name!r}; there are: {', '.join(sorted(fields))}"
            raise RefusedError(problem(400, "this makes no sense", where=name, detail=detail))
        if name in given:
            raise RefusedError(problem(400, "this makes no sense", where=name, detail="given twice"))
        given[name] = value
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as exc:
        told, where = _split(exc)
        raise RefusedError(problem(400, "this makes no sense", where=where, detail=told)) from None


def decode_body(request: Request, kind: Any) -> Any:
    """The body of a request as what it should be.

    Raises:
        RefusedError: no JSON (400), or not what is taken here (422).
    """
    try:
        return msgspec.json.decode(request.body, type=kind)
    except msgspec.ValidationError as exc:
        told, where = _split(exc)
        raise RefusedError(problem(422, "there are mistakes in it", where=where, detail=told)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise RefusedError(problem(400, "the body is not JSON", detail=str(exc))) from None
    except RecursionError:
        raise RefusedError(problem(400, "the body is nested too deeply")) from None


def _split(exc: msgspec.ValidationError) -> tuple[str, str]:
    """What is wrong, and where."""
    told, _, where = str(exc).partition(" - at `$")
    return told, where.rstrip("`").lstrip(".")


class Exchange:
    """The answer to one request, as it is sent.

    Args:
        receive, send: as ASGI defines them.
    """

    def __init__(
        self,
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        self._receive, self._send = receive, send
        self._gone = trio.Event()
        self.status = 0
        """Of the response that was begun; 0 if none was."""
        self.headers: dict[str, str] = {}
        """That go with it, whatever it is."""

    async def answer(self, answer: Answer, timeout_s: float) -> None:
        """Send a whole response.

        Raises:
            trio.TooSlowError: for so long the client took nothing.
        """
        headers = {"content-type": answer.content_type, "content-length": str(len(answer.body)), **answer.headers}
        with trio.fail_after(timeout_s):
            await self._begin(answer.status, headers)
        for start in range(0, len(answer.body), _PART):
            with trio.fail_after(timeout_s):
                await self.send_part(answer.body[start : start + _PART])
        with trio.fail_after(timeout_s):
            await self.end_stream()

    async def _begin(self, status: int, headers: Mapping[str, str]) -> None:
        self.status = status
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in {**headers, **self.headers}.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": raw})

    async def begin_stream(
        self, content_type: str, more: Mapping[str, str] | None = None, *, status: int = 200
    ) -> None:
        """Send the head of a response that goes on, with `more` headers."""
        await self._begin(status, {"content-type": content_type, "cache-control": "no-store", **(more or {})})

    async def send_part(self, data: bytes) -> None:
        """Send some of it.

        Raises:
            trio.BrokenResourceError: the client is gone.
        """
        if self._gone.is_set():
            raise trio.BrokenResourceError
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end_stream(self) -> None:
        """Tell the client that this was all."""
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def wait_gone(self) -> None:
        """Wait until the client has closed the connection, or its sending half; what it sends is thrown away."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone.set()


Reply = Answer | Callable[[Exchange], Awaitable[Answer | None]]
"""What a handler returns: the answer, or what sends it; that may still have an answer if it has sent nothing."""
