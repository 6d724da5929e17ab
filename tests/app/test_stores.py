"""Data stores in a whole appliance: hooks that hear of them and use them, reloads, and its end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from appliance.app import Appliance
from appliance.config import load
from appliance.model import LogBatch
from appliance.parts import prepare
from appliance.runtime.stores import StoreError, StoreFailure, StoreReply, StoreRequest
from appliance.zeek.address import Address
from appliance.zeek.binary import decode, encode
from appliance.zeek.values import Count, Value

STORES = '[[store]]\nname = "in"\n[[store]]\nname = "out"\n{}\n'
HOOK = '[[hook]]\nname = "h"\non = ["store:in"]\nattempts = 1\n'


class Running:
    """An appliance, and what a test does with its stores."""

    def __init__(self, appliance: Appliance, files: Any) -> None:
        self.appliance, self._files = appliance, files

    async def ask(self, store: str, operation: Any, *, key: Value = None, value: Value = None) -> StoreReply:
        request = StoreRequest(operation=operation, key=encode(key), value=encode(value))
        return await self.appliance.stores.perform(store, request)

    async def get(self, store: str, key: Value) -> Value:
        raw = (await self.ask(store, "get", key=key)).value
        return None if raw is None else decode(raw)

    async def wait_for(self, store: str, key: Value) -> Value:
        with trio.fail_after(30):
            while (found := await self.get(store, key)) is None:  # noqa: ASYNC110 - a store wakes nobody in a test
                await trio.sleep(0.01)
        return found

    async def reload(self, text: str) -> tuple[str, ...]:
        self._files.write(text)
        self.appliance.reload()
        outcome = await self.appliance.wait_reloaded()
        return outcome.errors

    def figures(self, name: str) -> Any:
        return next(line.figures for line in self.appliance.status().services if line.service.name == name)


@pytest.fixture
def start(files: Any, told: object) -> Callable[[str], Any]:
    @asynccontextmanager
    async def started(text: str) -> AsyncIterator[Running]:
        async with trio.open_nursery() as nursery:
            appliance = Appliance(files.read(text), files.path, {})
            nursery.start_soon(appliance.run)
            await appliance.ready.wait()
            yield Running(appliance, files)
            appliance.stop()
        assert not [line.account for line in appliance.status().ledger if line.account.imbalance]

    return started


@pytest.mark.parametrize(
    ("run", "isolation"), [("work", "process"), ("work", "thread"), ("work_async", "task")]
)  # fmt: skip
async def test_hooks_hear_of_a_store_and_use_another(start: Any, run: str, isolation: str) -> None:
    """In every isolation the same: everything that can be asked is done and answered."""
    hook = f'{HOOK}run = "tests.app.store_hooks:{run}"\nisolation = "{isolation}"\nwhere = "value == 7"\n'
    async with start(STORES.format("") + hook) as running:
        await running.ask("in", "put", key=b"k", value=Count(6))
        await running.ask("in", "put", key=b"k", value=Count(7))
        size = await running.wait_for("out", b"size")
        figures = running.figures("hook.h")
        assert await running.get("out", b"first") == b"k"
        told = await running.get("out", b"told")
        assert isinstance(told, bytes)
        if isolation == "task":
            assert (size, told) == (Count(2), b"update in ")
        else:
            assert size == Count(8)
            assert told.startswith(b"store 'out': ")
            with trio.fail_after(10):
                while not figures.done:
                    await trio.sleep(0.01)
                    figures = running.figures("hook.h")
        assert figures.errors == 0


async def test_a_store_survives_its_process(start: Any, tmp_path: Path) -> None:
    """What is durable is there again; what is not is not."""
    text = STORES.format("persistent = true")
    async with start(text) as running:
        await running.ask("out", "put", key=b"k", value=Count(1))
        await running.ask("in", "put", key=b"k", value=Count(1))
    assert (tmp_path / "state/stores/out.sqlite").exists()
    async with start(text) as running:
        assert await running.get("out", b"k") == Count(1)
        assert await running.get("in", b"k") is None


async def test_a_reload_changes_lifetimes_while_a_store_runs(start: Any) -> None:
    """Its content stays; one that goes elsewhere or changes its role begins anew."""
    async with start(STORES.format("")) as running:
        await running.ask("out", "put", key=b"k", value=Count(1))
        assert await running.reload(STORES.format('expire_after = "1h"')) == ()
        assert await running.get("out", b"k") == Count(1)
        await running.ask("out", "put", key=b"j", value=Count(1))
        assert (await running.ask("out", "get", key=b"j")).expiry_ns is not None
        assert (await running.ask("out", "get", key=b"k")).expiry_ns is None
        assert await running.reload(STORES.format("persistent = true")) == ()
        assert await running.get("out", b"k") is None


async def test_a_store_that_cannot_open_refuses_the_reload(start: Any, tmp_path: Path) -> None:
    """And the one that ran before runs on, with its content if that was on the disk."""
    file = tmp_path / "file"
    file.write_bytes(b"no database" * 100)
    text = STORES.format("persistent = true")
    async with start(text) as running:
        await running.ask("out", "put", key=b"k", value=Count(1))
        errors = await running.reload(STORES.format(f'path = "{file}"'))
        assert len(errors) == 1
        assert "file is not a database" in errors[0]
        assert await running.get("out", b"k") == Count(1)
        assert await running.reload("") == ()
        with pytest.raises(StoreError) as caught:
            await running.get("out", b"k")
        assert caught.value.reason is StoreFailure.NO_STORE


async def test_what_nobody_wants_is_booked(start: Any) -> None:
    """Changes without a hook cost nothing and are no loss."""
    async with start(STORES.format("")) as running:
        for number in range(3):
            await running.ask("in", "put", key=Count(number), value=None)
        await running.ask("in", "clear")
        await trio.testing.wait_all_tasks_blocked()
        accounts = {line.account.name: line.account for line in running.appliance.status().ledger}
        assert accounts["store.in"].dropped == {"unwanted": 4}
        assert accounts["store.in"].lost == 0


async def test_the_example_runs(tmp_path: Path, told: list[Any]) -> None:
    """A connection that nobody answers is counted, and whoever has too many is told."""
    conf = Path(__file__).parents[2] / "conf"
    text = (conf / "stores.toml").read_text().replace("127.0.0.1:9999", "127.0.0.1:0")
    file = tmp_path / "site.toml"
    head = f'[api]\nlisten = []\n[appliance]\nstate_dir = "{tmp_path}/state"\n'
    file.write_text(text.replace('["python"]', f'["{conf}/python"]').replace("[appliance]\n", head))
    async with trio.open_nursery() as nursery:
        appliance = Appliance(prepare(load(file, environ={})), file, {})
        nursery.start_soon(appliance.run)
        await appliance.ready.wait()
        host = encode(Address.parse("10.0.0.1"))
        put = StoreRequest(operation="put", key=host, value=encode(Count(99)))
        await appliance.stores.perform("scanners", put)
        rows = b'{"id.orig_h":"10.0.0.1","conn_state":"SF"}\n{"id.orig_h":"10.0.0.1","conn_state":"S0"}\n'
        batch = LogBatch(path="conn", source="zmq.x", data=rows, count=2)
        account = appliance.ledger.account("zmq.x")
        account.received += 2
        await appliance.dispatcher.dispatch(batch, account, patience_s=5.0)
        with trio.fail_after(30):
            while not (found := [line for line in told if line["event"] == "a scanner"]):  # noqa: ASYNC110 - a list
                await trio.sleep(0.01)
        assert [(line["host"], line["attempts"]) for line in found] == [("10.0.0.1", 100)]
        appliance.stop()
