"""The table as an ASGI application: paths by Starlette, and around each handler what all have in common.

Source: the ASGI specification, "HTTP & WebSocket message format", 2.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import structlog
import trio
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from appliance.runtime.supervisor import describe

from .audit import summarize
from .exchange import JSON, PROBLEM, Answer, Exchange, RefusedError, Request, problem
from .openapi import describe_endpoints
from .roles import Identity, Role
from .table import Endpoint, by_path, refuse

__all__ = ["OPENAPI", "REQUEST_TIMEOUT_S", "make_application", "with_openapi"]

log = structlog.get_logger("api")

REQUEST_TIMEOUT_S = 10.0
"""For a request to arrive, and for a client to take a part of its answer."""
OPENAPI = "/v1/openapi.json"


def with_openapi(endpoints: Sequence[Endpoint]) -> list[Endpoint]:
    """The table with the endpoint that describes it."""
    made: list[bytes] = []

    async def describe_all(request: Request) -> Answer:
        del request
        if not made:  # not before somebody asks: it takes a moment
            made.append(describe_endpoints(table))
        return Answer(200, made[0])

    own = Endpoint(
        method="GET",
        path=OPENAPI,
        role=Role.READ,
        summary="This description",
        handle=describe_all,
        reply=dict[str, Any],
    )
    table = [*endpoints, own]
    return table


def make_application(endpoints: Sequence[Endpoint]) -> Router:
    """An ASGI application; ``scope["state"]["who"]`` says who asks."""
    routes = [Route(path, _Resource(methods)) for path, methods in by_path(endpoints).items()]
    return Router(routes=routes, redirect_slashes=False, default=_nothing_here)


async def _nothing_here(scope: Any, receive: Any, send: Any) -> None:
    who: Identity = scope["state"]["who"]
    answer = refuse(who, Role.READ) or problem(404, "no such document")
    await Exchange(receive, send).answer(answer, REQUEST_TIMEOUT_S)


class _Resource:
    """One path with its methods."""

    def __init__(self, methods: Mapping[str, Endpoint]) -> None:
        self._methods = methods
        self._served = dict(methods)
        if "GET" in methods and not methods["GET"].is_stream:
            self._served["HEAD"] = methods["GET"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(receive, send)
        with trio.move_on_after(REQUEST_TIMEOUT_S) as patience:
            reply = await self._reply(scope, receive, patience)
            if callable(reply):
                reply = await self._pour(reply, exchange)
        if patience.cancelled_caught:
            reply = problem(408, "the request does not come", headers={"connection": "close"})
        if reply is not None:
            await exchange.answer(reply, REQUEST_TIMEOUT_S)

    async def _pour(self, stream: Any, exchange: Exchange) -> Answer | None:
        try:
            answer: Answer | None = await stream(exchange)
        except RefusedError as exc:
            return exc.answer
        except (trio.BrokenResourceError, trio.TooSlowError):
            return None
        except Exception as exc:
            if exchange.status:
                log.error("an answer ends early", error=describe(exc), exc_info=exc)
                return None
            return _failed(exc)
        return answer

    async def _reply(self, scope: Scope, receive: Receive, patience: trio.CancelScope) -> Any:
        """What is to be answered; the time for the request itself ends when it is whole."""
        who: Identity = scope["state"]["who"]
        endpoint = self._served.get(scope["method"])
        if endpoint is None:
            return refuse(who, Role.READ) or problem(405, "not done here", allow=sorted(self._served))
        refusal = refuse(who, endpoint.role)
        if refusal is not None:
            if endpoint.sign_in and scope["method"] == "GET" and who.challenge:
                return Answer(303, b"", headers={"location": endpoint.sign_in, "cache-control": "no-store"})
            return refusal
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            _check_accept(endpoint, headers)
            body = await _read_body(endpoint, headers, receive)
            patience.deadline = float("inf")  # whoever is asked has limits of his own
            if endpoint.told:
                scope["state"]["what"] = summarize(body, endpoint.told, is_form=JSON not in endpoint.consumes)
            return await endpoint.handle(
                Request(
                    method=scope["method"],
                    path=scope["path"],
                    query=scope["query_string"].decode("latin-1"),
                    body=body,
                    params={name: unquote(value) for name, value in scope["path_params"].items()},
                    who=who,
                    headers=headers,
                )
            )
        except RefusedError as exc:
            return exc.answer
        except trio.BrokenResourceError:
            return None
        except Exception as exc:  # noqa: BLE001 - the client must know, and the next one is to be served
            return _failed(exc)


def _failed(exc: Exception) -> Answer:
    log.error("a request failed", error=describe(exc), exc_info=exc)
    return problem(500, "it failed", detail=describe(exc))


def _check_accept(endpoint: Endpoint, headers: Mapping[str, str]) -> None:
    accept = headers.get("accept", "*/*")
    media = endpoint.produces
    offered = {*endpoint.also, media, f"{media.partition('/')[0]}/*", "*/*"} | (
        {"application/*"} if media == JSON else set()
    )
    wanted = {each.partition(";")[0].strip().lower() for each in accept.split(",") if not each.endswith("q=0")}
    if not offered & wanted and accept.strip() and PROBLEM not in wanted:
        raise RefusedError(problem(406, "there is no such form", detail=f"there is {media}"))


async def _read_body(endpoint: Endpoint, headers: Mapping[str, str], receive: Receive) -> bytes:
    """The body; one that nobody wants is read all the same, within the limit, so that the connection can be used again.

    Raises:
        RefusedError: it is too large, or of a kind that is not taken.
        trio.BrokenResourceError: the client went away.
    """
    too_large = problem(413, f"more than {endpoint.max_body} bytes", headers={"connection": "close"})
    if int(headers.get("content-length", "0")) > endpoint.max_body:
        raise RefusedError(too_large)
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise trio.BrokenResourceError
        body += message.get("body", b"")
        if len(body) > endpoint.max_body:
            raise RefusedError(too_large)
        if not message.get("more_body", False):
            break
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if body and kind and endpoint.body is not None and kind not in endpoint.consumes:
        told = f"{kind} is not taken here; {' or '.join(endpoint.consumes)} is"
        raise RefusedError(problem(415, "the body is of another kind", detail=told))
    return bytes(body)
