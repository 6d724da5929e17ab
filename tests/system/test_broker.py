"""Programs that are each other's Broker peers."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from appliance.wire.node_messages import data_frame
from appliance.zeek.messages import Event, encode_message
from appliance.zeek.values import Count
from tests.broker.raw import make_id, shake

from .harness import BASE, Program, open_program, wait_for

pytestmark = pytest.mark.slow

SINK = """\
[[sink]]
name = "events"
on = ["event:My::*"]
path = "events.log"
flush_every = "50ms"
"""


def broker(*lines: str) -> str:
    return "[broker]\n" + "\n".join(lines) + "\n"


def ports(program: Program) -> str:
    """The address that it tells in its file."""
    return (program.state / "broker.ports").read_text().strip()


def numbers(program: Program) -> list[int]:
    """The first argument of each event in its file."""
    [file] = [f for f in program.state.iterdir() if f.name.startswith("events.log")]
    return [json.loads(line)["args"][0] for line in file.read_text().splitlines()]


def test_an_event_from_the_command_line_arrives_in_a_file(tmp_path: Path) -> None:
    """Through two programs and an encrypted connection; both end in order, with a farewell."""
    for name in "ab":
        (tmp_path / name).mkdir()
    listen = broker('listen = ["127.0.0.1:0"]', 'subscribe = ["t/"]')
    with open_program(tmp_path / "a", BASE + listen + SINK) as a:
        connect = broker(f'connect = ["{ports(a)}"]')
        with open_program(tmp_path / "b", BASE + connect) as b:
            wait_for(lambda: a.figures("broker")["peers"] and b.figures("broker")["peers"])
            command = [sys.executable, "-m", "appliance", "publish", "event", "--socket", str(b.state / "api.sock")]
            done = subprocess.run([*command, "t/x", "My::event", "7"], capture_output=True, text=True, timeout=30)
            assert done.returncode == 0, done.stderr
            wait_for(lambda: a.account("sink.events")["delivered"] == 1)
            assert b.stop() == 0
        wait_for(lambda: not a.figures("broker")["peers"])
        assert a.stop() == 0
        assert numbers(a) == [7]
        assert not (a.state / "broker.ports").exists()
    assert b.final("broker.out")["delivered"] == 1
    assert b.final("broker.out")["dropped"] == {}


def test_what_consumers_publish_while_it_ends_still_gets_out(tmp_path: Path) -> None:
    """The endpoint stops to take in, waits for the sink that publishes, says goodbye, and nothing is lost."""
    total = 20_000
    for name in "ab":
        (tmp_path / name).mkdir()
    listen = broker('tls = "off"', 'listen = ["127.0.0.1:0"]', 'subscribe = ["out/"]')
    with open_program(tmp_path / "a", BASE + listen + SINK) as a:
        again = '[[sink]]\nname = "again"\nkind = "broker"\non = ["event:My::*"]\ntopic = "out/"\n'
        middle = broker(
            'tls = "off"', 'listen = ["127.0.0.1:0"]', f'connect = ["{ports(a)}"]', 'subscribe = ["in/"]',
            "queue = 100000",
        )  # fmt: skip
        with open_program(tmp_path / "b", BASE + middle + again) as b:
            wait_for(lambda: b.figures("broker")["peers"])
            trio.run(_send, int(ports(b).rpartition(":")[2]), total)
            b.signal(signal.SIGTERM)
            assert b.wait_ended() == 0
        wait_for(lambda: a.account("broker")["received"] > 0 and not a.figures("broker")["peers"])
        taken = b.final("broker.messages")["delivered"]
        assert a.stop() == 0
    sink = b.final("sink.again")
    assert sink["delivered"] == sink["received"] == taken
    assert b.final("broker.out")["delivered"] == taken
    assert numbers(a) == list(range(taken))


async def _send(port: int, count: int) -> None:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        me = make_id()
        await shake(stream, me)
        frames = (data_frame(me, "in/x", encode_message(Event.make("My::event", Count(n)))) for n in range(count))
        await stream.send_all(b"".join(frames))


def test_a_reload_changes_the_endpoint_under_its_peers(tmp_path: Path) -> None:
    """Topics at once; with another TLS mode it is started again and has another ID; a bad file is refused."""
    conf = BASE + broker('tls = "off"', 'listen = ["127.0.0.1:0"]', 'subscribe = ["a/"]')
    with open_program(tmp_path, conf) as program:
        first = program.figures("broker")
        program.conf.write_text(conf.replace('"a/"', '"b/"'))
        assert program.reload()["ok"]
        second = program.figures("broker")
        assert (second["endpoint"], second["listening"]) == (first["endpoint"], first["listening"])
        assert second["advertised"] == ["b/"]
        program.conf.write_text(conf.replace('tls = "off"\n', ""))
        assert program.reload()["ok"]
        third = program.figures("broker")
        assert third["endpoint"] != first["endpoint"]
        program.conf.write_text(conf.replace('tls = "off"', 'tls = "mutual"'))
        assert not program.reload()["ok"]
        assert program.figures("broker")["endpoint"] == third["endpoint"]
        program.conf.write_text(BASE)
        assert program.reload()["ok"]
        assert not (program.state / "broker.ports").exists()
        assert program.stop() == 0
