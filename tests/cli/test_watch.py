"""The status on a terminal: keys, sizes, and what happens when the appliance goes away."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from appliance.cli.watch import Screen

from .answers import Answers
from .test_cli import STATUS

DEADLINE_S = 20.0


class Terminal:
    """The program on a terminal of its own."""

    def __init__(self, *arguments: str, columns: int = 150, lines: int = 40) -> None:
        self.master, slave = pty.openpty()
        self.resize(columns, lines)
        self.before = termios.tcgetattr(slave)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "appliance", *arguments], stdin=slave, stdout=slave, stderr=slave,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "70", "LINES": "20"}, start_new_session=True,
        )  # fmt: skip
        self.slave = slave

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def read_until(self, text: str) -> str:
        """What is written up to and with a text."""
        seen, deadline = "", time.monotonic() + DEADLINE_S
        while text not in seen:
            ready, _, _ = select.select([self.master], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"no {text!r} in {seen[-2000:]!r}"
            seen += os.read(self.master, 65536).decode(errors="replace")
        return seen

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Answers]:
    with Answers(tmp_path / "api.sock") as made:
        made.answers["GET /v1/status"] = [(200, STATUS)]
        yield made


@pytest.fixture
def terminal(served: Answers) -> Iterator[Terminal]:
    """It watches, and looks again only in an hour."""
    made = Terminal("status", "--watch", "--interval", "3600", "--socket", str(served.path))
    yield made
    made.close()


@pytest.mark.parametrize("key", ["q", "\x03"], ids=["q", "Ctrl-C"])
def test_a_key_ends_it(terminal: Terminal, key: str) -> None:
    """At once, with exit code 0, and the terminal is what it was: its content and its settings."""
    terminal.read_until("q quit")
    assert terminal.process.poll() is None
    if key == "\x03":  # there is no shell here that would make the signal of it
        terminal.process.send_signal(signal.SIGINT)
    else:
        terminal.type(key)
    terminal.read_until("\x1b[?1049l")
    assert terminal.process.wait(DEADLINE_S) == 0
    assert termios.tcgetattr(terminal.slave) == terminal.before


def test_it_follows_the_size_of_the_terminal(terminal: Terminal, served: Answers) -> None:
    """Without waiting for the next status, and without asking for one."""
    assert "lines below" not in terminal.read_until("q quit").partition("all is well")[2]
    terminal.resize(150, 6)
    terminal.process.send_signal(signal.SIGWINCH)
    terminal.read_until("lines below")
    terminal.type("j")
    terminal.read_until("1 lines above")
    assert served.asked == ["GET /v1/status"]


def test_it_outlives_the_appliance(served: Answers) -> None:
    """What it said last stays, with the time since when; and it goes on when there is an answer again."""
    served.answers["GET /v1/status"] = [(200, STATUS), (0, None), (200, {**STATUS, "generation": 9})]
    terminal = Terminal("status", "--watch", "--interval", "0.1", "--socket", str(served.path))
    try:
        terminal.read_until("no answer")
        terminal.read_until("generation 9")
        terminal.type("q")
        assert terminal.process.wait(DEADLINE_S) == 0
    finally:
        terminal.close()


def test_programs_get_a_line_for_each_interval(served: Answers) -> None:
    """A whole document each, until Ctrl-C, with exit code 0."""
    with subprocess.Popen(
        [sys.executable, "-m", "appliance", "status", "--watch", "--json", "--interval", "0.01",
         "--socket", str(served.path)],
        stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert [json.loads(process.stdout.readline()) for _ in range(3)] == [STATUS] * 3
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_S) == 0


def shown(screen: Screen, lines: int) -> list[str]:
    console = Console(width=40, height=lines, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(screen, end="")
    return [line.rstrip() for line in capture.get().splitlines()]


def test_what_does_not_fit_can_be_scrolled_to() -> None:
    """By lines and pages, and not beyond either end; the last line says what there is more."""
    screen = Screen()
    screen.content = "\n".join(map(str, range(10)))
    assert shown(screen, 5) == ["0", "1", "2", "3", "q quit  6 lines below  ↑ ↓"]
    screen.type("j")
    assert shown(screen, 5)[:4] == ["1", "2", "3", "4"]
    screen.type(" ")
    assert shown(screen, 5)[:4] == ["4", "5", "6", "7"]
    for _ in range(5):
        screen.type("\x1b[6~")
    assert shown(screen, 5) == ["6", "7", "8", "9", "q quit  6 lines above  ↑ ↓"]
    for _ in range(9):
        screen.type("\x1b[A")
    assert shown(screen, 5)[0] == "0"
    assert shown(screen, 20)[-1] == "q quit"
