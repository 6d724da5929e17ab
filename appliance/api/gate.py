"""What every request passes before it is routed: who sends it, and whether a browser was made to send it by a page of
somebody else. Changes are written into the log, with who and what.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any

import structlog
import trio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from appliance.runtime.logs import Throttle

from .application import REQUEST_TIMEOUT_S
from .exchange import Answer, Exchange, problem
from .roles import Identity

__all__ = ["Gate"]

log = structlog.get_logger("audit")

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")
_SENSITIVE = re.compile(r"/v1/extract/pcap|/v1/captures/[^/]+/[^/]+/files/.+|/ui/extract")
"""Read with GET, and worth a line all the same: packets."""


class Gate:
    """An ASGI application around another one.

    Args:
        app: is asked what passes.
        hosts: names under which the endpoint is reached, besides addresses and ``localhost``: a page whose name was
            made to point here by its owner is not among them.
        identify: tells from ``scope["state"]`` and the headers who asks, or refuses him.
        counted: called for each request.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: frozenset[str],
        identify: Callable[[Mapping[str, Any], Mapping[str, str]], Identity | Answer],
        counted: Callable[[], None],
    ) -> None:
        self._app, self._hosts, self._identify, self._counted = app, hosts, identify, counted
        self._strangers = Throttle()

    async def __call__(self, scope: Scope, receive: Receive, send: Send, *_: Any) -> None:
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
            return
        self._counted()
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._check_origin(scope, headers)
        who = self._identify(scope["state"], headers) if refusal is None else refusal
        if isinstance(who, Answer):
            await _send(Exchange(receive, send), who)
            return
        scope["state"]["who"] = who
        # Routed as it came: an encoded slash is no slash.
        scope["path"] = scope["raw_path"].decode("ascii")
        if scope["method"] in _SAFE and not _SENSITIVE.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
            return
        is_told = False

        async def tell(message: Message) -> None:
            nonlocal is_told
            if not is_told:  # before the client knows
                is_told = True
                self._tell(who, scope, message.get("status", 0))
            await send(message)

        try:
            await self._app(scope, receive, tell)
        finally:
            if not is_told:
                self._tell(who, scope, 0)

    def _tell(self, who: Identity, scope: Scope, status: int) -> None:
        path = scope["path"] + (f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else "")
        more: dict[str, Any] = {"what": scope["state"]["what"]} if scope["state"].get("what") else {}
        if not who.name:  # nobody who may anything: what he tries must not fill the log
            held = self._strangers.admit(who.address.rpartition(":")[0])
            if held is None:
                return
            more["more"] = held
        log.info("request", who=who.name or "nobody", address=who.address, role=who.role.word, method=scope["method"],
                 path=path[:500], status=status, **more)  # fmt: skip

    def _check_origin(self, scope: Scope, headers: Mapping[str, str]) -> Answer | None:
        host = headers.get("host", "")
        found = _AUTHORITY.fullmatch(host)
        if found is None or not self._is_ours(found[1].lower()):
            detail = f"{host[:100]!r} is no name of this endpoint; [api] hosts can name it"
            return problem(421, "somebody else is meant", detail=detail)
        origin = headers.get("origin")
        site = headers.get("sec-fetch-site", "none")
        if origin is not None and origin.lower() != f"{scope['scheme']}://{host.lower()}":
            return problem(403, "not from another page", detail=f"the origin is {origin[:100]!r}", reason="origin")
        is_visit = scope["method"] == "GET" and headers.get("sec-fetch-mode") == "navigate" and _is_page(scope)
        if site not in ("none", "same-origin") and not is_visit:
            return problem(403, "not from another page", detail=f"the page is {site[:20]!r}", reason="origin")
        return None

    def _is_ours(self, name: str) -> bool:
        if name == "localhost" or name in self._hosts:
            return True
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return True


def _is_page(scope: Scope) -> bool:
    """Whether a link from anywhere may lead there: what it shows is for the person alone, and nothing is done."""
    return bytes(scope["raw_path"]) in (b"/ui", b"/ui/", b"/ui/login")


async def _send(exchange: Exchange, answer: Answer) -> None:
    try:
        await exchange.answer(answer, REQUEST_TIMEOUT_S)
    except trio.TooSlowError:
        return
