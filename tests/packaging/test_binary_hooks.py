"""Hooks of the bundled program in every form: what they are started with, and what they may do."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.harness import BASE, DOOR, Program, delivered, open_program, open_writer, rows, wait_for

pytestmark = pytest.mark.slow

HOOKS = """\
import concurrent.futures, multiprocessing, os, sqlite3, ssl, subprocess, zlib
import json

MULTIPLIED = {}

def note(name, value):
    with open(os.path.join(FOLDER, name + ".part"), "w") as file:
        json.dump(value, file)
    os.rename(os.path.join(FOLDER, name + ".part"), os.path.join(FOLDER, name))

def look():
    maps = subprocess.run(["cat", "/proc/self/maps"], capture_output=True, text=True, check=True).stdout
    database = sqlite3.connect(":memory:")
    return {
        "environment": dict(os.environ),
        "libraries of a program": sorted({line.split()[-1] for line in maps.splitlines() if "/" in line}),
        "certificates": len(ssl.create_default_context().get_ca_certs()) > 0,
        "database": database.execute("select 6 * 7").fetchone()[0],
    }

def in_thread(record):
    note("thread", look())

def in_process(record, ctx):
    note("process", {**look(), "pid": os.getpid(), "parent": os.getppid()})

def square(number):
    return number * number, os.getpid()

def with_others(record):
    for method in ("fork", "spawn", "forkserver"):
        context = multiprocessing.get_context(method)
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
            note(method, [result for result, pid in pool.map(square, range(5)) if pid != os.getpid()])

def reverse(payload):
    return payload[::-1]
"""
SITES = """\
import os
def on_folder(name, path):
    with open(os.path.join(path, "seen"), "w") as file:
        file.write(name)
HOOK = [on_folder]
"""
CONF = """\
[[sink]]
name = "archive"
on = ["log:*"]
path = "logs/{path}/%Y.log"
compress = "zstd"
[[store]]
name = "hosts"
persistent = true
[broker]
listen = ["127.0.0.1:0"]
[[capture]]
name = "telemetry"
conn_type = "udp"
address = ["127.0.0.1", 0]
[[capture.handler]]
name = "reversed"
pre_write_transforms = ["site_hooks:reverse"]
[[watch]]
name = "logs"
directory = "FOLDER/folders"
what = "folders"
recursive = false
settle = "100ms"
[[hook]]
name = "package"
on = ["folder:logs"]
sites = "sites"
logs_path = "FOLDER/folders"
[[hook]]
name = "thread"
on = ["log:conn"]
run = "site_hooks:in_thread"
where = 'uid == "C1"'
[[hook]]
name = "process"
on = ["log:conn"]
run = "site_hooks:in_process"
isolation = "process"
queue = "durable"
[[hook]]
name = "others"
on = ["log:conn"]
run = "site_hooks:with_others"
isolation = "process"
timeout = "30s"
[[hook]]
name = "command"
on = ["folder:logs"]
command = ["sh", "-c", "(env; cat /proc/self/maps) > FOLDER/command.part; mv FOLDER/command.part FOLDER/command"]
"""


@pytest.fixture(scope="module")
def program(binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """One that runs with a hook of each form, and has been sent a record, a datagram and a folder."""
    folder = tmp_path_factory.mktemp("bundle")
    (folder / "site_hooks.py").write_text(f"FOLDER = {os.fspath(folder)!r}\n{HOOKS}")
    (folder / "sites").mkdir()
    (folder / "sites" / "__init__.py").write_text(SITES)
    (folder / "folders").mkdir()
    with open_program(folder, BASE + DOOR + CONF.replace("FOLDER", os.fspath(folder)), [binary]) as program:
        (folder / "one").mkdir()
        (folder / "one" / "conn.log").touch()
        (folder / "one").rename(folder / "folders" / "one")
        with open_writer(program, rate=0, limit=1) as writer:
            writer.finish()
            host, _, port = program.figures("capture.telemetry")["address"].rpartition(":")
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.sendto(b"abc", (host, int(port)))
            wait_for(lambda: delivered(program, "sink.archive", 1))
            yield program
        assert program.stop() == 0


def told(program: Program, name: str) -> Any:
    """What a hook has noted."""
    file = program.folder / name
    wait_for(file.exists)
    return json.loads(file.read_text())


def assert_is_clean(environment: dict[str, str]) -> None:
    """Of the bundle nothing is left in it."""
    assert not [name for name in environment if name.startswith(("_PYI", "_MEI", "LD_"))]


@pytest.mark.parametrize("name", ["thread", "process"])
def test_hooks_use_the_library_and_run_programs(name: str, program: Program) -> None:
    """What they start gets the machine's libraries, not those of the bundle."""
    found = told(program, name)
    assert_is_clean(found["environment"])
    assert found["database"] == 42
    assert not [library for library in found["libraries of a program"] if "_internal" in library or "_MEI" in library]


def test_worker_is_the_same_program(binary: Path, program: Program) -> None:
    """In a process of its own."""
    pid = told(program, "process")["pid"]
    assert Path(f"/proc/{pid}/exe").samefile(binary)
    assert Path(f"/proc/{pid}/comm").read_text() == "hook:process\n"


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_hooks_use_multiprocessing(method: str, binary: Path, program: Program) -> None:
    """All three ways to start processes lead back into the bundle."""
    if method != "fork" and not (binary.parent / "_internal").exists():
        pytest.skip("a single file would unpack itself for each process")
    assert told(program, method) == [0, 1, 4, 9, 16]


def test_commands_get_nothing_of_the_bundle(program: Program) -> None:
    """Neither variables nor libraries."""
    file = program.folder / "command"
    wait_for(file.exists)
    lines = file.read_text().splitlines()
    assert_is_clean(dict(line.partition("=")[::2] for line in lines if "=" in line))
    assert not [line for line in lines if "_internal" in line or "_MEI" in line]


def test_packages_transforms_and_files(program: Program) -> None:
    """A package of hooks is called, payloads are changed, logs are compressed."""
    seen = program.folder / "folders" / "one" / "seen"
    wait_for(lambda: seen.exists() and seen.read_text() == "one")
    wait_for(lambda: delivered(program, "handler.telemetry/reversed", 1))


@pytest.mark.parametrize(
    "arguments",
    [("status",), ("status", "--json"), ("hooks", "failed"), ("hooks", "list"), ("store", "list"), ("capture", "list")],
    ids=" ".join,
)
def test_commands_ask_the_running_program(arguments: tuple[str, ...], binary: Path, program: Program) -> None:
    """Over its socket; 3 says that something needs attention, which is an answer too."""
    done = subprocess.run(
        [binary, *arguments, "--socket", program.state / "api.sock"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode in {0, 3}, done.stderr
    assert "Traceback" not in done.stderr


def test_stopping_ends_all_of_it(binary: Path, tmp_path: Path) -> None:
    """Files are finished, and no worker is left."""
    (tmp_path / "site_hooks.py").write_text(f"FOLDER = {os.fspath(tmp_path)!r}\n{HOOKS}")
    conf = '[[hook]]\nname = "process"\non = ["log:conn"]\nrun = "site_hooks:in_process"\nisolation = "process"\n'
    sink = '[[sink]]\nname = "archive"\non = ["log:*"]\npath = "logs/{path}/%Y.log"\n'
    with open_program(tmp_path, BASE + DOOR + sink + conf, [binary]) as program:
        with open_writer(program, rate=0, limit=5) as writer:
            writer.finish()
            wait_for(lambda: delivered(program, "hook.process", 5))
        worker = told(program, "process")["pid"]
        assert program.stop() == 0
    assert program.rows("conn") == rows(5)
    assert not Path(f"/proc/{worker}").exists()
