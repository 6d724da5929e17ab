"""What a reload tells of files that it has read again, and how it is asked when the file names another socket."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from appliance.api.tokens import make_token
from appliance.cli.client import fetch_status
from tests.ports import free_port

from .harness import BASE, PROGRAM, Program, open_program, wait_for, write_conf

pytestmark = pytest.mark.slow


def run(program: Program, *arguments: str) -> tuple[int, str]:
    """A command that is given the file; returns its exit code and what it said."""
    argv = [*PROGRAM, *arguments, "--config", str(program.conf)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def test_a_reload_that_moves_the_socket_is_asked_for_at_the_old_one(tmp_path: Path) -> None:
    """The state directory says which that is; afterwards the new one is served, and at the end none."""
    with open_program(tmp_path, BASE) as program:
        told = program.state / "api.sockets"
        assert told.read_text() == f"{program.state}/api.sock\n"
        write_conf(program, BASE.replace("unix:api.sock", "unix:run/moved.sock"))
        assert run(program, "status")[0] == 0
        code, text = run(program, "reload", "--wait")
        assert (code, "restarted" in text) == (0, True), text
        assert told.read_text() == f"{program.state}/run/moved.sock\n"
        assert not (program.state / "api.sock").exists()
        assert run(program, "status")[0] == 0
        assert program.stop() == 0
        assert not told.exists()
        code, text = run(program, "status")
        assert (code, "if the file has moved [api] listen since it was read" in text) == (1, True)


def test_tokens_that_are_read_again_are_told(tmp_path: Path) -> None:
    """And only if they have changed."""
    _, line = make_token("one", "read")
    (tmp_path / "tokens").write_text(f"{line}\n")
    listen = f'listen = ["unix:api.sock", "127.0.0.1:{free_port()}"]\ntoken_file = "tokens"'
    with open_program(tmp_path, BASE.replace('listen = ["unix:api.sock"]', listen)) as program:
        code, text = run(program, "reload", "--wait")
        assert (code, "unchanged: api" in text, "nothing differs" in text) == (0, True, True), text
        with (tmp_path / "tokens").open("a") as file:
            file.write(f"{make_token('two', 'read')[1]}\n")
        code, text = run(program, "reload", "--wait")
        words = text.split()
        assert (code, "unchanged" in text) == (0, False), text
        assert "api applied live token_file (its file)" in " ".join(words)
        outcome = fetch_status(program.state / "api.sock")["last_reload"]
        assert [(each["name"], each["how"], each["files"]) for each in outcome["changes"]] == [
            ("api", "applied", ["token_file"])
        ]
        wait_for(lambda: program.status()["state"] == "running")
        assert program.stop() == 0
