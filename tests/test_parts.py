"""From a file to services: what is checked before anything is opened, and what is built."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from appliance.api.exchange import Request
from appliance.config import load
from appliance.errors import ConfigError
from appliance.model import Print
from appliance.parts import Parts, Prepared, prepare, tables_of
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.ledger import Ledger
from appliance.runtime.outlet import Outlet
from appliance.sinks.broker import BrokerSink
from tests.fakes import FakePublisher

HOOKS = "async def later(record): ...\ndef now(record): ...\n"


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Prepared]:
    """Load and prepare a file; hooks come from the module `parts_hooks` beside it."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delitem(sys.modules, "parts_hooks", raising=False)
    (tmp_path / "parts_hooks.py").write_text(HOOKS)

    def run(text: str) -> Prepared:
        file = tmp_path / "site.toml"
        file.write_text(f'[appliance]\nstate_dir = "{tmp_path}"\npython_path = ["."]\n{text}')
        return prepare(load(file, environ={}))

    return run


def hook(name: str, run: str, more: str = "") -> str:
    return f'[[hook]]\nname = "{name}"\non = ["log:*"]\nrun = "parts_hooks:{run}"\n{more}\n'


def test_hooks_and_expressions_are_made_by_name(prepared: Callable[[str], Prepared]) -> None:
    """Ready to be called when the services are built."""
    found = prepared(hook("a", "now", 'where = "x > 1"') + hook("b", "later"))
    assert {name: target.is_async for name, target in found.targets.items()} == {"hook.a": False, "hook.b": True}
    assert found.filters["hook.a"].matches({"x": 2})


@pytest.mark.parametrize(
    ("run", "more", "told"),
    [
        ("nothing", "", "hook[0].run: module 'parts_hooks' has no 'nothing'"),
        ("later", 'isolation = "thread"', "hook[0].run: 'parts_hooks:later' is asynchronous"),
        ("now", 'isolation = "task"', "hook[0].run: 'parts_hooks:now' is not asynchronous"),
        ("now", 'where = "x >"', "hook[0].where: syntax error"),
        ("now", 'where = "1 / 0 > x"', "hook[0].where: arithmetic error: division by zero"),
    ],
)
def test_mistake_has_its_key_and_line(prepared: Callable[[str], Prepared], run: str, more: str, told: str) -> None:
    """What only importing or compiling can tell."""
    with pytest.RaisesGroup(pytest.RaisesExc(ConfigError, check=lambda exc: told in str(exc) and exc.line > 3)):
        prepared(hook("a", run, more))


def test_command_is_made_if_its_program_is_there(prepared: Callable[[str], Prepared]) -> None:
    """An asynchronous callable like others; a missing program is a mistake with its line."""
    text = '[[hook]]\nname = "c"\non = ["log:*"]\ncommand = ["%s", "{name}"]\n'
    assert prepared(text % "sh").targets["hook.c"].is_async
    told = "hook[0].command: there is no program 'nonexistent-x' on the PATH"
    with pytest.RaisesGroup(pytest.RaisesExc(ConfigError, check=lambda exc: told in str(exc) and exc.line > 3)):
        prepared(text % "nonexistent-x")


def test_all_mistakes_are_told_at_once(prepared: Callable[[str], Prepared]) -> None:
    """Of every hook, its callable and its expression."""
    with pytest.raises(ExceptionGroup) as caught:
        prepared(hook("a", "nothing", 'where = ")"') + hook("b", "nothing"))
    assert [error.key for error in caught.value.exceptions if isinstance(error, ConfigError)] == [
        "hook[0].run", "hook[0].where", "hook[1].run",
    ]  # fmt: skip


def test_certificates_are_looked_at_before_anything_starts(prepared: Callable[[str], Prepared]) -> None:
    """Only if there is an endpoint that needs them."""
    mutual = '[broker]\ntls = "mutual"\ncertificate = "no.pem"\nkey = "no.key"\nca = "no.pem"\n'
    with pytest.RaisesGroup(
        pytest.RaisesExc(ConfigError, check=lambda exc: exc.key == "broker.certificate" and exc.line == 6)
    ):
        prepared(mutual + 'listen = ["127.0.0.1:0"]\n')
    prepared(mutual)


@pytest.mark.parametrize(
    ("text", "is_optional"), [("", True), ('[api]\nlisten = ["unix:/run/broappliance/api.sock"]\n', False)]
)
async def test_endpoint_that_nobody_asked_for_is_optional(
    prepared: Callable[[str], Prepared], text: str, is_optional: bool
) -> None:
    """Written in the file it is not, even with the default's value."""
    found = prepared(text)
    parts = Parts(ledger=Ledger(), dispatcher=Dispatcher())
    unit = parts.make("api", found.config.api, found)
    assert unit.service._is_optional is is_optional


async def test_every_table_becomes_a_unit_with_an_account(prepared: Callable[[str], Prepared]) -> None:
    """Consumers come first, with their queues; nothing is opened."""
    found = prepared(
        hook("h", "now")
        + '[[sink]]\nname = "s"\non = ["log:*"]\n'
        + '[[zmq]]\nname = "z"\nbind = ["tcp://127.0.0.1:0"]\n'
        + '[[capture]]\nname = "c"\nconn_type = "udp"\naddress = ["127.0.0.1", 0]\n[[capture.handler]]\nname = "r"\n'
    )
    ledger = Ledger()
    parts = Parts(ledger=ledger, dispatcher=Dispatcher())
    units = [parts.make(key, table, found) for key, table in tables_of(found.config).items()]
    assert [(unit.key, unit.kind, unit.queue is not None) for unit in units] == [
        ("sink.s", "sink", True),
        ("hook.h", "hook", True),
        ("api", "api", False),
        ("zmq.z", "zmq", False),
        ("capture.c", "capture", False),
    ]
    assert [account.name for account in ledger] == [
            "sink.s", "hook.h", "zmq.z", "capture.c", "handler.c/r", "capture.c.segments",
        ]  # fmt: skip


async def test_whoever_publishes_has_the_same_way_out(prepared: Callable[[str], Prepared]) -> None:
    """A sink of kind broker and the local endpoint use the outlet behind which a reload may put another endpoint."""
    found = prepared('[broker]\nlisten = ["127.0.0.1:0"]\n[[sink]]\nname = "s"\non = ["log:*"]\nkind = "broker"\n')
    outlet = Outlet()
    parts = Parts(ledger=Ledger(), dispatcher=Dispatcher(), outlet=outlet)
    tables = tables_of(found.config)
    sink, api = (parts.make(key, tables[key], found) for key in ("sink.s", "api"))
    assert isinstance(sink.service, BrokerSink)
    assert sink.queue is not None
    publisher = FakePublisher()
    outlet.open("broker", publisher)
    async with trio.open_nursery() as nursery:
        await nursery.start(sink.service.run)
        sink.queue.put_nowait(Print(topic="a", source="broker", text=b"x", received_ns=1))
        sink.service.stop()
    assert [topic for topic, _ in publisher.published] == ["zeek/logs/"]
    publish = next(each for each in api.service.endpoints if (each.method, each.path) == ("POST", "/v1/events"))
    answer = await publish.handle(Request("POST", "/v1/events", body=b'{"topic":"t","print":"x"}'))
    assert answer.status == 202
