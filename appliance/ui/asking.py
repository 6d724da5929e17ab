"""The API's own handlers, asked without a socket: what the page shows and does is what the API tells and lets do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from appliance.api.exchange import Answer, RefusedError, Reply, Request
from appliance.api.roles import Identity
from appliance.api.table import Endpoint, refuse

__all__ = ["Asking", "explain"]


class Asking:
    """See the module.

    Args:
        endpoints: the API's table, without the page.
    """

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self._endpoints = {(each.method, each.path): each for each in endpoints}

    def may(self, who: Identity, method: str, path: str) -> bool:
        """Whether there is such an endpoint, and it is for him."""
        endpoint = self._endpoints.get((method, path))
        return endpoint is not None and who.role >= endpoint.role

    async def get(self, who: Identity, path: str, query: str = "") -> Any:
        """A document; None: it cannot be had now."""
        if not self.may(who, "GET", path):
            return None
        answer = await self.ask(who, "GET", path, query=query)
        if not isinstance(answer, Answer) or answer.status >= 300:
            return None
        return msgspec.json.decode(answer.body)

    async def ask(
        self,
        who: Identity,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        query: str = "",
        body: object = None,
    ) -> Reply:
        """What a handler says.

        Args:
            path: as it is in the table, with names in braces.
            params: what those stand for.
            body: of JSON values; None: there is none.
        """
        endpoint = self._endpoints[method, path]
        if (refusal := refuse(who, endpoint.role)) is not None:
            return refusal
        sent = b"" if body is None else json.dumps(body).encode()
        try:
            return await endpoint.handle(
                Request(method=method, path=path, query=query, body=sent, params=params or {}, who=who)
            )
        except RefusedError as exc:
            return exc.answer


def explain(answer: Answer) -> str:
    """A refusal in one line."""
    document = msgspec.json.decode(answer.body)
    words = [document["title"], document.get("detail") or ""]
    words += [
        f"{each['key'] or 'it'}: {each['message']}" + (f" ({each['hint']})" if each.get("hint") else "")
        for each in document.get("mistakes", ())
    ]
    return ": ".join(filter(None, words))
