"""The endpoint as the house builds it, stops it and shows it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import trio

from appliance.assembly import Assembly
from appliance.broker.endpoint import BrokerEndpoint
from appliance.cli.tables import make_console, make_status
from appliance.config import load
from appliance.parts import Parts, prepare, tables_of
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.ledger import Ledger
from appliance.runtime.outlet import Outlet
from appliance.runtime.supervisor import Supervisor

from .harness import House, event, run_houses, wait_until
from .raw import meet

CONF = """\
[appliance]
state_dir = "state"
[api]
listen = ["unix:api.sock"]
[cluster]
zeek_version = "8.1"
[broker]
listen = ["127.0.0.1:0"]
tls = "off"
"""


async def test_the_house_runs_it_as_the_way_out(tmp_path: Path) -> None:
    """As long as it runs, consumers publish through it; a change of Zeek's version reaches it as well."""
    file = tmp_path / "site.toml"
    file.write_text(CONF)
    prepared = prepare(load(file, environ={}))
    peering = tables_of(prepared.config)["broker"]
    outlet, ledger = Outlet(), Ledger()
    async with trio.open_nursery() as nursery:
        parts = Parts(ledger=ledger, dispatcher=Dispatcher(), outlet=outlet)
        assembly = Assembly(supervisor=Supervisor(nursery), dispatcher=Dispatcher(), parts=parts)
        await assembly.start(prepared)
        endpoint = assembly.units["broker"].service
        assert isinstance(endpoint, BrokerEndpoint)
        assert outlet.doors == {"broker": endpoint}
        assert endpoint.peering == peering
        file.write_text(CONF.replace("8.1", "8.2"))
        await assembly.change(prepared, prepare(load(file, environ={})))
        assert endpoint.peering.zeek_version == "8.2"
        assert assembly.units["broker"].service is endpoint
        await assembly.drain(5.0)
        assert outlet.doors == {}
    assert [a.name for a in ledger if a.name.startswith("broker")] == ["broker", "broker.messages", "broker.out"]


async def test_status_shows_peers_and_who_is_not_there(tmp_path: Path) -> None:
    """A line for each peer, and for an address that does not answer why."""
    house = House(tmp_path, connect=("127.0.0.1:1",))
    async with run_houses(house), meet(house, prefixes=("a", "b")) as raw:
        house.publish("a", event("E::e"))
        await wait_until(lambda: house.outgoing.delivered == 1 and bool(house.figures.dialers[0].last_error))
        figures = msgspec.to_builtins(house.figures)
        ledger = [{"account": msgspec.to_builtins(house.outgoing), "rates": {"last_10s": 0.0}}]
    service = {"name": "broker", "state": "running", "since_s": 1.0, "restarts": 0, "last_error": ""}
    status = {
        "name": "n", "state": "running", "generation": 1, "uptime_s": 1.0, "pid": 1, "version": "1", "files": [],
        "services": [{"service": service, "figures": figures, "queue": None}], "ledger": ledger, "last_reload": None,
    }  # fmt: skip
    console = make_console()
    with console.capture() as capture:
        console.print(make_status(status))
    text = capture.get()
    assert "127.0.0.1:1 waiting: cannot connect: Connection refused" in text or "127.0.0.1:1 connecting" in text
    [line] = [line for line in text.splitlines() if raw.name in line]
    assert line.split()[2:] == ["in", "0", "s", "2", "0", "1", "0", "0"]
