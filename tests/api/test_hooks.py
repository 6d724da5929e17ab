"""``/v1/hooks``: what it answers, what it refuses, and that nothing is done twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from appliance.api import hooks
from appliance.api.hooks import HookLine, HookRoutes
from appliance.model import LogBatch
from appliance.runtime.durable import DurableQueue
from appliance.runtime.journal.desk import Desk
from tests.api.harness import ask
from tests.fakes import batch
from tests.runtime.journal.harness import ERROR, Bench, bench


class Counter:
    """Routes over a real journal, and a hook whose queue it is."""

    def __init__(self, bench: Bench, queue: DurableQueue) -> None:
        self.bench, self.queue = bench, queue
        self.running = {"h": HookLine("running", {"calls": 3}, queue.statistics())}
        self.desk: Desk | None = bench.desk
        self.routes = HookRoutes(self.open, lambda: self.running)

    async def open(self) -> Desk | None:
        return self.desk

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and document."""
        return await ask(self.routes.endpoints(), method, path, body)

    async def dead(self) -> list[int]:
        """Ids of dead letters."""
        return [each["id"] for each in (await self.ask("GET", "/v1/hooks/dead"))[1]["letters"]]

    async def bury(self, count: int) -> None:
        """Let so many records fail for good."""
        with trio.fail_after(20):
            while count:
                async with self.queue.lease(count) as parcel:
                    for _ in range(parcel.count):
                        parcel.fail(ERROR)
                        count -= 1


@pytest.fixture
async def counter(tmp_path: Path) -> AsyncIterator[Counter]:
    async with bench(tmp_path) as b:
        queue = await b.queue(attempts=1)
        data = b"".join(b'{"n":%d}\n' % n for n in range(4))
        queue.put_nowait(LogBatch(path="conn", source="zmq.a", data=data, count=4))
        made = Counter(b, queue)
        await made.bury(3)
        yield made


async def test_hooks_are_listed_those_that_nobody_runs_too(counter: Counter) -> None:
    """With queue and figures, or without."""
    gone = await counter.bench.queue("gone")
    gone.put_nowait(batch(0, 2))
    counter.running["h"] = HookLine("running", {"calls": 3}, counter.queue.statistics())
    status, document = await counter.ask("GET", "/v1/hooks")
    assert status == 200
    one, other = document["hooks"]
    assert (one["name"], one["state"], one["waiting"], one["retrying"], one["dead"]) == ("h", "running", 1, 0, 3)
    assert (one["figures"], one["queue"]["durable"]) == ({"calls": 3}, True)
    assert other == {
        "name": "gone", "state": "absent", "waiting": 2, "retrying": 0, "dead": 0, "queue": None, "figures": None
    }  # fmt: skip
    assert document["dead_letters"]["dead"] == 3


async def test_dead_letters_are_listed_page_by_page(counter: Counter) -> None:
    """In the order of their ids, of one hook or of all."""
    _, page = await counter.ask("GET", "/v1/hooks/dead?limit=2")
    first, second = page["letters"]
    assert (first["hook"], first["attempts"], first["reason"]) == ("h", 1, "hook_error")
    _, rest = await counter.ask("GET", f"/v1/hooks/dead?limit=2&after={second['id']}&hook=h")
    assert [first["id"], second["id"], *(each["id"] for each in rest["letters"])] == await counter.dead()
    assert (await counter.ask("GET", "/v1/hooks/dead?hook=x"))[1] == {"letters": [], "next": None}


async def test_a_dead_letter_is_shown_in_full(counter: Counter) -> None:
    """With its record; what is none is not found."""
    number = (await counter.dead())[0]
    status, letter = await counter.ask("GET", f"/v1/hooks/dead/{number}")
    assert status == 200
    assert (letter["record"], letter["trace"], len(letter["history"])) == ({"n": 0}, "Traceback\n", 1)
    for name in ("999", "x", "9" * 30, "", "-1"):
        assert (await counter.ask("GET", f"/v1/hooks/dead/{name}"))[0] == 404


async def test_a_letter_is_tried_again_once(counter: Counter) -> None:
    """However often, and by how many at once, it is asked for."""
    number = (await counter.dead())[0]
    counts: list[int] = []

    async def ask() -> None:
        counts.append((await counter.ask("POST", "/v1/hooks/retry", {"ids": [number, number]}))[1]["count"])

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask)
    assert sorted(counts) == [0, 0, 0, 0, 1]
    assert counter.queue.statistics().records == 2
    assert number not in await counter.dead()
    assert (await counter.ask("POST", "/v1/hooks/purge", {"ids": [number]}))[1] == {"count": 0}
    await counter.bury(2)
    assert len(await counter.dead()) == 4


async def test_letters_are_chosen_by_hook_or_all(counter: Counter) -> None:
    """And are deleted the same way as they are tried again."""
    assert (await counter.ask("POST", "/v1/hooks/retry", {"hook": "x"}))[1] == {"count": 0}
    assert (await counter.ask("POST", "/v1/hooks/retry", {"hook": "h"}))[1] == {"count": 3}
    await counter.bury(4)
    assert (await counter.ask("POST", "/v1/hooks/purge", {"all": True}))[1] == {"count": 4}
    assert counter.bench.figures().queued == 0


async def test_what_waits_is_deleted_only_if_nobody_works_on_it(counter: Counter) -> None:
    """A hook that runs has it in its hands."""
    order = {"hook": "h", "waiting": True}
    status, problem = await counter.ask("POST", "/v1/hooks/purge", order)
    assert (status, "runs" in problem["detail"]) == (409, True)
    counter.queue.retire("reload")
    assert (await counter.ask("POST", "/v1/hooks/purge", order))[1] == {"count": 1}
    assert counter.bench.figures().dropped["purged"] == 1


@pytest.mark.parametrize(
    "body",
    [
        None, b"{", b"[]", b"[" * 100_000, {}, {"all": True, "hook": "h"}, {"ids": ["1"]}, {"ids": [0]}, {"x": 1},
        {"ids": [1 << 63]}, {"ids": list(range(1, 10_002))}, {"all": True, "waiting": True},
        {"hook": "h", "waiting": True, "ids": [1]},
    ],
    ids=str,
)  # fmt: skip
async def test_a_choice_that_makes_no_sense_is_refused(counter: Counter, body: Any) -> None:
    """Nothing is deleted by mistake."""
    assert (await counter.ask("POST", "/v1/hooks/purge", body))[0] == 400
    assert len(await counter.dead()) == 3


async def test_waiting_records_are_no_dead_letters_to_try_again(counter: Counter) -> None:
    """That word is for deleting."""
    assert (await counter.ask("POST", "/v1/hooks/retry", {"hook": "h", "waiting": True}))[0] == 400


@pytest.mark.parametrize("query", ["limit=1001", "limit=-1", "limit=x", f"after={1 << 63}", "limit=²", "ids=3"])
async def test_a_query_that_makes_no_sense_is_refused(counter: Counter, query: str) -> None:
    """Instead of being taken for another one."""
    assert (await counter.ask("GET", f"/v1/hooks/dead?{query}"))[0] == 400


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/hooks", 405), ("DELETE", "/v1/hooks/dead", 405), ("DELETE", "/v1/hooks/dead/1", 405),
        ("GET", "/v1/hooks/retry", 405), ("GET", "/v1/hooks/h", 404), ("POST", "/v1/hooks/retry/1", 404),
    ],
)  # fmt: skip
async def test_other_methods_and_paths_are_refused(counter: Counter, method: str, path: str, status: int) -> None:
    """As everywhere."""
    assert (await counter.ask(method, path))[0] == status


async def test_without_a_journal_nothing_is_there(counter: Counter) -> None:
    """Which is no error."""
    counter.desk = None
    assert (await counter.ask("GET", "/v1/hooks/dead"))[1] == {"letters": [], "next": None}
    assert (await counter.ask("POST", "/v1/hooks/retry", {"all": True}))[1] == {"count": 0}
    assert (await counter.ask("GET", "/v1/hooks/dead/1"))[0] == 404
    _, document = await counter.ask("GET", "/v1/hooks")
    assert document["dead_letters"] is None


async def test_a_journal_that_cannot_be_used_is_told(counter: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken, closed, silent, or wrong."""
    failures = {409: OSError(5, "input/output error"), 500: RuntimeError("oops")}
    for status, failure in failures.items():

        async def fail(failure: Exception = failure) -> Desk | None:
            raise failure

        monkeypatch.setattr(counter.routes, "_desk", fail)
        assert (await counter.ask("GET", "/v1/hooks"))[0] == status
    monkeypatch.setattr(counter.routes, "_desk", trio.sleep_forever)
    monkeypatch.setattr(hooks, "PATIENCE_S", 0.01)
    assert (await counter.ask("GET", "/v1/hooks"))[0] == 504
