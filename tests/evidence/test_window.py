"""Asking a table for packets over the endpoint, and looking at what it has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from appliance.api.evidence import PATH, EvidenceRoutes
from tests.api.harness import ask as ask_endpoints

from .harness import A, B, Clock, FakeStore, Running, S, Site, T, running, seconds, tcp

CONN = f"{A}:1234-{B}:80/tcp"


@pytest.fixture
def store(tmp_path: Path) -> FakeStore:
    """Five packets of one connection."""
    made = FakeStore(tmp_path / "recorder")
    for n in range(5):
        made.record(T - 20 * S + n, tcp(16, 10 * n))
    return made


async def ask(run: Running, method: str, target: str, body: Any = None) -> tuple[int, Any]:
    routes = EvidenceRoutes(lambda: {"notices": run.service.window})
    if not run.site.queue.is_closed:
        await run.until(lambda: run.service._state is not None)
    return await ask_endpoints(routes.endpoints(), method, target, body)


async def test_request_is_an_alarm_and_its_end_can_be_waited_for(tmp_path: Path, store: FakeStore) -> None:
    """Durable when it is answered; listed while it is pending, and afterwards."""
    site = Site(tmp_path, Clock(), store)
    async with running(site) as run:
        status, job = await ask(run, "POST", f"{PATH}/notices", {"conn": CONN, "after": "5s", "reason": "why"})
        assert (status, job["state"], job["query"]) == (200, "pending", "conn 10.0.0.1:1234 10.0.0.2:80/6")
        await run.wait_idle()
        status, document = await ask(run, "GET", PATH)
        (table,) = document["evidence"]
        assert (table["name"], table["recorder"], table["finished"]) == ("notices", "edge", [])
        assert [(each["id"], each["packets"]) for each in table["pending"]] == [(job["id"], 5)]
        found: list[Any] = []

        async def wait() -> None:
            found.append(await ask(run, "GET", f"{PATH}/notices/{job['id']}?wait=20"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            await run.go_to(T + 6 * S)
        ((status, done),) = found
        assert (status, done["state"], done["pcap"], done["packets"]) == (200, "finished", job["pcap"], 5)
        assert not done["complete"]
        assert done["missing"][0].startswith("before_oldest")
        _, document = await ask(run, "GET", f"{PATH}?limit=5")
        (table,) = document["evidence"]
        assert table["pending"] == []
        (note,) = table["finished"]
        assert (note["pcap"], note["packets"], note["missing"]) == (job["pcap"], 5, ["before_oldest"])
        assert (await ask(run, "GET", f"{PATH}?limit=0"))[1]["evidence"][0]["finished"] == []
    assert len(site.packets()) == 5
    (item,) = site.note()["items"]
    assert (item["kind"], item["source"], item["record"]["reason"]) == ("request", "api", "why")
    assert (site.account.received, site.account.delivered) == (1, 1)


@pytest.mark.parametrize(
    ("wanted", "query"),
    [
        ({"host": [A]}, "host 10.0.0.1"),
        ({"host": [A, B]}, "pair 10.0.0.1 10.0.0.2"),
        ({"conn": f"{A}-{B}"}, "conn 10.0.0.1 10.0.0.2"),
        ({"uid": "Cabc"}, "conn Cabc"),
        ({"community_id": "1:VTEtcERgfDY3RHu8snIhjtuyegw="}, "conn 1:VTEtcERgfDY3RHu8snIhjtuyegw="),
        ({"all": True, "at": "-10s", "before": "1m"}, "all"),
    ],
)
async def test_each_selection(tmp_path: Path, store: FakeStore, wanted: dict[str, Any], query: str) -> None:
    """As an alarm's."""
    site = Site(tmp_path, Clock(), store, before=seconds(1))
    async with running(site) as run:
        _, job = await ask(run, "POST", f"{PATH}/notices", wanted)
        assert job["query"] == query
        (pending,) = run.service._desk.jobs.values()
        assert pending.from_ns == (T - 70 * S if "at" in wanted else T - S)


@pytest.mark.parametrize(
    ("method", "target", "body", "status", "text"),
    [
        ("POST", f"{PATH}/notices", {}, 400, "which packets"),
        ("POST", f"{PATH}/notices", {"all": True, "uid": "C"}, 400, "one of"),
        ("POST", f"{PATH}/notices", {"conn": "x"}, 400, "no connection"),
        ("POST", f"{PATH}/notices", {"host": ["x"]}, 400, "appear"),
        ("POST", f"{PATH}/notices", {"uid": "C" * 65}, 400, "too long"),
        ("POST", f"{PATH}/notices", {"community_id": "x"}, 400, "Community"),
        ("POST", f"{PATH}/notices", {"all": True, "before": "x"}, 400, "duration"),
        ("POST", f"{PATH}/notices", {"all": True, "at": "x"}, 400, "time"),
        ("POST", f"{PATH}/notices", {"al": True}, 400, "al"),
        ("POST", f"{PATH}/other", {"all": True}, 404, "notices"),
        ("GET", f"{PATH}/notices/17", None, 404, "nobody knows"),
        ("GET", f"{PATH}/notices/x", None, 404, "document"),
        ("GET", f"{PATH}?limit=x", None, 400, "limit"),
        ("PUT", f"{PATH}/notices", {}, 405, "not done"),
    ],
)
async def test_mistakes_are_told(
    tmp_path: Path, store: FakeStore, method: str, target: str, body: Any, status: int, text: str
) -> None:
    """And nothing is pending."""
    site = Site(tmp_path, Clock(), store)
    async with running(site) as run:
        found, document = await ask(run, method, target, body)
        assert (found, text in str(document)) == (status, True), document
        assert run.service.statistics().pending == 0


async def test_limits_hold_for_requests(tmp_path: Path, store: FakeStore) -> None:
    """They are refused, and that is booked; a service that has ended takes none."""
    site = Site(tmp_path, Clock(), store, max_pending=1)
    async with running(site) as run:
        assert (await ask(run, "POST", f"{PATH}/notices", {"host": [A]}))[0] == 200
        status, document = await ask(run, "POST", f"{PATH}/notices", {"host": [B]})
        assert (status, document["detail"]) == (409, "refused: too_many_pending")
    assert site.account.dropped == {"too_many_pending": 1}
    assert (await ask(run, "POST", f"{PATH}/notices", {"host": [A]}))[0] == 409
