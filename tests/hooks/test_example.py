"""The hook that conf/ comes with."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from structlog.typing import EventDict

from appliance.config import load
from appliance.hooks.runner import HookRunner
from appliance.parts import prepare
from appliance.runtime.ledger import Account
from appliance.runtime.outlet import Outlet
from appliance.runtime.queue import ItemQueue
from appliance.zeek.messages import Event, decode_message
from appliance.zeek.values import Address, Count, Timespan, Vector
from tests.fakes import FakePublisher

from .test_events import events

CONF = Path(__file__).parents[2] / "conf" / "events.toml"
HOST = Address.parse("192.0.2.9")


async def test_example_answers_an_event(monkeypatch: pytest.MonkeyPatch, told: list[EventDict]) -> None:
    """With what `where` lets through, on the topic that the file allows."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    prepared = prepare(load(CONF, environ={}))
    (hook,) = prepared.config.hook
    peers, outlet = FakePublisher(), Outlet()
    outlet.open("broker", peers)
    queue = ItemQueue(Account("hook.logins"), policy="block", max_records=100, max_bytes=1 << 20)
    runner = HookRunner(
        hook, target=prepared.targets["hook.logins"], where=prepared.filters["hook.logins"], queue=queue, outlet=outlet
    )
    queue.put_nowait(events((HOST, Count(2)), (HOST, Count(3)), name="Site::login_failures"))
    runner.stop()
    await runner.run()
    (topic, message), *rest = peers.published
    assert decode_message(message) == Event("Site::block", Vector([HOST, Timespan(30 * 60 * 10**9)]))
    assert (prepared.config.broker.publish, rest) == ((topic,), [])
    assert (queue.account.delivered, queue.account.dropped) == (1, {"where": 1})
    assert [(entry["host"], entry["told"]) for entry in told] == [("192.0.2.9", 1)]
