"""``/v1/stores``: what is in data stores, and changes to it.

    GET    /v1/stores                every store with its figures
    GET    /v1/stores/{name}         its entries by the page: ``?limit=N&cursor=…``, ``&values=false`` for its keys only
    POST   /v1/stores/{name}         one operation: ``{"operation": "put", "key": …, "value": …}``
    GET    /v1/stores/{name}/watch   what happens to it, as server-sent events

Keys and values are written as the arguments of ``POST /v1/events``, and come with their types and plain. Besides them
an operation may have ``index``, ``ttl`` and ``timeout`` in seconds, ``limit`` and ``cursor``. Pages are in the order of
the keys as Broker writes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import msgspec

from appliance.errors import LocalProtocolError, RemoteProtocolError
from appliance.runtime.stores import (
    CHANGES,
    TIMEOUT_S,
    Operation,
    StoreError,
    StoreFailure,
    StoreReply,
    StoreRequest,
    Stores,
)
from appliance.zeek.binary import decode, encode
from appliance.zeek.json_text import load

from .exchange import Answer, Exchange, Reply, Request, parameters, problem, to_json
from .paging import Page, cursor_of, read_cursor
from .publish import BadInputError, read_value
from .roles import Role
from .schemas import StoreAnswer, StoreList, StoreOperation
from .subscribers import EVENT_STREAM, Subscribers, both_forms
from .table import Endpoint, require

__all__ = ["PATH", "StoreRoutes"]

PATH = "/v1/stores"
_DEFAULT_LIMIT = 1000
_MOST = 10_000
"""Entries in one answer, which is made in the loop."""
_LONGEST_S = 600.0
_MEMBERS = frozenset({"operation", "key", "value", "index", "ttl", "timeout", "limit", "cursor"})
_NEEDS: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(("size", "keys", "entries", "clear"), frozenset()),
    **dict.fromkeys(("get", "exists", "erase", "pop"), frozenset({"key"})),
    "index": frozenset({"key", "index"}),
    **dict.fromkeys(
        ("put", "put_unique", "increment", "decrement", "append", "insert", "remove", "push"),
        frozenset({"key", "value"}),
    ),
}
"""Operation → what must be there."""
_STATUS = {
    StoreFailure.NO_STORE: 404,
    StoreFailure.TYPE_CLASH: 409,
    StoreFailure.BAD_VALUE: 400,
    StoreFailure.TOO_LARGE: 413,
    StoreFailure.TIMEOUT: 504,
}
"""Others: 503."""


class EntriesQuery(Page, frozen=True):
    limit: Annotated[int, msgspec.Meta(ge=0, le=_MOST)] = _DEFAULT_LIMIT
    values: bool = True


class StoreRoutes:
    """See the module.

    Args:
        stores: those that there are.
        figures: of those that run, by name.
        subscribers: serves those who watch.
    """

    def __init__(
        self, stores: Stores, figures: Callable[[], Mapping[str, Any]], subscribers: Subscribers | None = None
    ) -> None:
        self._stores, self._figures, self._subscribers = stores, figures, subscribers

    def endpoints(self) -> list[Endpoint]:
        one = f"{PATH}/{{name}}"
        refusals = (404, 409, 503, 504)
        return [
            Endpoint(
                method="GET", path=PATH, role=Role.READ, summary="Every data store with its figures",
                handle=self._list, reply=StoreList,
            ),
            Endpoint(
                method="GET", path=one, role=Role.READ, summary="Entries of a store",
                handle=self._entries, query=EntriesQuery, reply=StoreAnswer, refusals=refusals,
            ),
            Endpoint(
                method="POST", path=one, role=Role.READ,
                summary="One operation; those that change something need the role operate",
                handle=self._operate, body=StoreOperation, reply=StoreAnswer, refusals=refusals,
                told=("operation", "key", "index"),
            ),
            Endpoint(
                method="GET", path=f"{one}/watch", role=Role.READ, summary="What happens to a store",
                handle=self._watch, produces=EVENT_STREAM, refusals=(404, 503), is_stream=True,
            ),
        ]  # fmt: skip

    async def _list(self, request: Request) -> Answer:
        del request
        figures = self._figures()
        return to_json({"stores": [figures[name] for name in self._stores if name in figures]})

    async def _entries(self, request: Request) -> Answer:
        return await self._perform(request, lambda: _listing(request))

    async def _operate(self, request: Request) -> Answer:
        return await self._perform(request, lambda: _parse(request.body))

    async def _watch(self, request: Request) -> Reply:
        name, subscribers = request.params["name"], self._subscribers
        if name not in self._stores:
            return problem(404, "there is no such store", reason=str(StoreFailure.NO_STORE))
        if subscribers is None:
            return problem(404, "nobody can watch")

        async def follow(exchange: Exchange) -> None:
            await subscribers.serve_store(exchange, name)

        return subscribers.refuse_watcher() or follow

    async def _perform(self, asked: Request, parse: Callable[[], StoreRequest]) -> Answer:
        try:
            request = parse()
            if request.operation in CHANGES:
                require(asked, Role.OPERATE)
            reply = await self._stores.perform(asked.params["name"], request)
            return to_json(_document(request, reply))
        except BadInputError as exc:
            return problem(400, "this makes no sense", where=exc.where, detail=exc.what)
        except StoreError as exc:
            status = _STATUS.get(exc.reason, 503)
            return problem(status, "it was not done", reason=str(exc.reason), detail=exc.text)
        except (RemoteProtocolError, LocalProtocolError) as exc:
            detail = f"an entry cannot be shown: {exc.message}"
            return problem(500, "it was not done", reason=str(StoreFailure.BAD_VALUE), detail=detail)


def _listing(request: Request) -> StoreRequest:
    wanted = parameters(request, EntriesQuery)
    return StoreRequest(
        operation="entries" if wanted.values else "keys",
        limit=wanted.limit,
        after=read_cursor(wanted.cursor, bytes, b""),
    )


def _parse(body: bytes) -> StoreRequest:
    try:
        tree = load(body)
    except RemoteProtocolError as exc:
        raise BadInputError("", exc.message) from exc
    if not isinstance(tree, dict):
        raise BadInputError("", "expected an object")
    if unknown := sorted(tree.keys() - _MEMBERS):
        raise BadInputError(unknown[0], f"unknown; there are {', '.join(sorted(_MEMBERS))}")
    operation = tree.get("operation")
    if not isinstance(operation, str) or operation not in _NEEDS:
        raise BadInputError("operation", f"expected one of {', '.join(_NEEDS)}")
    if missing := sorted(_NEEDS[operation] - tree.keys()):
        raise BadInputError(missing[0], "missing")
    ttl = _seconds(tree, "ttl", 1e9)
    limit = tree.get("limit", _DEFAULT_LIMIT)
    if type(limit) is not int or not 0 <= limit <= _MOST:
        raise BadInputError("limit", f"expected a number up to {_MOST}")
    cursor = tree.get("cursor") or ""
    if not isinstance(cursor, str):
        raise BadInputError("cursor", "expected the next of an answer")
    known: Operation = operation  # type: ignore[assignment]  # one of `_NEEDS`
    return StoreRequest(
        operation=known,
        key=_raw(tree, "key"),
        value=_raw(tree, "value"),
        index=_raw(tree, "index"),
        expiry_ns=None if ttl is None else round(ttl * 1e9),
        limit=limit,
        timeout_s=_seconds(tree, "timeout", _LONGEST_S) or TIMEOUT_S,
        after=read_cursor(cursor, bytes, b""),
    )


def _raw(tree: dict[str, Any], name: str) -> bytes:
    if name not in tree:
        return b""
    try:
        return encode(read_value(tree[name], name), is_canonical=True)
    except LocalProtocolError as exc:
        raise BadInputError(name, exc.message) from exc


def _seconds(tree: dict[str, Any], name: str, most: float) -> float | None:
    seconds = tree.get(name)
    if seconds is None:
        return None
    if type(seconds) not in (int, float) or not 0 < seconds <= most:
        raise BadInputError(name, f"expected seconds, more than 0 and at most {most:g}")
    return float(seconds)


def _document(request: StoreRequest, reply: StoreReply) -> dict[str, Any]:
    operation = request.operation
    if operation in CHANGES or operation == "exists":
        return {"has_effect": reply.has_effect}
    if operation == "size":
        return {"size": reply.size}
    if operation in ("get", "index"):
        value = None if reply.value is None else both_forms(decode(reply.value))
        return {"has_value": reply.value is not None, "value": value, "expiry_ns": reply.expiry_ns}
    entries = []
    for entry in reply.entries:
        shown: dict[str, Any] = {"key": both_forms(decode(entry.key))}
        if operation == "entries":
            shown |= {"value": both_forms(decode(entry.value)), "expiry_ns": entry.expiry_ns}
        entries.append(shown)
    following = None if reply.next_after is None else cursor_of(reply.next_after)
    return {"size": reply.size, "entries": entries, "next": following}
