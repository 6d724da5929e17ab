"""The client as the house builds it, reloads it, stops it and shows it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import trio

from appliance.app import Appliance
from appliance.cli import main
from appliance.cli.tables import make_console, make_status
from appliance.config import load
from appliance.parts import prepare
from appliance.websocket.client import WebsocketClient
from appliance.zeek.values import Count

from .harness import House, data, event, run_house, serve, wait_until

HOOKS = '''
from __future__ import annotations


async def on_event(record, ctx):
    """Answer with the name of what came."""
    ctx.publish_event("t/answer", "My::answer", record["name"])
'''
CONF = """\
[appliance]
state_dir = "state"
python_path = ["."]
[api]
listen = ["unix:api.sock"]
[[websocket]]
name = "a"
url = "{a}"
topics = ["t/"]
[[websocket]]
name = "b"
url = "{b}"
topics = ["t/"]
[[hook]]
name = "answer"
on = ["event:My::question"]
from = ["websocket.a"]
via = ["websocket.b"]
queue = "block"
run = "ws_site_hooks:on_event"
[[sink]]
name = "again"
kind = "broker"
topic = "t/again"
on = ["event:My::question"]
from = ["websocket.a"]
via = ["websocket.b"]
"""


async def test_from_one_server_to_another(tmp_path: Path) -> None:
    """A hook and a sink take events of the one door and publish through the other; a reload leaves both connected."""
    (tmp_path / "ws_site_hooks.py").write_text(HOOKS)
    async with serve() as a, serve() as b:
        file = tmp_path / "site.toml"
        file.write_text(CONF.format(a=a.url, b=b.url))
        appliance = Appliance(prepare(load(file, environ={})), file, {})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(appliance.run)
            await appliance.ready.wait()
            one, other = await a.meet(), await b.meet()
            for server in (a, b):
                client = next(client for client in clients(appliance) if client.table.url == server.url)
                await wait_until(lambda client=client: bool(client.statistics().peers))  # type: ignore[misc]
            await one.send(data("My::question", Count(5)))
            assert {(await other.event())[:2] for _ in range(2)} == {
                ("t/answer", "My::answer"),
                ("t/again", "My::question"),
            }
            await other.send(data("My::question", Count(5)))
            await wait_until(lambda: appliance.ledger.account("websocket.b").dropped == {"unwanted": 1})
            file.write_text(file.read_text().replace('name = "b"\n', 'name = "b"\nqueue = 5\n'))
            appliance.reload()
            assert (await appliance.wait_reloaded()).ok
            assert [client.table.queue for client in clients(appliance)] == [8192, 5]
            file.write_text(file.read_text().replace(f'url = "{b.url}"\ntopics = ["t/"]', f'url = "{b.url}"'))
            nursery.start_soon(other.end)
            appliance.reload()
            assert (await appliance.wait_reloaded()).ok
            renewed = await b.meet()
            assert renewed.topics == []
            assert (len(a.conns), len(b.conns)) == (1, 2)
            for conn in (one, renewed):
                nursery.start_soon(conn.end)
            appliance.stop()
        assert {account.name for account in appliance.ledger if account.name.startswith("websocket.a")} == {
            "websocket.a",
            "websocket.a.messages",
            "websocket.a.out",
        }
        assert appliance.ledger.lost == 0


async def test_publish_and_subscribe_on_the_command_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Over a WebSocket as over anything else: what is asked for gets a connection of its own meanwhile."""
    async with serve() as server:
        file = tmp_path / "site.toml"
        file.write_text(
            '[appliance]\nstate_dir = "state"\n[api]\nlisten = ["unix:api.sock"]\n'
            f'[[websocket]]\nname = "w"\nurl = "{server.url}"\ntopics = ["t/"]\n'
        )
        appliance = Appliance(prepare(load(file, environ={})), file, {})
        codes: list[int] = []

        async def command(*arguments: str) -> None:
            given = [*arguments, "--socket", str(tmp_path / "state" / "api.sock")]
            codes.append(await trio.to_thread.run_sync(main, given))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(appliance.run)
            await appliance.ready.wait()
            first = await server.meet()
            account = appliance.ledger.account("websocket.w")
            await first.send(data())
            await wait_until(lambda: account.received == 1)
            async with trio.open_nursery() as commands:
                commands.start_soon(command, "subscribe", "u/", "--count", "1")
                second = await server.meet()
                assert second.topics == ["u/"]
                await second.send(data("My::asked", Count(5), b"\xff", topic="u/x"))
            assert await second.wait_closed() == 1000
            await second.close()
            await command("publish", "event", "t/x", "My::event", "5", "--via", "websocket.*")
            assert await first.event() == ("t/x", "My::event", [{"@data-type": "count", "data": 5}])
            await command("publish", "print", "t/x", "text")
            nursery.start_soon(first.end)
            appliance.stop()
    assert codes == [0, 0, 1]
    out, err = capfd.readouterr()
    assert "My::asked" in out
    assert "\\xff" in out
    assert "queued for 1 peer" in out
    assert "only events can go out through this door" in err


def clients(appliance: Appliance) -> list[WebsocketClient]:
    services = [line.service.name for line in appliance.status().services]
    assert [name for name in services if name.startswith("websocket.")] == ["websocket.a", "websocket.b"]
    assert appliance._assembly is not None
    units = appliance._assembly.units
    return [units[f"websocket.{name}"].service for name in "ab"]


async def test_status_shows_the_connection_or_why_there_is_none() -> None:
    """In one table with Broker's peers."""

    def shown(house: House) -> str:
        service = {"name": "websocket.zeek", "state": "running", "since_s": 1.0, "restarts": 0, "last_error": ""}
        line = {"service": service, "figures": msgspec.to_builtins(house.figures), "queue": None}
        status = {
            "name": "n", "version": "v", "pid": 1, "state": "running", "generation": 1, "uptime_s": 1.0,
            "state_dir": "/s", "files": (), "last_reload": None, "services": [line], "ledger": [], "lost": 0,
        }  # fmt: skip
        console = make_console()
        with console.capture() as capture:
            console.print(make_status(status))
        return capture.get()

    async with serve() as server:
        house = House(server.url)
        async with run_house(house, server):
            await server.meet()
            await house.wait_ready()
            house.publish("t/x", event())
            text = shown(house)
            assert f"{server.url}, Zeek 8.0.10" in text
            assert "zeek-websocket-0" in text
            await server.conns[0].close()
            await wait_until(lambda: house.figures.dialers[0].last_error != "")
            assert "the server has closed the connection" in shown(house)
            await server.meet()
