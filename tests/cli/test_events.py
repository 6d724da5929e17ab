"""``publish`` and ``subscribe`` against the endpoint of an appliance: what they print, and their exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from appliance.cli import main
from appliance.cli.subscribe import render_item
from appliance.model import Item
from appliance.zeek.binary import decode
from appliance.zeek.messages import Event, decode_message
from appliance.zeek.values import Address, Count, Set, Table, Timestamp, Vector
from tests.api.harness import Bench, events, numbered, printed

pytestmark = pytest.mark.usefixtures("told")  # what is logged is not printed


class Served:
    """The endpoint, in a thread of its own."""

    def __init__(self, folder: Path) -> None:
        self._ready = threading.Event()
        self._folder = folder
        self._thread = threading.Thread(target=trio.run, args=(self._serve,), daemon=True)
        self._thread.start()
        assert self._ready.wait(20)

    async def _serve(self) -> None:
        self.bench = Bench(self._folder)
        self._token = trio.lowlevel.current_trio_token()
        self._stop = trio.Event()
        async with self.bench.serving():
            self._ready.set()
            await self._stop.wait()

    @property
    def socket(self) -> str:
        return str(self.bench.path)

    def dispatch_to_subscriber(self, *items: Item) -> None:
        """Hand over items once there is a subscriber."""
        trio.from_thread.run(self._dispatch, items, trio_token=self._token)

    async def _dispatch(self, items: tuple[Item, ...]) -> None:
        with trio.fail_after(20):
            await self.bench.publisher.asked.wait()
        await self.bench.dispatch(*items)

    def stop(self) -> None:
        """End it as a stop of the appliance does."""
        if self._thread.is_alive():
            trio.from_thread.run_sync(self._stop.set, trio_token=self._token)
            self._thread.join(20)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    server = Served(tmp_path)
    yield server
    server.stop()


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(served: Served, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command against the endpoint; returns exit code, output and errors."""

    def call(*arguments: str) -> tuple[int, str, str]:
        code = main([*arguments, "--socket", served.socket])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def test_an_event_is_published(served: Served, run: Run) -> None:
    """With the arguments as typed, and the number of peers as the answer."""
    served.bench.publisher.peers = 2
    assert run("publish", "event", "zeek/event/x", "My::event", "5", "10.0.0.1", "hi", "-7") == (
        0,
        "queued for 2 peers\n",
        "",
    )
    [(topic, message)] = served.bench.publisher.published
    expected = Event.make("My::event", Count(5), Address.parse("10.0.0.1"), b"hi", -7)
    assert (topic, decode_message(message)) == ("zeek/event/x", expected)


def test_the_doors_may_be_chosen(served: Served, run: Run) -> None:
    """By name or glob; through others nothing goes out."""
    told = "broappliance: not published: there is no door into a cluster to publish with\n"
    assert run("publish", "event", "t", "e", "--via", "websocket.*", "--via", "cluster") == (1, "", told)
    assert run("publish", "print", "t", "x", "--via", "websocket.*", "--via", "broker")[0] == 0
    assert len(served.bench.publisher.published) == 1


def test_containers_are_written_in_json(served: Served, run: Run) -> None:
    """Plain or with types."""
    text = json.dumps([1, {"k": {"@data-type": "set", "data": [{"@data-type": "count", "data": 1}]}}])
    assert run("publish", "event", "t", "e", f"json:{text}")[0] == 0
    [(_, message)] = served.bench.publisher.published
    assert decode_message(message) == Event.make("e", Vector([1, Table([(b"k", Set([Count(1)]))])]))


def test_a_print_is_published(served: Served, run: Run) -> None:
    """Any bytes that a shell can pass."""
    assert run("publish", "print", "bro/print/x", "h\udcff") == (0, "queued for 1 peer\n", "")
    [(topic, message)] = served.bench.publisher.published
    assert (topic, decode(message)) == ("bro/print/x", b"h\xff")


def test_the_argument_that_is_wrong_is_named(served: Served, run: Run) -> None:
    """By its number, one line, exit code 2; also if only the appliance notices."""
    assert run("publish", "event", "t", "e", "5", "port:x") == (
        2,
        "",
        "broappliance: argument 2 of the event: 'x' is no port like 80/tcp\n",
    )
    code, out, err = run("publish", "event", "t", "e", "5", 'json:{"@data-type":"color","data":1}')
    assert (code, out) == (2, "")
    assert err.startswith("broappliance: argument 2 of the event: not published: not a value in JSON")
    assert run("publish", "event", "", "e")[0] == 2
    assert served.bench.publisher.published == []


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("no_peer", "no peer is connected"),
        ("no_subscriber", "no peer asked for this topic"),
        ("not_allowed", "access control (the key publish of the door) does not allow this topic"),
    ],
)
def test_a_refusal_is_told(served: Served, run: Run, reason: str, words: str) -> None:
    """Exit code 1 and a sentence."""
    served.bench.publisher.refusal = reason
    assert run("publish", "print", "t", "x") == (1, "", f"broappliance: not published: {words}\n")


def test_without_an_endpoint_both_say_so(served: Served, run: Run) -> None:
    """Exit code 1."""
    served.bench.outlet.close("broker")
    told = "there is no door into a cluster to"
    assert run("publish", "print", "t", "x") == (1, "", f"broappliance: not published: {told} publish with\n")
    assert run("subscribe", "a/") == (1, "", f"broappliance: not subscribed: {told} ask with\n")


def test_nobody_answering_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, with the socket's path."""
    for command in (["publish", "print", "t", "x"], ["subscribe", "t"]):
        assert main([*command, "--socket", str(tmp_path / "none")]) == 1
        err = capsys.readouterr().err
        assert err.startswith(f"broappliance: no appliance answers at {tmp_path / 'none'}: ")
        assert err.count("\n") == 1


def test_an_appliance_without_events_is_told(served: Served, run: Run) -> None:
    """An older one, for instance."""
    served.bench.server.endpoints = []
    served.bench.server._works = served.bench.server._make_works()
    for command in (["publish", "print", "t", "x"], ["subscribe", "t"]):
        assert run(*command) == (1, "", f"broappliance: the appliance at {served.socket} has no events\n")


def test_what_arrives_is_shown(served: Served, run: Run) -> None:
    """A line for each, and no more than were asked for."""
    sender = threading.Thread(
        target=served.dispatch_to_subscriber,
        args=(events(Count(5), b"hi", topic="a/x"), printed(b"a\x1b[2J", topic="b/y"), numbered(7, topic="a/x")),
    )
    sender.start()
    code, out, err = run("subscribe", "a/", "b/", "--count", "2")
    sender.join()
    assert (code, err) == (0, "")
    assert out == '1970-01-01T00:00:01.500000Z a/x My::event(5, "hi")\n1970-01-01T00:00:02.000000Z b/y a\\x1b[2J\n'


def test_objects_are_shown_as_they_came(served: Served, run: Run) -> None:
    """One line of JSON each."""
    sender = threading.Thread(target=served.dispatch_to_subscriber, args=(numbered(5, topic="a/x"),))
    sender.start()
    code, out, _ = run("subscribe", "a/", "--json", "--count", "1")
    sender.join()
    shown = json.loads(out)
    assert (code, out.count("\n")) == (0, 1)
    assert (shown["kind"], shown["topic"], shown["plain"]) == ("event", "a/x", [5])


def test_the_end_of_the_appliance_is_told(served: Served, run: Run) -> None:
    """Exit code 1: it is not what was asked for."""

    def end() -> None:
        served.dispatch_to_subscriber(numbered(1, topic="a/"))
        served.stop()

    sender = threading.Thread(target=end)
    sender.start()
    code, out, err = run("subscribe", "a/")
    sender.join()
    assert (code, out.count("\n"), err) == (1, 1, f"broappliance: the appliance at {served.socket} ends\n")


def start_subscriber(served: Served) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "appliance", "subscribe", "a/", "--socket", served.socket],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_an_interrupt_is_how_one_ends_it(served: Served) -> None:
    """Exit code 0 and nothing on standard error; what arrived is shown at once."""
    with start_subscriber(served) as process:
        served.dispatch_to_subscriber(numbered(5, topic="a/x"))
        assert process.stdout is not None
        assert process.stdout.readline().endswith("My::event(5)\n")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "", "")


def test_a_reader_that_has_gone_ends_it(served: Served) -> None:
    """``| head -1`` is no error worth a traceback."""
    with start_subscriber(served) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        served.dispatch_to_subscriber(numbered(5, topic="a/x"))
        assert process.stderr.read() == ""
        assert process.wait(timeout=20) == 1


def test_nothing_is_imported_that_is_not_needed() -> None:
    """Neither a loop nor tables for a command that sends one line."""
    code = (
        "import sys\nfrom appliance.cli import main\n"
        "code = main(['publish', 'event', 't', 'e', '5', '10.0.0.1', '--socket', '/none'])\n"
        "print(code, *[name for name in 'trio zmq structlog rich rule_engine'.split() if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.stdout == "1\n"


@pytest.mark.parametrize(
    "arguments", [["publish"], ["publish", "event", "t"], ["subscribe"], ["subscribe", "a", "--count", "0"]]
)
def test_usage_is_told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: broappliance" in capsys.readouterr().err


def test_values_of_every_type_are_shown() -> None:
    """As Zeek's scripts write them; what a terminal would obey is escaped."""
    value = Event.make(
        "e",
        Vector([1, b'"\x9b', None]),
        Set([Count(1)]),
        Table([(b"k", True), (1.5, False)]),
        Timestamp(1_500_000_000),
    )
    from appliance.zeek.json_values import encode_json

    item: dict[str, Any] = {
        "kind": "event",
        "ts": 0.0,
        "name": "e",
        "topic": "t\n",
        "args": [
            json.loads(encode_json(arg).decode(errors="backslashreplace").replace("\\x", "\\\\x")) for arg in value.args
        ],
    }
    assert render_item(item) == (
        '1970-01-01T00:00:00.000000Z t\\n e([+1, "\\"\\\\x9b", none], {1}, {"k": T, 1.5: F}, 1970-01-01T00:00:01.500)'
    )
    item |= {"args": None, "plain": [None, "\x9b"], "ts": 1e300}
    assert render_item(item) == '1e+300 t\\n e(null, "\\x9b")'


def test_the_socket_may_come_from_the_file(served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As for status."""
    file = tmp_path / "site.toml"
    file.write_text(f'[api]\nlisten = ["unix:{served.socket}"]\n')
    assert main(["--config", os.fspath(file), "publish", "print", "t", "x"]) == 0
    assert capsys.readouterr().out == "queued for 1 peer\n"
