"""The verdict of ``broappliance status`` about addresses that nobody answers at."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.ports import free_port

from .harness import BASE, PROGRAM, Program, open_program, wait_for

pytestmark = pytest.mark.slow

_QUICK = 'tls = "off"\nretry_interval = "50ms"\nhandshake_timeout = "200ms"\n'


def ask(program: Program, *arguments: str) -> tuple[int, str]:
    """Exit code and output of ``status``."""
    argv = [*PROGRAM, "status", "--socket", str(program.state / "api.sock"), *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout


def test_a_peer_that_is_not_there_is_in_the_headline_until_it_is(tmp_path: Path) -> None:
    """Exit code 3 and its address with the reason, in the document too; 0 once it has come."""
    for name in "ab":
        (tmp_path / name).mkdir()
    port = free_port()
    with open_program(tmp_path / "b", BASE + f'[broker]\nconnect = ["127.0.0.1:{port}"]\n{_QUICK}') as b:
        told = f"broker does not reach 127.0.0.1:{port}: cannot connect: Connection refused"
        wait_for(lambda: b.status()["attention"])
        assert b.status()["attention"] == [{"about": "connection", "text": told}]
        code, text = ask(b)
        assert (code, text.splitlines()[-1]) == (3, f"needs attention: {told}")
        code, text = ask(b, "--json")
        assert (code, json.loads(text)["attention"]) == (3, [{"about": "connection", "text": told}])
        with open_program(tmp_path / "a", BASE + f'[broker]\nlisten = ["127.0.0.1:{port}"]\n{_QUICK}') as a:
            wait_for(lambda: not b.status()["attention"])
            code, text = ask(b)
            assert (code, text.splitlines()[-1]) == (0, "all is well")
            assert ask(a)[0] == 0
            assert a.stop() == 0
        wait_for(lambda: b.status()["attention"])
        assert b.stop() == 0
