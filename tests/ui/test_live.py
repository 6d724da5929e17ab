"""The page as it goes on: sections that changed, and a sample of the records that pass by."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from appliance.api.roles import Identity
from appliance.model import LogBatch
from appliance.runtime.ledger import Account
from appliance.ui.live import ACCOUNT, LIFE_S, MAX_WATCHERS
from appliance.ui.page import SECTIONS
from appliance.ui.tap import PER_SECOND, Line, Tap
from tests.fakes import is_balanced

from .harness import OPERATOR, READER, Desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def batch(*rows: Any, path: str = "http") -> LogBatch:
    data = b"".join(row if isinstance(row, bytes) else json.dumps(row).encode() + b"\n" for row in rows)
    return LogBatch(path=path, source="zmq.a", data=data, count=len(rows))


class Reader:
    """A browser that follows; `leave` closes its connection."""

    def __init__(self) -> None:
        self.head: dict[str, Any] = {}
        self.body = b""
        self.is_ended = False
        self.leave = trio.Event()
        self._is_asked = False

    async def receive(self) -> Any:
        if not self._is_asked:
            self._is_asked = True
            return {"type": "http.request", "body": b""}
        await self.leave.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.head = message
        else:
            self.body += message["body"]
            self.is_ended = not message["more_body"]

    def take(self) -> list[tuple[str, Any]]:
        """Kind and data of what came since the last time."""
        blocks, self.body = self.body.decode().split("\n\n"), b""
        frames = [block.split("\n") for block in blocks if block and not block.startswith(":")]
        return [(kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for kind, data in frames]


@asynccontextmanager
async def following(desk: Desk, target: str, who: Identity = OPERATOR) -> AsyncIterator[Reader]:
    """Somebody who follows, from his first answer on."""
    path, _, query = target.partition("?")
    scope = {
        "type": "http", "method": "GET", "path": path, "query_string": query.encode(), "headers": [],
        "state": {"who": who},
    }  # fmt: skip
    reader = Reader()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.application, scope, reader.receive, reader.send)
        await wait_all_tasks_blocked()
        yield reader
        reader.leave.set()


async def put(desk: Desk, *batches: LogBatch) -> None:
    account = desk.ledger.account("zmq.a")
    for each in batches:
        account.received += each.count
        await desk.dispatcher.dispatch(each, account, patience_s=1.0)


async def test_what_changed_is_sent(desk: Desk, autojump_clock: MockClock) -> None:
    """At first everything, then the sections that are not as they were."""
    async with following(desk, "/ui/live?path=") as reader:
        assert dict(reader.head["headers"])[b"content-type"] == b"text/event-stream"
        ((kind, sections),) = reader.take()
        assert (kind, list(sections)) == ("sections", list(SECTIONS))
        await trio.sleep(10)
        assert reader.take() == []
        desk.documents["/v1/hooks"]["hooks"][0]["waiting"] = 54321
        await trio.sleep(3)
        ((_, sections),) = reader.take()
        assert list(sections) == ["hooks"]
        assert "54,321" in sections["hooks"]


async def test_what_one_sees_is_made_once(desk: Desk, autojump_clock: MockClock) -> None:
    """For all who see the same; whoever only reads sees something else."""
    async with following(desk, "/ui/live") as first, following(desk, "/ui/live") as second:
        asked = len(desk.asked)
        async with following(desk, "/ui/live", READER) as third:
            assert len(desk.asked) == 2 * asked
            shown = [dict(each.take())["sections"]["captures"] for each in (first, second, third)]
    assert shown[0] == shown[1] != shown[2]
    assert "button" not in shown[2]


async def test_records_are_shown_as_text(desk: Desk, autojump_clock: MockClock) -> None:
    """Of the logs that are wanted; with the time, and without what nobody filled in."""
    async with following(desk, "/ui/live?path=h*") as reader:
        reader.take()
        record = {"ts": 1_700_000_000.5, "uid": "C1", "host": "<b>", "none": None, "n": [1, "x"]}
        await put(desk, batch(record), batch({"ts": 1.0}, path="dns"), batch(b"{broken\n"))
        await trio.sleep(1.5)
        ((kind, told),) = reader.take()
    assert kind == "records"
    assert told["lines"] == (
        "<li><time>22:13:20</time> <b>http</b> <i>uid</i> C1  <i>host</i> &lt;b&gt;  "
        "<i>n</i> [1,&quot;x&quot;]  </li><li><b>http</b> {broken</li>"
    )
    assert is_balanced(*desk.ledger)


async def test_more_than_one_can_read_is_left_out(desk: Desk, autojump_clock: MockClock) -> None:
    """And told."""
    async with following(desk, "/ui/live?path=*") as reader:
        reader.take()
        await put(desk, *(batch(*({"n": n} for n in range(100))) for _ in range(10)))
        await trio.sleep(1.5)
        ((_, told),) = reader.take()
        assert told["lines"].count("<li>") == PER_SECOND
        assert told["skipped"] == 1000 - PER_SECOND
        await trio.sleep(1.5)
        await put(desk, batch({"n": 1}))
        await trio.sleep(1.5)
        assert reader.take()[0][1] == {"lines": "<li><time></time> <b>http</b> <i>n</i> 1  </li>", "skipped": 0}
    figures = desk.ledger.account(ACCOUNT).statistics()
    assert (figures.received, figures.delivered, figures.lost) == (1001, PER_SECOND + 1, 0)
    assert is_balanced(*desk.ledger)


async def test_without_the_script_it_is_text(desk: Desk, autojump_clock: MockClock) -> None:
    """A line for each record, with its log."""
    async with following(desk, "/ui/log?path=&contains=b") as reader:
        await put(desk, batch({"a": 1}, {"b": 2}))
        await trio.sleep(1.5)
        assert reader.body == b'http\t{"b": 2}\n'


async def test_there_is_a_bound(desk: Desk, autojump_clock: MockClock) -> None:
    """Of pages that are open; who leaves makes room."""
    async with trio.open_nursery() as nursery:
        leave = trio.Event()

        async def follow() -> None:
            async with following(desk, "/ui/live"):
                await leave.wait()

        for _ in range(MAX_WATCHERS):
            nursery.start_soon(follow)
        await wait_all_tasks_blocked()
        assert (await desk.ask("GET", "/ui/live")).status == 503
        leave.set()
    async with following(desk, "/ui/live") as reader:
        assert reader.head["status"] == 200


async def test_it_ends_so_that_one_is_asked_again(desk: Desk, autojump_clock: MockClock) -> None:
    """Who has lost his token since then is not let in."""
    async with following(desk, "/ui/live") as reader:
        await trio.sleep(LIFE_S - 5)
        assert not reader.is_ended
        await trio.sleep(10)
        assert reader.is_ended


ROWS = st.lists(st.text(st.sampled_from('abc{"'), max_size=6).map(str.encode), min_size=1, max_size=12)


@given(ROWS, st.text(st.sampled_from("abc"), max_size=2).map(str.encode))
def test_rows_are_chosen_by_what_they_contain(rows: list[bytes], contains: bytes) -> None:
    """Without taking the block apart."""
    tap = Tap(Account("x"), contains, clock=lambda: 0.0)
    data = b"".join(row + b"\n" for row in rows)
    assert tap.put_nowait(LogBatch(path="p", source="s", data=data, count=len(rows))) is None
    wanted = [row for row in rows if contains in row]
    assert tap.read() == ([Line("p", row) for row in wanted], 0)
    assert tap.read() == ([], 0)
    assert tap.account.dropped.get("unwanted", 0) == len(rows) - len(wanted)
    assert is_balanced(tap.account)
