"""Every table of the file comes, changes and goes by reloads under load, and nothing else notices."""

from __future__ import annotations

import json
import os
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from appliance.cli import main
from appliance.config import Config
from appliance.config.shape import toml_fields

from .harness import Program, Writer, open_program, open_writer, wait_for, write_conf

pytestmark = pytest.mark.slow

RATE = 1000
"""Records a second, and datagrams."""
HAS_PACKETS = os.geteuid() == 0
"""Recorders need a privilege."""


class Row(NamedTuple):
    """One table: how it is written in the four states of its test, and what a reload is to say of each change."""

    service: str
    """What comes, changes and goes; of tables that are no service, their name."""
    absent: str
    added: str
    changed: str
    how: tuple[str, str, str]
    """What becomes of it when it is added, changed and removed."""
    is_base: bool = False
    """While other tables are tested it is `added`, else `absent`."""
    reopened: str = ""
    """A socket of it whose address stays the same, and that is opened again."""


def entry(kind: str, service: str, first: str, second: str, changed: str, how: str = "restarted") -> Row:
    """An array of tables: the first entry is always there, the second one comes and goes."""
    head = f"[[{kind}]]\n"
    return Row(
        f"{kind}.{service}", head + first, head + first + head + second, head + first + head + second + changed,
        ("added", how, "removed"),
    )  # fmt: skip


def named(name: str, *lines: str) -> str:
    return "\n".join((f'name = "{name}"', *lines, ""))


def keys(table: str, always: str, added: str, changed: str) -> Row:
    """A table that is no service: a key of it comes, changes and goes."""
    return Row(table, always, always + added, always + changed, ("applied", "applied", "applied"))


UDP = ('conn_type = "udp"', 'address = ["127.0.0.1", 0]', 'handler = [{ name = "raw", log_dir = "pcap-{capture}" }]')
EDGE = ('interface = "lo"', 'filter = "udp port 9"', 'ring = "4MiB"', "promiscuous = false")
SCAN = ('on = ["log:notice"]', 'recorder = "first"')
ROWS = {
    "appliance": keys(
        "appliance", '[appliance]\nname = "test"\nstate_dir = "state"\npython_path = ["."]\n',
        'drain_timeout = "5s"\n', 'drain_timeout = "6s"\n',
    ),
    "log": keys("log", '[log]\nformat = "json"\n', 'level = "warning"\n', 'level = "debug"\n'),
    "zmq": entry(
        "zmq", "second", named("bro", 'bind = ["tcp://127.0.0.1:0"]'),
        named("second", 'bind = ["ipc://state/second.sock"]'), 'exclude = ["dns"]\n', "applied",
    ),
    "broker": Row(
        "broker", "", '[broker]\nlisten = ["127.0.0.1:0"]\n', '[broker]\nlisten = ["127.0.0.1:0"]\nqueue = 5\n',
        ("added", "applied", "removed"), is_base=True,
    ),
    "store": entry(
        "store", "second", named("first", 'role = "master"', 'backend = "memory"'),
        named("second", 'role = "master"', 'backend = "memory"'), 'expire_after = "1h"\n', "applied",
    ),
    "cluster": Row(
        "cluster", "", '[cluster]\nbackend = "zeromq"\n[cluster.zeromq]\nlog_bind = "tcp://127.0.0.1:0"\n',
        '[cluster]\nbackend = "zeromq"\n[cluster.zeromq]\nlog_bind = "tcp://127.0.0.1:0"\nmax_wait = "1s"\n',
        ("added", "applied", "removed"), is_base=True,
    ),
    "websocket": entry(
        "websocket", "second", named("first", 'url = "ws://127.0.0.1:9"'), named("second", 'url = "ws://127.0.0.1:9"'),
        'topics = ["zeek.event."]\n',
    ),
    "tail": entry(
        "tail", "second", named("first", 'paths = ["spool/*.log"]'), named("second", 'paths = ["more/*.log"]'),
        "from_start = false\n",
    ),
    "watch": entry(
        "watch", "second", named("first", 'directory = "up"'), named("second", 'directory = "down"'),
        'settle = "3s"\n', "applied",
    ),
    "capture": entry("capture", "second", named("first", *UDP), named("second", *UDP), "receive_buffer = 65536\n"),
    "recorder": entry(
        "recorder", "second", named("first", *EDGE, 'directory = "edge"'),
        named("second", *EDGE, 'directory = "edge2"'), "snaplen = 90\n",
    ),
    "journal": keys("journal", "[journal]\n", "dead_letters = 5\n", "dead_letters = 6\n"),
    "hook": entry(
        "hook", "second", named("first", 'on = ["log:*"]', 'run = "matrix_hooks:note"'),
        named("second", 'on = ["log:*"]', 'run = "matrix_hooks:note"'), "attempts = 2\n",
    ),
    "sink": entry(
        "sink", "second", named("archive", 'on = ["log:*"]', 'path = "logs/{path}.log"', 'flush_every = "50ms"'),
        named("second", 'on = ["log:*"]', 'path = "second/{path}.log"'), 'rotate_size = "1MiB"\n',
    ),
    "evidence": entry(
        "evidence", "second", named("first", *SCAN), named("second", *SCAN), 'before = "30s"\n',
    ),
    "uids": Row(
        "uids", "[uids]\non = []\n", '[uids]\non = ["log:conn"]\n', '[uids]\non = ["log:conn"]\nqueue_size = 5000\n',
        ("added", "restarted", "removed"), is_base=True,
    ),
    "api": Row(
        "api", '[api]\nlisten = ["unix:api.sock"]\n', '[api]\nlisten = ["unix:api.sock", "unix:b.sock"]\n',
        '[api]\nlisten = ["unix:api.sock", "unix:c.sock"]\n', ("restarted", "restarted", "restarted"),
        reopened="api.sock",
    ),
    "metrics": Row(
        "metrics", "", '[metrics]\nlisten = "127.0.0.1:0"\n', '[metrics]\nlisten = "127.0.0.2:0"\n',
        ("added", "restarted", "removed"),
    ),
}  # fmt: skip
"""By the name of the table in the file."""
PRIVILEGED = ("recorder", "evidence", "uids")


def test_every_table_has_a_row() -> None:
    """A new table is not done before it can come, change and go."""
    assert ROWS.keys() == toml_fields(Config).keys()


def site(table: str = "", state: str = "") -> str:
    """The whole file, with one table in one of its states."""
    rows = {name: row for name, row in ROWS.items() if HAS_PACKETS or name not in PRIVILEGED}
    base = {name: row.added if row.is_base else row.absent for name, row in rows.items()}
    return "".join((base | ({table: getattr(rows[table], state)} if table else {})).values())


class Sender:
    """Sends datagrams from a thread."""

    def __init__(self, port: int) -> None:
        self.sent = 0
        self._socket = socket.socket(type=socket.SOCK_DGRAM)
        self._socket.connect(("127.0.0.1", port))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(10 / RATE):
            for _ in range(10):
                self._socket.send(b"datagram")
                self.sent += 1

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()


class Loaded:
    """A program under load."""

    def __init__(self, program: Program, writer: Writer, sender: Sender) -> None:
        self.program, self.writer, self.sender = program, writer, sender

    def sockets(self) -> dict[int, str]:
        """Inode and name of every socket that it keeps: those that listen, those of writers, those of packets."""
        assert self.program.process is not None
        root = Path(f"/proc/{self.program.process.pid}")
        held = set()
        for link in (root / "fd").iterdir():
            try:
                target = str(link.readlink())
            except FileNotFoundError:  # closed meanwhile
                continue
            if found := re.fullmatch(r"socket:\[(\d+)\]", target):
                held.add(int(found[1]))
        named: dict[int, str] = {}
        for kind, column in (("tcp", 9), ("udp", 9), ("unix", 6), ("packet", 8)):
            for line in (root / "net" / kind).read_text().splitlines()[1:]:
                words = line.split()
                if kind == "unix" and (words[3] != "00010000" or len(words) < 8):
                    continue  # a connection to us
                if kind == "tcp" and words[3] not in ("0A", "01"):
                    continue
                named[int(words[column])] = f"{kind} {words[7] if kind == 'unix' else words[1]}"
        return {inode: name for inode, name in named.items() if inode in held}

    def check_lossless(self) -> None:
        """Everything that was sent until now arrives, and nothing was lost on the way."""
        program, records, datagrams = self.program, self.writer.sent, self.sender.sent
        wait_for(lambda: program.account("sink.archive")["delivered"] >= records)
        wait_for(lambda: program.account("capture.first")["received"] >= datagrams)
        for account in ("zmq.bro", "sink.archive", "capture.first"):
            assert program.account(account)["dropped"] == {}
        figures = program.figures("zmq.bro")
        assert (figures["missing"], figures["unseen"], figures["writers"]["accepted"]) == (0, 0, 1)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    folder = tmp_path_factory.mktemp("matrix")
    (folder / "matrix_hooks.py").write_text("async def note(record):\n    pass\n")
    for name in ("spool", "more", "up", "down"):
        (folder / name).mkdir()
    with open_program(folder, site()) as program:
        port = int(str(program.figures("capture.first")["address"]).rpartition(":")[2])
        with open_writer(program, rate=RATE) as writer:
            sender = Sender(port)
            try:
                yield Loaded(program, writer, sender)
            finally:
                sender.close()


@pytest.mark.parametrize("table", ROWS)
def test_a_table_comes_changes_and_goes(loaded: Loaded, table: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each time the reload tells just that; all other services keep their sockets and lose nothing."""
    if table in PRIVILEGED and not HAS_PACKETS:
        pytest.skip("capturing packets needs root")
    row = ROWS[table]

    def change(state: str) -> dict[str, Any]:
        write_conf(loaded.program, site(table, state))
        capsys.readouterr()
        code = main(["reload", "--wait", "--json", "--socket", str(loaded.program.state / "api.sock")])
        captured = capsys.readouterr()
        assert code == 0, captured
        outcome = json.loads(captured.out)
        return {each["name"]: each["how"] for each in outcome["changes"] if each["how"] != "unchanged"}

    change("absent")
    others = {inode for inode, name in loaded.sockets().items() if not (row.reopened and row.reopened in name)}
    assert others
    own: set[int] = set()
    for state, how in zip(("added", "changed", "absent"), row.how, strict=True):
        assert change(state) == {row.service: how}
        now = loaded.sockets().keys()
        assert others <= now
        assert how != "applied" or own <= now
        own = now - others
    loaded.check_lossless()
    change("added" if row.is_base else "absent")
