"""``store`` against an appliance: what it prints, what it changes, and its exit codes; and the documents behind it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from appliance.app import Appliance
from appliance.cli import main, store
from appliance.cli.client import ask, stream
from appliance.config import load
from appliance.parts import prepare

TEXT = """
[appliance]
state_dir = "{}"
[api]
listen = ["unix:api.sock"]
[[store]]
name = "My::hosts"
[[store]]
name = "durable"
persistent = true
"""
STORE = "/v1/stores/My::hosts"


class Served:
    """An appliance, in a thread of its own."""

    def __init__(self, folder: Path) -> None:
        file = folder / "site.toml"
        file.write_text(TEXT.format(folder))
        self.path = folder / "api.sock"
        self._prepared = prepare(load(file, environ={}))
        self._file = file
        self._ready = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._serve,), daemon=True)
        self._thread.start()
        assert self._ready.wait(20)

    async def _serve(self) -> None:
        self.appliance = Appliance(self._prepared, self._file, {})
        self._token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.appliance.run)
            await self.appliance.ready.wait()
            self._ready.set()

    def wait_for_subscriber(self) -> None:
        """Wait until somebody watches."""
        trio.from_thread.run(self._wait_for_subscriber, trio_token=self._token)

    async def _wait_for_subscriber(self) -> None:
        with trio.fail_after(20):
            while not self._subscribers():  # noqa: ASYNC110 - figures are all that can be seen
                await trio.sleep(0.01)

    def _subscribers(self) -> int:
        return sum(getattr(line.figures, "subscribers", 0) for line in self.appliance.status().services)

    def stop(self) -> None:
        trio.from_thread.run_sync(self.appliance.stop, trio_token=self._token)
        self._thread.join(20)


@pytest.fixture
def served(tmp_path: Path, told: object) -> Iterator[Served]:
    server = Served(tmp_path)
    yield server
    server.stop()


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(served: Served, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``store …``; returns exit code, output and errors."""

    def call(*arguments: str) -> tuple[int, str, str]:
        code = main(["store", *arguments, "--socket", str(served.path)])
        told = capsys.readouterr()
        return code, told.out, told.err

    return call


def test_values_are_typed_and_come_back_as_they_were_typed(run: Run) -> None:
    """Each operation once, through the file of one store and the memory of another."""
    for name in ("My::hosts", "durable"):
        assert run("put", name, "10.0.0.1", "5", "--ttl", "10min") == (0, "", "")
        assert run("increment", name, "10.0.0.1", "2")[0] == 0
        assert run("decrement", name, "10.0.0.1", "2")[0] == 0
        assert run("decrement", name, "10.0.0.1")[0] == 0
        assert run("get", name, "10.0.0.1") == (0, "4\n", "")
        assert run("put-unique", name, "k", "first")[0] == 0
        assert run("put-unique", name, "k", "second")[0] == 1
        assert run("append", name, "k", "!")[0] == 0
        assert run("get", name, "k") == (0, '"first!"\n', "")
        assert run("insert", name, "set", "80/tcp")[0] == 0
        assert run("insert", name, "set", "81/tcp")[0] == 0
        assert run("remove", name, "set", "81/tcp")[0] == 0
        assert run("get", name, "set") == (0, "{80/tcp}\n", "")
        assert run("get", name, "set", "80/tcp") == (0, "T\n", "")
        assert run("insert", name, "table", "x", "-5")[0] == 0
        assert run("get", name, "table", "x") == (0, "-5\n", "")
        assert run("push", name, "vector", "1.5")[0] == 0
        assert run("push", name, "vector", "F")[0] == 0
        assert run("pop", name, "vector")[0] == 0
        assert run("get", name, "vector") == (0, "[1.5]\n", "")
        assert run("size", name) == (0, "5\n", "")
        assert run("exists", name, "k")[0] == 0
        assert run("erase", name, "k")[0] == 0
        assert run("erase", name, "k")[0] == 1
        assert run("exists", name, "k")[0] == 1
        assert set(run("keys", name)[1].splitlines()) == {"10.0.0.1", '"set"', '"table"', '"vector"'}
        assert '"vector" [1.5]' in run("entries", name)[1].splitlines()
        assert run("keys", name, "--limit", "1")[2] == "broappliance: 3 more, see --limit\n"
        assert run("clear", name)[0] == 0
        assert run("size", name)[1] == "0\n"


def test_a_store_of_many_pages_is_listed_completely(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of its keys, also with one that is too long for the target of a request; or as much as is wanted."""
    monkeypatch.setattr(store, "PAGE", 4)
    name, texts = "My::hosts", sorted([*(f"k{number:02}" for number in range(19)), "k05" + "x" * 30_000])
    for text in reversed(texts):
        assert run("put", name, text, "1")[0] == 0
    keys = sorted([f'"{text}"' for text in texts], key=lambda text: (len(text), text))
    assert run("keys", name) == (0, "".join(f"{key}\n" for key in keys), "")
    assert run("entries", name) == (0, "".join(f"{key} 1\n" for key in keys), "")
    document = json.loads(run("keys", name, "--json")[1])
    assert document["size"] == 20
    assert [entry["key"]["plain"] for entry in document["entries"]] == [key.strip('"') for key in keys]
    code, out, err = run("keys", name, "--limit", "10")
    assert (code, out.splitlines(), err) == (0, keys[:10], "broappliance: 10 more, see --limit\n")
    assert run("keys", name, "--limit", "20")[2] == ""


def test_pages_over_http(served: Served, run: Run) -> None:
    """What comes or goes between two pages makes others neither come twice nor be left out."""
    for number in (1, 2, 3, 5):
        run("put", "My::hosts", f"k{number}", "1")

    def page(query: str) -> tuple[list[str], str | None]:
        status, document = ask(served.path, "GET", f"{STORE}?values=false&limit=2{query}")
        assert status == 200
        return [entry["key"]["plain"] for entry in document["entries"]], document["next"]

    first, following = page("")
    run("erase", "My::hosts", "k1")
    run("erase", "My::hosts", "k2")
    run("put", "My::hosts", "k4", "1")
    second, last = page(f"&cursor={following}")
    third, end = page(f"&cursor={last}")
    assert (first, second, third, end) == (["k1", "k2"], ["k3", "k4"], ["k5"], None)
    status, document = ask(served.path, "GET", f"{STORE}?cursor=x")
    assert (status, document["where"]) == (400, "cursor")


def test_what_cannot_be_done_is_said(run: Run) -> None:
    """In a line, with an exit code that tells a mistake from a failure."""
    run("put", "durable", "k", "text")
    assert run("get", "durable", "other")[:2] == (1, "")
    assert "has no other" in run("get", "durable", "other")[2]
    code, _, err = run("increment", "durable", "k", "1")
    assert (code, err) == (
        1,
        "broappliance: it was not done: a count cannot be added to or taken from a string\n",
    )
    assert run("size", "missing")[2] == "broappliance: it was not done: there is no store 'missing'\n"
    assert run("put", "durable", "k", "count:x") == (2, "", "broappliance: value: 'x' is no count, which has 64 bits\n")
    assert run("put", "durable", "k", "1", "--ttl", "soon")[0] == 2
    assert run("watch", "missing")[2].startswith("broappliance: there is no such store")


def test_the_list_tells_what_there_is(run: Run, served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    """Roles, states and numbers."""

    def status(*arguments: str) -> str:
        main(arguments)
        return " ".join(capsys.readouterr().out.split())

    run("put", "durable", "k", "1")
    code, out, _ = run("list")
    assert code == 0
    assert "durable" in out
    stores = {store["name"]: store for store in json.loads(run("list", "--json")[1])["stores"]}
    assert list(stores) == ["My::hosts", "durable"]
    assert "master, open, 1 entries" in status("status", "--socket", str(served.path))
    assert [stores["durable"][key] for key in ("role", "state", "entries")] == ["master", "open", 1]


def test_watching_tells_each_change(run: Run, served: Served) -> None:
    """What it was before and what it is now, in the order in which it happened."""
    changes = stream(served.path, f"{STORE}/watch")
    found: list[Any] = []

    def watch() -> None:
        found.extend(next(changes)[1] for _ in range(4))

    thread = threading.Thread(target=watch)
    thread.start()
    served.wait_for_subscriber()
    run("put", "My::hosts", "k", "5")
    run("put", "durable", "other", "5")
    run("put", "My::hosts", "k", "6")
    run("erase", "My::hosts", "k")
    run("clear", "My::hosts")
    thread.join(20)
    changes.close()  # type: ignore[attr-defined]  # a generator
    assert [each["change"] for each in found] == ["insert", "update", "erase", "clear"]
    assert found[1]["value"] == {"typed": {"@data-type": "count", "data": 6}, "plain": 6}
    assert found[1]["old"]["plain"] == 5
    assert found[0]["key"]["plain"] == "k"
    assert {each["store"] for each in found} == {"My::hosts"}


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ([], None),
        ({}, "operation"),
        ({"operation": "fly"}, "operation"),
        ({"operation": "put", "key": "k"}, "value"),
        ({"operation": "get", "key": "k", "more": 1}, "more"),
        ({"operation": "put", "key": "k", "value": {"@data-type": "count", "data": -1}}, "value"),
        ({"operation": "put", "key": "k", "value": 1, "ttl": 0}, "ttl"),
        ({"operation": "size", "timeout": "1s"}, "timeout"),
        ({"operation": "keys", "limit": -1}, "limit"),
        ({"operation": "keys", "cursor": 5}, "cursor"),
        ({"operation": "keys", "cursor": "x"}, "cursor"),
    ],
)
def test_requests_that_make_no_sense(served: Served, body: Any, where: str | None) -> None:
    """What is wrong is told by its name, and nothing is done."""
    status, document = ask(served.path, "POST", STORE, body)
    assert (status, document.get("where") or None) == (400, where)


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", f"{STORE}?limit=-1", 400),
        ("GET", f"{STORE}?limit=10001", 400),
        ("GET", f"{STORE}?values=maybe", 400),
        ("GET", f"{STORE}?other=1", 400),
        ("GET", "/v1/stores/missing", 404),
        ("GET", f"{STORE}/watch/more", 404),
        ("DELETE", STORE, 405),
        ("GET", f"{STORE}?limit=0&values=false", 200),
    ],
)
def test_documents_that_there_are(served: Served, method: str, target: str, status: int) -> None:
    """And those that there are not."""
    assert ask(served.path, method, target)[0] == status
