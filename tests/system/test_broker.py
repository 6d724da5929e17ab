"""Programs that are each other's Broker peers."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
import zstandard

from appliance.wire.node_messages import data_frame
from appliance.zeek.binary import encode
from appliance.zeek.log_create import Column, LogCreate, WriterInfo
from appliance.zeek.messages import Event, LogWrite, Message, encode_message
from appliance.zeek.values import Count
from tests.broker.raw import make_id, shake
from tests.ports import free_port

from .harness import BASE, Program, open_program, wait_for

pytestmark = pytest.mark.slow

SINK = """\
[[sink]]
name = "events"
on = ["event:My::*"]
path = "events.log"
flush_every = "50ms"
"""


WRITER = "Log::WRITER_ASCII"
AGAIN = '[[sink]]\nname = "again"\nkind = "broker"\non = ["event:My::*"]\ntopic = "out/"\n'


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
        middle = broker(
            'tls = "off"', 'listen = ["127.0.0.1:0"]', f'connect = ["{ports(a)}"]', 'subscribe = ["in/"]',
            "queue = 100000",
        )  # fmt: skip
        with open_program(tmp_path / "b", BASE + middle + AGAIN) as b:
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


def test_the_example_listens_in_on_a_cluster(tmp_path: Path) -> None:
    """conf/broker.toml but for addresses and TLS: records, events and prints are in its files, nothing else is."""
    text = (Path(__file__).parents[2] / "conf" / "broker.toml").read_text()
    text = re.sub(r"connect = \[.*?\n\]", "", text, flags=re.DOTALL).replace("127.0.0.1:9999", "127.0.0.1:0")
    text = text.replace("[broker]", '[broker]\ntls = "off"')
    schema = LogCreate("My::LOG", WRITER, WriterInfo(path="my"), (Column("s", None, 7, 0, True),))
    record = LogWrite("My::LOG", WRITER, "my", struct.pack(">iiibi", 1, 7, 0, 1, 2) + b"ok")
    messages: list[tuple[str, Message]] = [
        ("zeek/logs/My::LOG", schema), ("zeek/cluster/node/logger-1/", record), ("zeek/logs/My::LOG", record),
        ("zeek/event/site/x", Event.make("Site::e", Count(1))), ("zeek/cluster/worker", Event.make("Other::e")),
    ]  # fmt: skip
    with open_program(tmp_path, BASE + text) as program:

        async def send() -> None:
            async with await trio.open_tcp_stream("127.0.0.1", int(ports(program).rpartition(":")[2])) as stream:
                me = make_id()
                await shake(stream, me)
                for topic, message in messages:
                    await stream.send_all(data_frame(me, topic, encode_message(message)))
                await stream.send_all(data_frame(me, "bro/print/x", encode(b"hello")))
                await trio.to_thread.run_sync(
                    wait_for, lambda: program.account("broker.messages")["received"] == len(messages) + 1
                )

        trio.run(send)
        assert program.stop() == 0
        [rows] = [zstandard.decompress(file.read_bytes()) for file in program.files("my")]
        assert rows == b'{"s":"ok"}\n' * 2
        [events] = [file.read_text().splitlines() for file in (program.state / "events").iterdir()]
        kinds = [item.get("name") or item["text"] for item in map(json.loads, events)]
    place = "Broker::incoming_connection_"
    assert kinds == [place + "established", "Site::e", "hello", place + "broken"]
    assert program.final("broker.messages")["dropped"] == {"unsubscribed": 1}


class Feeder:
    """A peer that sends numbered events from a thread, a hundred every few milliseconds, until told to stop."""

    def __init__(self, program: Program) -> None:
        self.sent = 0
        self._port = int(ports(program).rpartition(":")[2])
        self._stop = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._run,))
        self._thread.start()

    async def _run(self) -> None:
        async with await trio.open_tcp_stream("127.0.0.1", self._port) as stream:
            me = make_id()
            await shake(stream, me)
            while not self._stop.is_set():
                events = (encode_message(Event.make("My::event", Count(self.sent + n))) for n in range(100))
                await stream.send_all(b"".join(data_frame(me, "in/x", event) for event in events))
                self.sent += 100
                await trio.sleep(0.005)

    def finish(self) -> int:
        """Returns how many were sent."""
        self._stop.set()
        self._thread.join()
        return self.sent


@contextmanager
def open_feeder(program: Program) -> Iterator[Feeder]:
    feeder = Feeder(program)
    try:
        yield feeder
    finally:
        feeder.finish()


class Cutter:
    """Stands between a dialer and a listener. It carries bytes, and cuts the first `cuts` connections: each one in the
    middle of whatever is on its way, by a farewell of TCP or by a reset.
    """

    def __init__(self, port: int, cuts: int) -> None:
        self.cuts = 0
        self._target, self._wanted = port, cuts
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        """Both programs have ended, or are killed."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        while True:
            try:
                ends = self._listener.accept()[0], socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            limit = 500 + 1777 * self.cuts if self.cuts < self._wanted else None
            back = threading.Thread(target=self._carry, args=(ends[1], ends[0], None))
            back.start()
            self._carry(*ends, limit)
            for end in ends:
                if self.cuts % 2:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            back.join()
            for end in ends:
                end.close()
            self.cuts += 1

    @staticmethod
    def _carry(source: socket.socket, target: socket.socket, limit: int | None) -> None:
        with contextlib.suppress(OSError):
            while (limit is None or limit > 0) and (data := source.recv(4096 if limit is None else min(4096, limit))):
                target.sendall(data)
                limit = None if limit is None else limit - len(data)


def test_connections_break_again_and_again_under_load(tmp_path: Path) -> None:
    """Each side's books are right at every moment; what arrives is in order and there once, and in the end all does."""
    for name in "ab":
        (tmp_path / name).mkdir()
    plain = ('tls = "off"', 'listen = ["127.0.0.1:0"]', 'retry_interval = "5ms"', "queue = 1000000")
    with contextlib.ExitStack() as stack:
        a = stack.enter_context(open_program(tmp_path / "a", BASE + broker(*plain, 'subscribe = ["out/"]') + SINK))
        cutter = stack.enter_context(contextlib.closing(Cutter(int(ports(a).rpartition(":")[2]), cuts=60)))
        middle = broker(*plain, f'connect = ["127.0.0.1:{cutter.port}"]', 'subscribe = ["in/"]')
        with open_program(tmp_path / "b", BASE + middle + AGAIN) as b:
            with open_feeder(b) as feeder:
                wait_for(lambda: a.status() and b.status() and cutter.cuts >= 60)
                wait_for(lambda: a.figures("broker")["peers"])
                before = a.account("broker.messages")["delivered"]
                wait_for(lambda: a.account("broker.messages")["delivered"] > before + 1000)
                sent = feeder.finish()
            wait_for(lambda: b.account("broker.messages")["delivered"] == sent)
            wait_for(lambda: not b.account("broker.out")["queued"])
            assert b.stop() == 0
        assert a.stop() == 0
    got = numbers(a)
    assert got == sorted(set(got))
    assert got[-1] == sent - 1
    taken, given = a.final("broker.messages"), b.final("broker.out")
    assert taken["delivered"] == len(got) <= given["delivered"]
    assert set(taken["dropped"]) <= {"torn_message"}
    assert set(given["dropped"]) <= {"disconnected"}
    assert b.final("sink.again")["received"] == sent


def test_reloads_under_load_keep_every_connection(tmp_path: Path) -> None:
    """Other topics, permissions, addresses: nothing is lost, doubled or out of order, and no peer notices."""
    for name in "abc":
        (tmp_path / name).mkdir()
    plain = ('tls = "off"', 'listen = ["127.0.0.1:0"]')
    with (
        open_program(tmp_path / "a", BASE + broker(*plain, 'subscribe = ["out/"]') + SINK) as a,
        open_program(tmp_path / "c", BASE + broker(*plain, 'subscribe = ["other/"]')) as c,
    ):

        def conf(subscribe: str, publish: str, *more: Program) -> str:
            connect = json.dumps([ports(each) for each in (a, *more)])
            topics = (f"subscribe = [{subscribe}]", f"publish = [{publish}]", f"connect = {connect}")
            return BASE + broker(*plain, *topics, "queue = 1000000") + AGAIN

        with open_program(tmp_path / "b", conf('"in/"', '"out/"')) as b:
            wait_for(lambda: b.figures("broker")["peers"])
            with open_feeder(b) as feeder:
                wait_for(lambda: len(b.figures("broker")["peers"]) == 2)
                before = {peer["peer"] for peer in b.figures("broker")["peers"]}
                for others in ((c,), (), (c,)):
                    b.conf.write_text(conf('"in/", "more/"' if others else '"in/"', '"out/", "x"', *others))
                    assert b.reload()["ok"]
                    wait_for(lambda: len(b.figures("broker")["peers"]) == 2 + len(others))  # noqa: B023
                    assert before <= {peer["peer"] for peer in b.figures("broker")["peers"]}
                b.conf.write_text(conf('"in/", "<$>/local/"', '"out/"'))
                assert not b.reload()["ok"]
                sent = feeder.finish()
            wait_for(lambda: a.account("sink.events")["delivered"] == sent)
            assert b.stop() == 0
        assert a.stop() == c.stop() == 0
    assert numbers(a) == list(range(sent))
    assert b.final("broker.out")["dropped"] == {}


def test_a_killed_program_is_noticed_and_found_again(tmp_path: Path) -> None:
    """By the one that it dialled and by the one that dialled it, at once; their books are right."""
    for name in "abc":
        (tmp_path / name).mkdir()
    quick = ('retry_interval = "50ms"', 'subscribe = ["t/"]')
    with open_program(tmp_path / "a", BASE + broker('listen = ["127.0.0.1:0"]', *quick)) as a:
        port = free_port()
        middle = broker(f'listen = ["127.0.0.1:{port}"]', f'connect = ["{ports(a)}"]', *quick)
        with open_program(tmp_path / "c", BASE + broker(f'connect = ["127.0.0.1:{port}"]', *quick)) as c:
            for _ in range(2):
                with open_program(tmp_path / "b", BASE + middle) as b:
                    wait_for(lambda: a.figures("broker")["peers"] and c.figures("broker")["peers"])
                    b.signal(signal.SIGKILL)
                    b.wait_ended()
                    wait_for(lambda: not a.figures("broker")["peers"] and not c.figures("broker")["peers"])
                [dialer] = c.figures("broker")["dialers"]
                assert dialer["state"] != "peered"
            assert c.stop() == 0
        assert a.stop() == 0
    assert len(a.events("peer is gone")) == len(c.events("peer is gone")) == 2
