"""How it ends: drained at SIGTERM, aborted at the second signal, killed; and what the next start finds."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from .harness import BASE, DOOR, SINK, delivered, hook, open_program, open_writer, row, rows, wait_for, write_hooks

pytestmark = pytest.mark.slow

CONF = BASE + DOOR + SINK


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("rate", [10_000, 0], ids=["paced", "full speed"])
def test_a_stop_under_load_loses_nothing_that_was_received(tmp_path: Path, rate: int, number: signal.Signals) -> None:
    """What the final ledger calls delivered is in the files, every file has its name, the exit code is 0."""
    with open_program(tmp_path, CONF) as program, open_writer(program, rate=rate) as writer:
        wait_for(lambda: delivered(program, "sink.archive", 3000))
        program.signal(number)
        program.wait_notified("STOPPING=1")
        assert program.wait_ended() == 0
        writer.finish()
        door, sink = program.final("zmq.bro"), program.final("sink.archive")
        assert door["received"] == door["delivered"] == sink["received"] == sink["delivered"] > 3000
        assert program.rows("conn") == rows(sink["delivered"])
        assert not program.parts()
        assert not (program.state / "api.sock").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(tmp_path: Path, number: signal.Signals) -> None:
    """While a hook keeps it from draining; the exit code is 1, and what was written stays whole."""
    write_hooks(tmp_path)
    conf = CONF.replace('"5s"', '"1m"') + hook("hang", 'timeout = "1m"')
    with open_program(tmp_path, conf) as program, open_writer(program, limit=2000) as writer:
        writer.finish()
        wait_for(lambda: delivered(program, "sink.archive", 2000))
        program.signal(signal.SIGTERM)
        program.wait_notified("STOPPING=1")
        program.signal(number)
        assert program.wait_ended() == 1
        assert program.events("stopping at once")
        assert program.final("hook.h")["received"] == 2000
        assert program.rows("conn") == rows(2000)


def test_a_kill_under_load_costs_the_last_moment_only(tmp_path: Path) -> None:
    """What had been called delivered is on the disk; the next start finishes the file and goes on in another one."""
    with open_program(tmp_path, CONF) as program, open_writer(program) as writer:
        wait_for(lambda: delivered(program, "sink.archive", 5000))
        before = program.account("sink.archive")["delivered"]
        program.signal(signal.SIGKILL)
        assert program.wait_ended() == -signal.SIGKILL
        writer.finish()
        [part] = program.parts()
        whole = [line for line in part.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
        assert len(whole) >= before
        assert b"".join(whole) == b"".join(r + b"\n" for r in rows(len(whole)))
        program.start()
        program.wait_ready()
        assert program.rows("conn") == rows(len(whole))
        with open_writer(program, limit=100) as second:
            second.finish()
            wait_for(lambda: delivered(program, "sink.archive", 100))
        assert program.stop() == 0
        assert program.rows("conn") == rows(len(whole)) + rows(100)
        assert len(program.files("conn")) == 2
        assert not program.parts()


@pytest.mark.parametrize("torn", [row(1)[:20], row(1), b"\0" * 4096], ids=["half a row", "no newline", "zeros"])
def test_a_torn_last_line_is_cut_at_the_next_start(tmp_path: Path, torn: bytes) -> None:
    """As a crash of the machine may leave it; the rows before it stay, and the log says how much was cut."""
    with open_program(tmp_path, CONF) as program:
        with open_writer(program, limit=1000) as writer:
            writer.finish()
            wait_for(lambda: delivered(program, "sink.archive", 1000))
        program.signal(signal.SIGKILL)
        program.wait_ended()
        [part] = program.parts()
        with part.open("ab") as file:
            file.write(torn)
        program.start()
        program.wait_ready()
        assert not program.parts()
        assert program.rows("conn") == rows(1000)
        assert program.figures("sink.archive")["recovered_files"] == 1
        [told] = program.events("found a file of an earlier run")
        assert told["cut"] == str(len(torn))
        assert program.stop() == 0


def test_a_stop_while_nothing_happens_is_quick(tmp_path: Path) -> None:
    """No file, no record, no trouble."""
    with open_program(tmp_path, CONF) as program:
        assert program.stop() == 0
        assert program.final("zmq.bro")["received"] == 0
        assert not (program.state / "logs").exists()
