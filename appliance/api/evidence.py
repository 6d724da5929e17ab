"""``/v1/evidence``: packets for alarms, and for whoever asks.

GET    /v1/evidence            every table: what is pending, and its newest files; ``?limit=N``
GET    /v1/evidence/NAME/ID    what became of a request; ``?wait=SECONDS`` until it is finished, if it is not
POST   /v1/evidence/NAME       ask for packets: ``{"conn": "10.0.0.1:1025-192.0.2.7:443/tcp", "before": "5m"}``
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Protocol

import msgspec

from appliance.errors import ApplianceError, ConfigError

from .exchange import Answer, Request, parameters, problem, to_json
from .roles import Role
from .schemas import EvidenceList, Job
from .table import Endpoint

__all__ = ["PATH", "EvidenceRoutes", "Window"]

PATH = "/v1/evidence"
LISTED = 20


class EvidenceQuery(msgspec.Struct, frozen=True):
    limit: Annotated[int, msgspec.Meta(ge=0, le=999_999_999)] = LISTED


class EvidenceWait(msgspec.Struct, frozen=True):
    wait: Annotated[int, msgspec.Meta(ge=0, le=999_999_999, description="seconds until it is finished")] = 0


class Window(Protocol):
    """See `appliance.evidence.window`."""

    async def overview(self, limit: int) -> dict[str, Any]: ...

    async def request(self, body: bytes) -> dict[str, Any]: ...

    async def wait(self, number: int, timeout_s: float) -> dict[str, Any] | None: ...


class EvidenceRoutes:
    """See the module.

    Args:
        windows: of the tables that run, by name.
    """

    def __init__(self, windows: Callable[[], Mapping[str, Window]]) -> None:
        self._windows = windows

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint(
                method="GET", path=PATH, role=Role.READ, summary="What is pending, and the newest files",
                handle=self._list, query=EvidenceQuery, reply=EvidenceList, refusals=(409,),
            ),
            Endpoint(
                method="GET", path=f"{PATH}/{{name}}/{{id}}", role=Role.READ, summary="What became of a request",
                handle=self._show, query=EvidenceWait, reply=Job, refusals=(404, 409),
            ),
            Endpoint(
                method="POST", path=f"{PATH}/{{name}}", role=Role.OPERATE, summary="Ask for packets",
                handle=self._ask, body=dict[str, Any], reply=Job, refusals=(404, 409),
                told=("from", "to", "host", "conn", "uid"),
            ),
        ]  # fmt: skip

    async def _list(self, request: Request) -> Answer:
        limit = parameters(request, EvidenceQuery).limit
        try:
            found = [await window.overview(limit) for _, window in sorted(self._windows().items())]
        except (ApplianceError, OSError) as exc:
            return problem(409, "it cannot be done now", detail=str(exc))
        return to_json({"evidence": found})

    async def _show(self, request: Request) -> Answer:
        wait_s = parameters(request, EvidenceWait).wait
        window, number = self._windows().get(request.params["name"]), request.params["id"]
        if window is None or not (number.isascii() and number.isdecimal()):
            return problem(404, "no such document")
        found = await window.wait(int(number[:18]), wait_s)
        return to_json(found) if found is not None else problem(404, "nobody knows of this request (any more)")

    async def _ask(self, request: Request) -> Answer:
        windows, name = self._windows(), request.params["name"]
        if name not in windows:
            told = ", ".join(sorted(windows)) or "none"
            return problem(404, f"there is no evidence {name!r} that runs; there is: {told}")
        try:
            return to_json(await windows[name].request(request.body))
        except ConfigError as exc:
            return problem(400, "this makes no sense", detail=exc.message, where=exc.key)
        except (ApplianceError, OSError) as exc:
            return problem(409, "it cannot be done now", detail=str(exc))
