"""``/v1/evidence``: packets for alarms, and for whoever asks.

GET    /v1/evidence            every table: what is pending, and its newest files; ``?limit=N``
GET    /v1/evidence/NAME/ID    what became of a request; ``?wait=SECONDS`` until it is finished, if it is not
POST   /v1/evidence/NAME       ask for packets: ``{"conn": "10.0.0.1:1025-192.0.2.7:443/tcp", "before": "5m"}``
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol
from urllib.parse import parse_qs

import msgspec

from appliance.errors import ApplianceError, ConfigError

from .exchange import Answer, Request, problem

__all__ = ["PATH", "EvidenceRoutes", "Window"]

PATH = "/v1/evidence"
LISTED = 20


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

    @staticmethod
    def owns(path: str) -> bool:
        """Whether `answer` is for this path."""
        return path == PATH or path.startswith(f"{PATH}/")

    async def answer(self, request: Request) -> Answer:
        """Do what is asked for."""
        try:
            return await self._answer(request)
        except ConfigError as exc:
            return problem(400, "this makes no sense", detail=exc.message, where=exc.key)
        except (ApplianceError, OSError) as exc:
            return problem(409, "it cannot be done now", detail=str(exc))

    async def _answer(self, request: Request) -> Answer:
        windows = self._windows()
        match [request.method, *request.path.removeprefix(PATH).split("/")[1:]]:
            case ["GET"]:
                limit = _number(request.query, "limit", LISTED)
                return _json({"evidence": [await window.overview(limit) for _, window in sorted(windows.items())]})
            case ["GET", name, number] if name in windows and number.isascii() and number.isdecimal():
                wait_s = _number(request.query, "wait", 0)
                found = await windows[name].wait(int(number[:18]), wait_s)
                return _json(found) if found is not None else problem(404, "nobody knows of this request (any more)")
            case ["POST", name] if name in windows:
                return _json(await windows[name].request(request.body))
            case [_] | [_, _] | [_, _, _] if request.method not in ("GET", "POST"):
                return problem(405, "not done here", allow=("GET", "POST"))
            case ["POST", name]:
                told = ", ".join(sorted(windows)) or "none"
                return problem(404, f"there is no evidence {name!r} that runs; there is: {told}")
        return problem(404, "no such document")


def _json(document: dict[str, Any]) -> Answer:
    return Answer(200, msgspec.json.encode(document))


def _number(query: str, key: str, default: int) -> int:
    try:
        given = parse_qs(query, max_num_fields=8).get(key, [str(default)])
    except ValueError as exc:
        raise ConfigError(str(exc)) from None
    if len(given) > 1 or not given[0].isascii() or not given[0].isdecimal() or len(given[0]) > 9:
        raise ConfigError("is no number", key=key)
    return int(given[0])
