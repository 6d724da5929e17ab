"""``/v1/reload``: asking for a reload, and for what became of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock

from appliance.api.reload import ReloadRoutes
from appliance.runtime.reloads import ReloadOutcome, Reloads

from .harness import ask as ask_endpoints

OUTCOME = ReloadOutcome(number=1, ok=True, generation=2, at_ns=1, took_s=0.5)


async def ask(routes: ReloadRoutes, method: str, target: str) -> tuple[int, Any]:
    return await ask_endpoints(routes.endpoints(), method, target)


async def test_from_the_request_to_the_outcome(autojump_clock: MockClock) -> None:
    """The answer to a request has the number by which its outcome is known."""
    reloads = Reloads()
    routes = ReloadRoutes(reloads)
    assert await ask(routes, "GET", "/v1/reload") == (200, None)
    assert await ask(routes, "POST", "/v1/reload") == (202, {"number": 1, "state": "waiting", "outcome": None})
    assert reloads.begin() == 1
    assert await ask(routes, "GET", "/v1/reload/1?wait=3") == (200, {"number": 1, "state": "running", "outcome": None})
    assert trio.current_time() == 3.0

    async def end() -> None:
        await trio.sleep(1.0)
        reloads.end(OUTCOME)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(end)
        status, line = await ask(routes, "GET", "/v1/reload/1?wait=30")
    assert (status, line["state"], line["outcome"]) == (200, "done", msgspec.json.decode(msgspec.json.encode(OUTCOME)))
    assert trio.current_time() == 4.0
    assert await ask(routes, "GET", "/v1/reload") == (200, msgspec.json.decode(msgspec.json.encode(OUTCOME)))


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/v1/reload/1", 404),
        ("GET", "/v1/reload/x", 404),
        ("GET", "/v1/reload/²", 404),
        ("GET", "/v1/reload/99999999999999999999999", 404),
        ("GET", "/v1/reload/1/2", 404),
        ("GET", "/v1/reload/1?wait=x", 400),
        ("GET", "/v1/reload/1?wait=-1", 400),
        ("GET", "/v1/reload/1?wait=nan", 400),
        ("GET", "/v1/reload/1?wait=31", 400),
        ("DELETE", "/v1/reload", 405),
        ("POST", "/v1/reload/1", 405),
    ],
)
async def test_what_is_refused(method: str, target: str, status: int) -> None:
    """And asks for nothing."""
    reloads = Reloads()
    found, document = await ask(ReloadRoutes(reloads), method, target)
    assert (found, document["status"]) == (status, status)
    assert reloads.look(1) is None
