"""Worker processes of hooks in the whole program: they outlive reloads, not the program; and they harm nobody."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from .harness import BASE, DOOR, SINK, Program, delivered, hook, open_program, open_writer, rows, wait_for

pytestmark = pytest.mark.slow

HOOKS = """\
import ctypes, os, subprocess, time

calls = 0
hoard = []

def note(record, ctx):
    global calls
    calls += 1
    with open({noted!r}, "a") as file:
        file.write("%d %d %d %d %d\\n" % (record["_seq"], ctx.attempt, os.getpid(), calls, ctx.config["version"]))

def hang(record):
    time.sleep(600)

def leave(record):
    os._exit(3)

def segfault(record):
    ctypes.string_at(0)

def leak(record):
    while True:
        hoard.append(bytearray(1 << 20))

def spawn(record):
    subprocess.Popen(["sleep", "{seconds}"])
    time.sleep(600)

def shout(record):
    for _ in range(100):
        os.write(1, b"x" * 999 + b"\\n")

def garble(record):
    os.write(3, b"\\xff" * 100)
"""
SLEEP_S = 1_000_000 + os.getpid()
"""Nobody else sleeps so long."""
NOTE = 'queue = "durable"', 'backoff = "10ms"', 'backoff_max = "50ms"', "attempts = 1000", "queue_size = 1000000"


def write_hooks(folder: Path) -> Path:
    """Returns the file to which ``note`` appends number, attempt, process, call of the process, version."""
    noted = folder / "noted"
    (folder / "hooks_under_test.py").write_text(HOOKS.format(noted=os.fspath(noted), seconds=SLEEP_S))
    noted.touch()
    return noted


def noted_in(path: Path) -> list[tuple[int, ...]]:
    return [tuple(map(int, line.split())) for line in path.read_text().splitlines()]


def note(version: int, *more: str) -> str:
    return hook("note", *NOTE, *more, f"options = {{ version = {version} }}")


def processes(text: str) -> list[int]:
    """Those whose name or command line has `text` in it."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                if text in (folder / "comm").read_text() + (folder / "cmdline").read_text().replace("\0", " "):
                    found.append(int(folder.name))
            except OSError:
                continue
    return found


def send(program: Program, count: int) -> None:
    with open_writer(program, limit=count, rate=0) as writer:
        writer.finish()


def test_workers_stay_when_a_reload_is_not_about_them(tmp_path: Path) -> None:
    """Their modules keep their state; a changed hook has new ones, and nothing is lost or done twice."""
    noted = write_hooks(tmp_path)
    with open_program(tmp_path, BASE + DOOR + note(1)) as program:
        send(program, 100)
        wait_for(lambda: len(noted_in(noted)) == 100)
        program.conf.write_text(BASE + DOOR + SINK + note(1))
        assert program.reload()["ok"]
        send(program, 100)
        wait_for(lambda: len(noted_in(noted)) == 200)
        program.conf.write_text(BASE + DOOR + SINK + note(2))
        assert program.reload()["ok"]
        send(program, 100)
        wait_for(lambda: len(noted_in(noted)) == 300)
        assert program.stop() == 0
    lines = noted_in(noted)
    assert [call for _, _, _, call, _ in lines] == [*range(1, 201), *range(1, 101)]
    assert [version for *_, version in lines] == [1] * 200 + [2] * 100
    assert len({process for _, _, process, *_ in lines}) == 2


def test_workers_end_with_the_program(tmp_path: Path) -> None:
    """However it ends, and whatever they do."""
    write_hooks(tmp_path)
    conf = BASE + DOOR + hook("hang", 'queue = "durable"', "concurrency = 2").replace('"h"', f'"x{os.getpid()}"')
    with open_program(tmp_path, conf) as program:
        send(program, 10)
        workers = wait_for(lambda: found if len(found := processes(f"hook:x{os.getpid()}")) == 2 else [])
        wait_for(lambda: program.figures(f"hook.x{os.getpid()}")["running"] == 2)
        program.signal(signal.SIGKILL)
        program.wait_ended()
        wait_for(lambda: not set(workers) & set(processes(f"hook:x{os.getpid()}")))


def test_killed_workers_lose_nothing(tmp_path: Path) -> None:
    """Every record is done; one that is done twice was in flight at a kill, and says so by its attempt."""
    noted = write_hooks(tmp_path)
    total, chance = 20_000, random.Random(5)
    with open_program(tmp_path, BASE + DOOR + note(1, "concurrency = 2")) as program:
        with open_writer(program, limit=total, rate=5000) as writer:
            kills = 0
            deadline = time.monotonic() + 3.5
            while time.monotonic() < deadline:
                time.sleep(chance.random() * 0.2)
                for worker in program_workers(program)[:1]:
                    os.kill(worker, signal.SIGKILL)
                    kills += 1
            writer.finish()
        wait_for(lambda: delivered(program, "hook.h", total), timeout_s=60)
        assert program.account("hook.h")["dropped"] == {}
        assert program.stop() == 0
    lines = noted_in(noted)
    assert {number for number, *_ in lines} == set(range(1, total + 1))
    calls = Counter((number, attempt) for number, attempt, *_ in lines)
    assert max(calls.values()) == 1
    again = len(lines) - total
    assert kills > 5
    assert again <= kills


def program_workers(program: Program) -> list[int]:
    assert program.process is not None
    children = Path(f"/proc/{program.process.pid}/task/{program.process.pid}/children").read_text()
    return [int(child) for child in children.split()]


BAD = {
    "hang": ('timeout = "300ms"',),
    "leave": (),
    "segfault": (),
    "leak": ('memory_limit = "100MiB"',),
    "spawn": ('timeout = "300ms"',),
    "shout": (),
    "garble": (),
}


def test_bad_hooks_harm_nobody_all_together(tmp_path: Path) -> None:
    """A good hook and the sink get every record as they come; what the bad ones start is gone with them."""
    noted = write_hooks(tmp_path)
    total = 10_000
    bad = "".join(
        hook(name, 'queue = "drop_oldest"', "queue_size = 1000", *more).replace('name = "h"', f'name = "{name}"')
        for name, more in BAD.items()
    )
    with open_program(tmp_path, BASE.replace('"5s"', '"1s"') + DOOR + SINK + bad + note(1)) as program:
        with open_writer(program, limit=total, rate=2000) as writer:
            writer.finish()
        for account in ("sink.archive", "hook.h"):
            wait_for(lambda account=account: delivered(program, account, total))  # type: ignore[misc]
        figures = {name: program.figures(f"hook.{name}") for name in BAD}
        assert program.stop() == 0
        assert program.final("hook.h")["dropped"] == {}
        assert program.rows("conn") == rows(total)
    assert sorted(number for number, *_ in noted_in(noted)) == list(range(1, total + 1))
    assert figures["hang"]["timeouts"] > 0
    assert "killed by SIGSEGV" in figures["segfault"]["last_error"]
    assert "exited with 3" in figures["leave"]["last_error"]
    assert figures["leak"]["last_error"] == "MemoryError"
    # A crash loop is no storm: the pause doubles from 0.1 s on.
    assert figures["leave"]["workers_started"] < 30
    assert len(program.log) < 3_000_000
    wait_for(lambda: not processes(f"sleep {SLEEP_S}"))
