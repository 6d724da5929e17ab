"""What is told about recorders, peers and readiness, out of one status."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from appliance.api.schemas import PeerList, RecorderList
from appliance.api.services import ServiceRoutes
from appliance.api.table import Endpoint

from .harness import ask


class Named(msgspec.Struct, frozen=True):
    name: str
    state: str = "running"


class Line(msgspec.Struct, frozen=True):
    service: Named
    figures: Any = None


class Books(msgspec.Struct, frozen=True):
    account: Named


class Present(msgspec.Struct, frozen=True):
    state: str = "running"
    services: tuple[Line, ...] = ()
    ledger: tuple[Books, ...] = ()


PEER = {"address": "192.0.2.1:9999", "state": "up"}
SERVICES = (
    Line(Named("recorder.edge"), {"packets": 5}),
    Line(Named("recorder.core", "backing-off")),
    Line(Named("broker"), {"peers": [PEER], "dialers": [], "cluster": {"nodes": ["worker-1"]}}),
    Line(Named("zmq.bro"), {"peers": 3, "writers": 1}),
    Line(Named("websocket.manager", "backing-off")),
    Line(Named("sink.archive"), {"peers": [PEER]}),
)


def endpoints(present: Present) -> list[Endpoint]:
    return ServiceRoutes(lambda: present, kind=Present, service=Line, account=Books).endpoints()


async def test_recorders_are_told_with_their_state_and_figures() -> None:
    """Also one that has none at the moment; nothing else is a recorder."""
    status, document = await ask(endpoints(Present(services=SERVICES)), "GET", "/v1/recorders")
    assert status == 200
    assert document["recorders"] == [
        {"name": "edge", "state": "running", "figures": {"packets": 5}},
        {"name": "core", "state": "backing-off", "figures": None},
    ]
    msgspec.convert(document, RecorderList)


async def test_peers_are_told_by_the_service_that_has_them() -> None:
    """Those that only count have none to list; who connects with nobody is left out."""
    status, document = await ask(endpoints(Present(services=SERVICES)), "GET", "/v1/peers")
    assert status == 200
    found = {each.pop("service"): each for each in document["peers"]}
    assert found == {
        "broker": {"state": "running", "peers": [PEER], "dialers": [], "nodes": ["worker-1"]},
        "zmq.bro": {"state": "running", "peers": [], "dialers": [], "nodes": None},
        "websocket.manager": {"state": "backing-off", "peers": [], "dialers": [], "nodes": None},
    }
    msgspec.convert((await ask(endpoints(Present(services=SERVICES)), "GET", "/v1/peers"))[1], PeerList)


@pytest.mark.parametrize("path", ["/v1/recorders", "/v1/peers"])
async def test_nothing_is_a_list_as_well(path: str) -> None:
    """An appliance without any is no mistake."""
    status, document = await ask(endpoints(Present()), "GET", path)
    assert (status, list(document.values())) == (200, [[]])


@pytest.mark.parametrize(
    ("state", "code"), [("starting", 503), ("running", 200), ("reloading", 200), ("draining", 503)], ids=str
)
async def test_it_is_ready_while_it_serves(state: str, code: int) -> None:
    """And lives in every state."""
    assert (await ask(endpoints(Present(state=state)), "GET", "/readyz"))[0] == code
    assert (await ask(endpoints(Present(state=state)), "GET", "/healthz"))[0] == 200


async def test_pages_follow_each_other_without_gap_or_repetition() -> None:
    """By the cursor of the page before, to the last one."""
    present = Present(services=tuple(Line(Named(f"hook.{n:02}")) for n in range(25)))
    names, cursor = [], ""
    for _ in range(3):
        _, document = await ask(endpoints(present), "GET", f"/v1/services?limit=10&cursor={cursor}")
        names += [line["service"]["name"] for line in document["services"]]
        cursor = document["next"]
    assert cursor is None
    assert names == sorted({line.service.name for line in present.services})
    assert (await ask(endpoints(present), "GET", "/v1/services?cursor=!"))[0] == 400
