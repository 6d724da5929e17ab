"""Starts that fail say why in one line; a start between two others shows what was lost meanwhile."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .harness import BASE, DEADLINE_S, DOOR, SINK, Program, Writer, open_program, wait_for, write_conf

pytestmark = pytest.mark.slow


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def run(folder: Path, conf: str) -> tuple[int, list[str]]:
    """Run to the end; the exit code and the lines that were written."""
    (folder / "conf.toml").write_text(conf)
    done = subprocess.run(
        [sys.executable, "-m", "appliance", "--config", folder / "conf.toml"],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert not done.stdout
    return done.returncode, done.stderr.splitlines()


@pytest.mark.parametrize("first", ["", '"tcp://127.0.0.1:0", '], ids=["only endpoint", "second endpoint"])
def test_a_port_in_use_is_one_clear_line(tmp_path: Path, first: str) -> None:
    """Exit code 1, the endpoint, what is wrong and what it may be; nothing else."""
    with taken_port() as port:
        door = DOOR.replace('"tcp://127.0.0.1:0"', f'{first}"tcp://127.0.0.1:{port}"')
        code, lines = run(tmp_path, BASE.replace('"json"', '"console"') + door + SINK)
    assert code == 1
    [line] = [line for line in lines if "cannot" in line]
    assert f"cannot bind tcp://127.0.0.1:{port}: Address already in use (another program uses this address" in line
    assert not any("Traceback" in line for line in lines)


def test_a_second_appliance_is_refused(tmp_path: Path) -> None:
    """It says that the first one runs already, and the first one does not notice."""
    with open_program(tmp_path, BASE + DOOR + SINK) as program:
        code, lines = run(tmp_path, BASE + DOOR + SINK)
        assert code == 1
        assert any("another process serves" in line and "api.sock" in line for line in lines)
        assert program.status()["state"] == "running"
        assert program.stop() == 0


@pytest.mark.parametrize(
    ("conf", "lines"),
    [
        (BASE + DOOR + "oops", ["14: expected '='"]),
        (BASE + DOOR.replace("bind", "bnid"), ['12: zmq[0].bnid: unknown key, did you mean "bind"?']),
        (BASE + "[zmqq]\n[[sinc]]\n", ["10: zmqq: unknown table", "11: sinc: unknown table"]),
    ],
    ids=["syntax", "unknown key", "several"],
)
def test_mistakes_in_the_file_are_told_by_line(tmp_path: Path, conf: str, lines: list[str]) -> None:
    """Exit code 2, one line for each mistake with file and line, no traceback."""
    code, told = run(tmp_path, conf)
    assert code == 2
    assert len(told) == len(lines)
    for line, wanted in zip(told, lines, strict=True):
        assert f"{tmp_path}/conf.toml:{wanted}" in line


def test_what_is_lost_during_a_restart_is_visible(tmp_path: Path) -> None:
    """A writer that numbers its records goes on meanwhile; what it could not keep is missing or unseen."""
    conf = BASE + DOOR.replace("tcp://127.0.0.1:0", f"ipc://{tmp_path}/logs.sock") + SINK
    program = Program(tmp_path)
    writer = Writer(f"ipc://{tmp_path}/logs.sock", hwm=100)
    try:
        write_conf(program, conf)
        program.start()
        program.wait_ready()
        writer.start()
        wait_for(lambda: program.account("sink.archive")["delivered"] > 1000)
        assert program.stop() == 0
        first = program.final("zmq.bro")["received"]
        goal = writer.sent + 1000
        wait_for(lambda: writer.sent > goal)
        program.start()
        program.wait_ready()
        wait_for(lambda: program.account("sink.archive")["delivered"] > 1000)
        sent = writer.finish()
        writer.close()
        wait_for(lambda: program.figures("zmq.bro")["writers"]["disconnected"] == 1)
        figures, second = program.figures("zmq.bro"), program.account("zmq.bro")["received"]
        assert program.stop() == 0
        assert figures["restarts"] == 0
        assert sent - 100 <= figures["missing"] + figures["unseen"] + second <= sent
        assert sent - first - second > 500
        assert len(program.rows("conn")) == first + second
    finally:
        writer.close()
        program.close()
