"""One request and its answer over HTTP/1.1, parsed by h11; the connection ends with it.

Bounded in size: what is longer is refused before it is read. Bounding the time is up to the caller.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import h11
import msgspec
import trio

__all__ = ["MAX_BODY", "Answer", "Exchange", "RefusedError", "Request", "problem"]

MAX_BODY = 1 << 20
"""Bytes of a request's body. h11 bounds what stands before it to 16 KiB."""
JSON = "application/json"
_RECEIVE = 16384


class Request(NamedTuple):
    """What a client wants."""

    method: str
    path: str
    """Without the query."""
    query: str
    body: bytes


class Answer(NamedTuple):
    """A whole response."""

    status: int
    body: bytes
    content_type: str = JSON
    allow: Sequence[str] = ()
    """The methods that there are, for status 405."""


class RefusedError(Exception):
    """What came is no request that could be answered otherwise than so."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def problem(status: int, title: str, *, allow: Sequence[str] = (), **members: object) -> Answer:
    """A refusal, for programs and people.

    Args:
        status: of HTTP.
        title: what is the matter, in a few words.
        allow: as in `Answer`.
        members: what else there is to say: ``detail`` for people, ``reason`` and ``where`` for programs.

    Source: RFC 9457.
    """
    body = msgspec.json.encode({"title": title, "status": status, **members})
    return Answer(status, body, "application/problem+json", allow)


class Exchange:
    """See the module.

    Args:
        stream: a connection on which nothing was read yet; the caller closes it.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._connection = h11.Connection(h11.SERVER)
        self._is_head = False

    async def read(self) -> Request | None:
        """The request; None if the client went away before its end.

        Raises:
            RefusedError: too large, or no HTTP; its answer is to be sent.
            trio.BrokenResourceError: the connection broke.
        """
        try:
            return await self._read()
        except h11.RemoteProtocolError as exc:
            raise RefusedError(problem(exc.error_status_hint, "this is no request")) from None

    async def _read(self) -> Request | None:
        head = await self._next_event()
        if not isinstance(head, h11.Request):
            return None
        self._is_head = head.method == b"HEAD"
        if _announced_length(head) > MAX_BODY:
            raise RefusedError(problem(413, f"more than {MAX_BODY} bytes"))
        if self._connection.they_are_waiting_for_100_continue:
            await self._send(h11.InformationalResponse(status_code=100, headers=[]))
        body = bytearray()
        while isinstance(event := await self._next_event(), h11.Data):
            body += event.data
            if len(body) > MAX_BODY:
                raise RefusedError(problem(413, f"more than {MAX_BODY} bytes"))
        path, _, query = head.target.decode("ascii", "replace").partition("?")
        return Request(head.method.decode("ascii"), path, query, bytes(body))

    async def _next_event(self) -> object:
        while (event := self._connection.next_event()) is h11.NEED_DATA:
            self._connection.receive_data(bytes(await self._stream.receive_some(_RECEIVE)))
        return event

    async def _send(self, *events: h11.Event) -> None:
        await self._stream.send_all(b"".join([self._connection.send(event) or b"" for event in events]))

    async def answer(self, answer: Answer) -> None:
        """Send a response.

        Raises:
            trio.BrokenResourceError: the connection broke.
        """
        headers = [
            ("content-type", answer.content_type),
            ("content-length", str(len(answer.body))),
            ("connection", "close"),
        ]
        if answer.allow:
            headers.append(("allow", ", ".join(answer.allow)))
        body = b"" if self._is_head else answer.body
        await self._send(h11.Response(status_code=answer.status, headers=headers), h11.Data(data=body))

    # ── an answer without an end of its own ──

    async def begin_stream(self, content_type: str, more: Mapping[str, str] | None = None) -> None:
        """Send the head of a response that goes on, with `more` headers."""
        headers = [("content-type", content_type), ("cache-control", "no-store"), ("connection", "close")]
        headers += (more or {}).items()
        await self._send(h11.Response(status_code=200, headers=headers))

    async def send_part(self, data: bytes) -> None:
        """Send some of it."""
        await self._send(h11.Data(data=data))

    async def end_stream(self) -> None:
        """Tell the client that this was all."""
        await self._send(h11.EndOfMessage())

    async def wait_gone(self) -> None:
        """Wait until the client has closed the connection, or its sending half; what it sends is thrown away."""
        try:
            while await self._stream.receive_some(_RECEIVE):
                pass
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return


def _announced_length(head: h11.Request) -> int:
    return next((int(value) for name, value in head.headers if name == b"content-length"), 0)
