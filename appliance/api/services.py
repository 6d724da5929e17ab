"""What the appliance says about itself.

GET    /healthz        whether it lives: it answers
GET    /readyz         whether it serves, or starts, reloads or drains
GET    /v1/status      everything in one document
GET    /v1/services    the services, page by page
GET    /v1/ledger      the accounts, page by page
GET    /v1/recorders   the recorders
GET    /v1/peers       what is connected with us: Broker's peers, WebSocket servers, writers, nodes of the cluster
GET    /v1/cluster     who is up, as each service that is a node of a cluster sees it
GET    /v1/config      the configuration in force, without secrets
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import msgspec

from .exchange import Answer, Request, parameters, problem, to_json
from .paging import Page, page
from .roles import Role
from .schemas import ClusterViews, Configuration, Health, PeerList, RecorderList
from .table import Endpoint

__all__ = ["ServiceRoutes", "Status", "configuration_endpoint"]

_SERVING = ("running", "reloading")
_CONNECTED = ("broker", "websocket", "cluster", "node", "proxy", "zmq")


class Status(Protocol):
    """See `appliance.status`."""

    @property
    def state(self) -> str: ...

    @property
    def services(self) -> Sequence[Any]: ...

    @property
    def ledger(self) -> Sequence[Any]: ...


class ServiceRoutes:
    """See the module.

    Args:
        status: the present one.
        kind: its type.
        service, account: the types of the lines in it.
    """

    def __init__(self, status: Callable[[], Status], *, kind: type, service: type, account: type) -> None:
        self._status = status
        self._kind = kind
        following = ("next", str | None)
        self._services = msgspec.defstruct("ServicePage", [("services", list[service]), following])  # type: ignore[valid-type]
        self._ledger = msgspec.defstruct("LedgerPage", [("ledger", list[account]), following])  # type: ignore[valid-type]

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint(
                method="GET", path="/healthz", role=Role.OPEN, summary="Whether it lives",
                handle=self._health, reply=Health,
            ),
            Endpoint(
                method="GET", path="/readyz", role=Role.OPEN, summary="Whether it serves",
                handle=self._ready, reply=Health, refusals=(503,),
            ),
            Endpoint(
                method="GET", path="/v1/status", role=Role.READ, summary="The whole appliance at this moment",
                handle=self._all, reply=self._kind,
            ),
            Endpoint(
                method="GET", path="/v1/services", role=Role.READ, summary="The services",
                handle=self._list_services, query=Page, reply=self._services,
            ),
            Endpoint(
                method="GET", path="/v1/ledger", role=Role.READ, summary="The accounts of everything that passes",
                handle=self._list_accounts, query=Page, reply=self._ledger,
            ),
            Endpoint(
                method="GET", path="/v1/recorders", role=Role.READ, summary="The recorders",
                handle=self._list_recorders, reply=RecorderList,
            ),
            Endpoint(
                method="GET", path="/v1/peers", role=Role.READ, summary="Who is connected with us",
                handle=self._list_peers, reply=PeerList,
            ),
            Endpoint(
                method="GET", path="/v1/cluster", role=Role.READ, summary="The nodes of the cluster",
                handle=self._show_cluster, reply=ClusterViews,
            ),
        ]  # fmt: skip

    async def _health(self, request: Request) -> Answer:
        del request
        return Answer(200, b'{"status":"ok"}')

    async def _ready(self, request: Request) -> Answer:
        del request
        state = self._status().state
        if state not in _SERVING:
            return problem(503, "not ready", reason=state, headers={"retry-after": "1"})
        return to_json({"status": state})

    async def _all(self, request: Request) -> Answer:
        del request
        return to_json(self._status())

    async def _list_services(self, request: Request) -> Answer:
        chosen, following = page(self._status().services, lambda each: each.service.name, parameters(request, Page))
        return to_json({"services": chosen, "next": following})

    async def _list_accounts(self, request: Request) -> Answer:
        chosen, following = page(self._status().ledger, lambda each: each.account.name, parameters(request, Page))
        return to_json({"ledger": chosen, "next": following})

    async def _show_cluster(self, request: Request) -> Answer:
        del request
        seen = {each.service.name: getattr(each.figures, "cluster", None) for each in self._status().services}
        return to_json({"views": {name: view for name, view in seen.items() if view is not None}})

    async def _list_recorders(self, request: Request) -> Answer:
        del request
        found = [
            {"name": name, "state": line.service.state, "figures": line.figures}
            for kind, name, line in self._lines()
            if kind == "recorder"
        ]
        return to_json({"recorders": found})

    async def _list_peers(self, request: Request) -> Answer:
        del request
        found = []
        for kind, _, line in self._lines():
            if kind not in _CONNECTED:
                continue
            figures = msgspec.to_builtins(line.figures) or {}
            cluster = figures.get("cluster") or {}
            found.append(
                {
                    "service": line.service.name,
                    "state": line.service.state,
                    "peers": _several(figures.get("peers")),
                    "dialers": _several(figures.get("dialers")),
                    "nodes": figures.get("nodes", cluster.get("nodes")),
                }
            )
        return to_json({"peers": found})

    def _lines(self) -> Iterator[tuple[str, str, Any]]:
        for line in self._status().services:
            kind, _, name = line.service.name.partition(".")
            yield kind, name, line


def _several(found: Any) -> list[Any]:
    """Some services only count."""
    return found if isinstance(found, list) else []


def configuration_endpoint(show: Callable[[], dict[str, Any]]) -> Endpoint:
    """``GET /v1/config``.

    Args:
        show: the configuration in force, its secrets masked.
    """

    async def handle(request: Request) -> Answer:
        del request
        return to_json(show())

    return Endpoint(
        method="GET", path="/v1/config", role=Role.READ, summary="The configuration in force, without secrets",
        handle=handle, reply=Configuration,
    )  # fmt: skip
