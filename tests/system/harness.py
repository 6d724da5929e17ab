"""The whole program as a child process: start, notifications, status, signals; writers that send at a pace."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import zmq

from appliance.cli.client import fetch_status
from appliance.errors import ApplianceError

T = TypeVar("T")
PROGRAM = (sys.executable, "-m", "appliance")
DEADLINE_S = 20.0
GOLDEN = Path(__file__).parents[1] / "golden" / "logwriter" / "messages.jsonl.gz"
RATE = 10_000
"""Records a second that count as load."""


def golden_messages() -> list[tuple[str, bytes]]:
    """What a real Zeek's writers sent: log path and row, in order."""
    with gzip.open(GOLDEN, "rt") as lines:
        return [(path, row.encode()) for path, row in (json.loads(line)["frames"] for line in lines)]


def wait_for(look: Callable[[], T], *, timeout_s: float = DEADLINE_S) -> T:
    """Look again and again until there is something; an assertion that fails meanwhile counts as nothing yet."""
    deadline = time.monotonic() + timeout_s
    while True:
        failure: AssertionError | None = None
        try:
            found = look()
        except AssertionError as exc:
            failure = exc
        else:
            if found:
                return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_s} s") from failure
        time.sleep(0.01)


class Program:
    """One run of the program. Its folder holds ``conf.toml``, the state, the log and the notification socket."""

    def __init__(self, folder: Path, argv: Sequence[str | Path] = PROGRAM) -> None:
        self.folder = folder
        self._argv = argv
        self.state = folder / "state"
        self.conf = folder / "conf.toml"
        self._log = folder / "log"
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.settimeout(DEADLINE_S)
        (folder / "notify").unlink(missing_ok=True)
        self._notify.bind(os.fspath(folder / "notify"))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start; see `wait_ready`."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self._argv, "--config", self.conf],
                stdout=log,
                stderr=log,
                env={**os.environ, "NOTIFY_SOCKET": os.fspath(self.folder / "notify")},
            )

    def close(self) -> None:
        """Kill it if it still runs."""
        self._notify.close()
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    # ── what it says ──

    def wait_notified(self, field: str) -> None:
        """Wait for a notification that contains `field`, e.g. ``READY=1``."""
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            try:
                message = self._notify.recv(4096)
            except TimeoutError:
                break
            if field in message.decode().split("\n"):
                return
        raise TimeoutError(f"no {field}; its log:\n{self.log}")

    def wait_ready(self) -> None:
        """Wait until every socket is bound."""
        self.wait_notified("READY=1")

    @property
    def log(self) -> str:
        return self._log.read_text()

    def events(self, event: str) -> list[dict[str, Any]]:
        """What it logged with a text that begins so."""
        lines = [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"].startswith(event)]

    def status(self) -> dict[str, Any]:
        """Its status document, whose books must balance."""
        status = fetch_status(self.state / "api.sock")
        assert all(line["account"]["imbalance"] == 0 for line in status["ledger"]), status["ledger"]
        return status

    def account(self, name: str) -> dict[str, Any]:
        """An account of the running program."""
        [account] = [line["account"] for line in self.status()["ledger"] if line["account"]["name"] == name]
        return dict(account)

    def figures(self, name: str) -> dict[str, Any]:
        """What a running service counts."""
        [line] = [line for line in self.status()["services"] if line["service"]["name"] == name]
        return dict(line["figures"])

    def endpoint(self) -> str:
        """Where writers connect."""
        return str(self.figures("zmq.bro")["endpoints"][0])

    def final(self, name: str) -> dict[str, Any]:
        """An account of the final ledger, which must balance; for a program that has ended."""
        account = [line for line in self.events("final ledger") if line["name"] == name][-1]
        assert account["imbalance"] == 0
        assert account["received"] == account["delivered"] + account["queued"] + sum(account["dropped"].values())
        return account

    # ── what is done to it ──

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def reload(self) -> dict[str, Any]:
        """SIGHUP; returns the outcome once it is done."""
        self.signal(signal.SIGHUP)
        self.wait_notified("RELOADING=1")
        self.wait_ready()
        return dict(self.status()["last_reload"])

    def wait_ended(self) -> int:
        """Wait for the end; returns the exit code."""
        assert self.process is not None
        return self.process.wait(DEADLINE_S)

    def stop(self) -> int:
        """SIGTERM, and wait for the end."""
        self.signal(signal.SIGTERM)
        return self.wait_ended()

    # ── what it wrote ──

    def rows(self, path: str, folder: str = "logs") -> list[bytes]:
        """The rows of a log path in all its files, in the order of their names."""
        return [row for file in self.files(path, folder) for row in file.read_bytes().splitlines()]

    def files(self, path: str, folder: str = "logs") -> list[Path]:
        """The files of a log path, those in progress included; the counter of a name is a number."""
        found = [f for f in (self.state / folder / path).rglob("*") if f.is_file()]
        return sorted(found, key=lambda f: [int(n) for n in re.findall(r"\d+", f.name)])

    def parts(self) -> list[Path]:
        return list(self.state.rglob("*.part"))


@contextmanager
def open_program(folder: Path, conf: str, argv: Sequence[str | Path] = PROGRAM) -> Iterator[Program]:
    """A program that is ready; killed at the end if it still runs."""
    program = Program(folder, argv)
    try:
        write_conf(program, conf)
        program.start()
        program.wait_ready()
        yield program
    finally:
        program.close()


BASE = """\
[appliance]
name = "test"
state_dir = "state"
drain_timeout = "5s"
python_path = ["."]
[log]
format = "json"
[api]
listen = ["unix:api.sock"]
"""
DOOR = """\
[[zmq]]
name = "bro"
bind = ["tcp://127.0.0.1:0"]
max_wait = "300ms"
"""
SINK = """\
[[sink]]
name = "archive"
on = ["log:*"]
path = "logs/{path}/%Y.log"
flush_every = "50ms"
"""


def hook(run: str, *more: str) -> str:
    """A table for a hook of the module ``hooks_under_test``, see `write_hooks`."""
    lines = ['name = "h"', 'on = ["log:*"]', f'run = "hooks_under_test:{run}"', *more]
    return "[[hook]]\n" + "\n".join(lines) + "\n"


HOOKS = """\
import threading, time

def note(record):
    with open({noted!r}, "a") as file:
        file.write("%d\\n" % record["_seq"])

def fail(record):
    raise RuntimeError("no")

def hang(record):
    threading.Event().wait()

def crawl(record):
    time.sleep(0.1)

def plod(record):
    time.sleep(0.005)
"""


def write_hooks(folder: Path) -> Path:
    """Write the module; returns the file to which ``note`` appends the ``_seq`` of its records."""
    noted = folder / "noted"
    (folder / "hooks_under_test.py").write_text(HOOKS.format(noted=os.fspath(noted)))
    return noted


def write_conf(program: Program, conf: str) -> None:
    """Put a configuration in place of the old one."""
    program.conf.write_text(conf)


class Writer:
    """Sends numbered rows of one log path from a thread, `rate` a second (0: as fast as it can), until told to stop."""

    def __init__(self, endpoint: str, path: str = "conn", *, rate: int = RATE, limit: int = 0, hwm: int = 0) -> None:
        self.path, self.sent = path, 0
        self._rate, self._limit = rate, limit
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._sock = self._context.socket(zmq.XPUB)
        self._sock.setsockopt(zmq.SNDHWM, hwm)
        self._sock.connect(endpoint)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        """Wait until somebody has subscribed, and begin."""
        assert self._sock.poll(int(DEADLINE_S * 1000))
        assert self._sock.recv() == b"\x01"
        self._thread.start()

    def _run(self) -> None:
        began = time.monotonic()
        while not self._stop.is_set() and (not self._limit or self.sent < self._limit):
            due = int((time.monotonic() - began) * self._rate) if self._rate else self.sent + 1000
            due = min(due, self._limit) if self._limit else due
            while self.sent < due:
                self.sent += 1
                self._sock.send_multipart([self.path.encode(), row(self.sent)])
            if self._rate:
                self._stop.wait(0.005)

    def finish(self) -> int:
        """Wait until all of `limit` is sent, or stop if there is none; returns how many were sent."""
        if not self._limit:
            self._stop.set()
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()
        return self.sent

    def close(self) -> None:
        """Stop, and give what is still in the pipe a moment."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._context.destroy(linger=1000)


def row(seq: int) -> bytes:
    """A row as a writer with a counter sends it."""
    return b'{"ts":1700000000.5,"uid":"C%d","id.orig_h":"192.0.2.1","_node":"zeek","_seq":%d}' % (seq, seq)


def rows(count: int) -> list[bytes]:
    """The first rows that a `Writer` sends."""
    return [row(seq) for seq in range(1, count + 1)]


@contextmanager
def open_writer(program: Program, path: str = "conn", **settings: int) -> Iterator[Writer]:
    """A writer that sends already."""
    writer = Writer(program.endpoint(), path, **settings)
    try:
        writer.start()
        yield writer
    finally:
        writer.close()


def delivered(program: Program, account: str, count: int) -> bool:
    """Whether the account has at least that many delivered; False too while nobody answers."""
    with contextlib.suppress(ApplianceError):
        return bool(program.account(account)["delivered"] >= count)
    return False
