"""The table of endpoints: what there is, who may use it, and in which form. Routes and OpenAPI are made from it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import msgspec

from .exchange import JSON, MAX_BODY, Answer, RefusedError, Reply, Request, problem
from .roles import Identity, Role

__all__ = ["Endpoint", "by_path", "documents", "refuse", "require"]


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One method of one path."""

    method: str
    path: str
    """With names in braces for what differs: ``/v1/stores/{name}``; ``{name:path}`` takes slashes, too."""
    role: Role
    summary: str
    handle: Callable[[Request], Awaitable[Reply]]
    query: type | None = None
    """Its parameters, a struct."""
    body: type | None = None
    """What the request brings; None: nothing."""
    reply: Any = None
    """The type of the document that is answered; None: no JSON."""
    status: int = 200
    """Of success."""
    refusals: Sequence[int] = ()
    """Codes that only this one has besides: refusals, and other kinds of success. `appliance.api.openapi` has those
    that all have.
    """
    consumes: Sequence[str] = (JSON,)
    produces: str = JSON
    also: Sequence[str] = ()
    """Other forms of the answer, for who asks for them."""
    told: Sequence[str] = ()
    """Members of the body that say what is changed: the log has them beside who changed it."""
    max_body: int = MAX_BODY
    sign_in: str = ""
    """Of what is for browsers: where one is sent that has shown no token. It is not in the description."""
    is_stream: bool = False
    """Without an end of its own, or long: HEAD is not served."""


def by_path(endpoints: Sequence[Endpoint]) -> dict[str, dict[str, Endpoint]]:
    """Methods by path, in the order of the table.

    Raises:
        ValueError: one is there twice.
    """
    found: dict[str, dict[str, Endpoint]] = {}
    for each in endpoints:
        methods = found.setdefault(each.path, {})
        if each.method in methods:
            raise ValueError(f"{each.method} {each.path} is there twice")
        methods[each.method] = each
    return found


def documents(endpoints: Sequence[Endpoint]) -> Iterator[Any]:
    """Every type that a schema is needed for."""
    for each in endpoints:
        yield from (kind for kind in (each.query, each.body, each.reply) if kind is not None)


def refuse(who: Identity, role: Role) -> Answer | None:
    """Why somebody may not do what needs this role; None if he may."""
    if who.role >= role:
        return None
    if who.challenge:
        return problem(401, "a token is needed", headers={"www-authenticate": 'Bearer realm="broappliance"'})
    has = f"may {who.role.word}" if who.role else "has no rights here"
    detail = f"this needs the right to {role.word}; {who.name or 'a stranger'} {has}"
    return problem(403, "not for you", detail=detail, reason="role")


def require(request: Request, role: Role) -> None:
    """For what only some uses of an endpoint need.

    Raises:
        RefusedError: whoever asks may not.
    """
    if (refusal := refuse(request.who, role)) is not None:
        raise RefusedError(refusal)
