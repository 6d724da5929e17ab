"""SIGHUP under load: what did not change is not touched, what changed loses nothing, a mistake changes nothing."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from .harness import (
    BASE,
    DOOR,
    SINK,
    Program,
    Writer,
    hook,
    open_program,
    open_writer,
    rows,
    wait_for,
    write_conf,
    write_hooks,
)

pytestmark = pytest.mark.slow

CONF = BASE + DOOR + SINK


def more(program: Program, writer: Writer, count: int = 2000) -> None:
    """Let `count` more records be sent and written."""
    goal = writer.sent + count
    wait_for(lambda: program.account("sink.archive")["delivered"] >= goal)


def check_complete(program: Program, sent: int) -> None:
    """After the end: everything that was sent was received and written, none of it lost on the way."""
    door, sink = program.final("zmq.bro"), program.final("sink.archive")
    assert (door["received"], sink["delivered"], sink["dropped"]) == (sent, sent, {})
    assert not program.parts()


def test_an_unchanged_door_does_not_notice_reloads(tmp_path: Path) -> None:
    """At 10,000 records a second, reloads in which hooks come, change and go lose nothing and keep the connection."""
    write_hooks(tmp_path)
    with open_program(tmp_path, CONF) as program, open_writer(program) as writer:
        endpoint = program.endpoint()
        for generation in range(2, 8):
            extra = hook("note", f"queue_size = {generation}000") if generation % 3 else ""
            write_conf(program, CONF + extra)
            assert program.reload() == {**program.status()["last_reload"], "ok": True, "errors": []}
            assert program.status()["generation"] == generation
            more(program, writer, 1000)
        sent = writer.finish()
        wait_for(lambda: program.account("sink.archive")["delivered"] == sent)
        figures = program.figures("zmq.bro")
        assert figures["endpoints"] == [endpoint]
        assert (figures["missing"], figures["unseen"], figures["writers"]["accepted"]) == (0, 0, 1)
        assert program.stop() == 0
        check_complete(program, sent)
        assert program.rows("conn") == rows(sent)


def test_a_sink_that_moves_loses_nothing(tmp_path: Path) -> None:
    """Another path and another size: every record is in exactly one file, the old folder has the older ones."""
    with open_program(tmp_path, CONF) as program, open_writer(program) as writer:
        more(program, writer)
        write_conf(program, BASE + DOOR + SINK.replace("logs/", "moved/") + 'rotate_size = "64KiB"\n')
        assert program.reload()["ok"]
        more(program, writer)
        sent = writer.finish()
        wait_for(lambda: program.account("sink.archive")["delivered"] == sent)
        assert program.stop() == 0
        check_complete(program, sent)
        old, new = program.rows("conn"), program.rows("conn", "moved")
        assert old
        assert new
        assert old + new == rows(sent)
        files = program.files("conn", "moved")
        assert len(files) > 1
        assert all(file.stat().st_size <= 64 << 10 for file in files)


def test_a_sink_that_keeps_its_path_loses_nothing(tmp_path: Path) -> None:
    """Only the size changes: predecessor and successor never write the same file."""
    with open_program(tmp_path, CONF) as program, open_writer(program) as writer:
        for size in ("32KiB", "48KiB", "64KiB"):
            more(program, writer)
            write_conf(program, CONF + f'rotate_size = "{size}"\n')
            assert program.reload()["ok"]
        sent = writer.finish()
        wait_for(lambda: program.account("sink.archive")["delivered"] == sent)
        assert program.stop() == 0
        check_complete(program, sent)
        assert program.rows("conn") == rows(sent)


@pytest.mark.parametrize(
    ("broken", "line", "told"),
    [
        (CONF + "oops\n", 19, "expected"),
        (CONF.replace('on = ["log:*"]', "on = 5"), 16, "on"),
        (CONF.replace("bind =", "bnid ="), 12, "bnid"),
        (CONF + hook("nowhere"), 22, "nowhere"),
        (CONF.replace('"test"', '"other"'), 2, "restart the appliance"),
    ],
    ids=["syntax", "type", "unknown key", "no such hook", "fixed key"],
)
def test_a_mistake_changes_nothing(tmp_path: Path, broken: str, line: int, told: str) -> None:
    """The old configuration goes on without a gap; log and status name the file and the line."""
    write_hooks(tmp_path)
    with open_program(tmp_path, CONF) as program, open_writer(program) as writer:
        more(program, writer, 200)
        write_conf(program, broken)
        outcome = program.reload()
        more(program, writer, 200)
        assert (outcome["ok"], program.status()["generation"]) == (False, 1)
        assert any(f"{program.conf}:" in error and told in error for error in outcome["errors"]), outcome
        assert f"conf.toml:{line}: " in outcome["errors"][0]
        assert [entry["error"] for entry in program.events("reload refused")] == list(outcome["errors"])
        write_conf(program, CONF)
        assert program.reload()["ok"]
        sent = writer.finish()
        wait_for(lambda: program.account("sink.archive")["delivered"] == sent)
        assert program.stop() == 0
        check_complete(program, sent)


def test_a_hook_comes_and_goes(tmp_path: Path) -> None:
    """It is called from the reload that adds it to the one that removes it, and its account stays."""
    noted = write_hooks(tmp_path)
    with open_program(tmp_path, CONF) as program, open_writer(program, rate=2000) as writer:
        more(program, writer, 200)
        write_conf(program, CONF + hook("note"))
        assert program.reload()["ok"]
        wait_for(lambda: program.account("hook.h")["delivered"] > 200)
        write_conf(program, CONF)
        assert program.reload()["ok"]
        account = program.account("hook.h")
        assert account["received"] == account["delivered"]
        numbers = [int(line) for line in noted.read_text().split()]
        assert numbers == list(range(numbers[0], numbers[0] + account["delivered"]))
        more(program, writer, 200)
        assert program.account("hook.h") == account
        sent = writer.finish()
        wait_for(lambda: program.account("sink.archive")["delivered"] == sent)
        assert program.stop() == 0
        check_complete(program, sent)


def test_filters_change_under_the_connection(tmp_path: Path) -> None:
    """A log is left out and let in again; the writer stays connected and none of its records is lost."""
    with open_program(tmp_path, CONF) as program, open_writer(program) as writer:
        more(program, writer)
        write_conf(program, BASE + DOOR + 'exclude = ["conn"]\n' + SINK)
        assert program.reload()["ok"]
        wait_for(lambda: program.account("zmq.bro")["dropped"].get("excluded", 0) > 1000)
        write_conf(program, CONF)
        assert program.reload()["ok"]
        wait_for(lambda: program.account("sink.archive")["delivered"] > 4000)
        sent = writer.finish()
        wait_for(lambda: program.account("zmq.bro")["received"] == sent)
        figures = program.figures("zmq.bro")
        assert (figures["missing"], figures["writers"]["accepted"], figures["writers"]["disconnected"]) == (0, 1, 0)
        assert program.stop() == 0
        door = program.final("zmq.bro")
        written = program.rows("conn")
        assert len(written) == door["delivered"] == sent - door["dropped"]["excluded"]
        assert set(written) < set(rows(sent))
        assert len(set(written)) == len(written)


def test_requests_in_a_row_are_all_answered(tmp_path: Path) -> None:
    """Twenty SIGHUPs at once, under load, end in one configuration and lose nothing."""
    with open_program(tmp_path, CONF) as program, open_writer(program) as writer:
        more(program, writer)
        for _ in range(20):
            program.signal(signal.SIGHUP)
        wait_for(lambda: program.status()["state"] == "running" and program.status()["generation"] >= 2)
        more(program, writer)
        sent = writer.finish()
        wait_for(lambda: program.account("sink.archive")["delivered"] == sent)
        assert program.stop() == 0
        check_complete(program, sent)
        assert os.path.lexists(program.files("conn")[0])
