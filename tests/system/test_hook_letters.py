"""``broappliance hooks`` on the whole program: while it runs, and at rest."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .harness import BASE, DOOR, Program, hook, open_program, open_writer, wait_for, write_hooks

pytestmark = pytest.mark.slow


def hooks(program: Program, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Call the command line as a person would."""
    command = [sys.executable, "-m", "appliance", "hooks", *arguments, "--config", str(program.conf)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def listed(program: Program, *arguments: str) -> Any:
    return json.loads(hooks(program, *arguments, "--json").stdout)


def test_dead_letters_from_the_command_line(tmp_path: Path) -> None:
    """They are listed, shown, tried again and deleted; what is left can be looked at when the program has ended."""
    write_hooks(tmp_path)
    conf = BASE + DOOR + hook("fail", "attempts = 1")
    with open_program(tmp_path, conf) as program:
        assert hooks(program, "failed").returncode == 0
        with open_writer(program, limit=5) as writer:
            writer.finish()
            wait_for(lambda: program.account("hook.h")["dropped"].get("hook_error") == 5)
        found = hooks(program, "failed")
        assert (found.returncode, "RuntimeError: no" in found.stdout) == (3, True)
        ids = [letter["id"] for letter in listed(program, "failed")]
        assert len(ids) == 5
        shown = hooks(program, "show", str(ids[0]))
        assert '"_seq": 1' in shown.stdout
        assert "raise RuntimeError" in shown.stdout
        again = hooks(program, "retry", str(ids[0]))
        assert (again.returncode, again.stdout) == (0, "1 dead letters to be tried again\n")
        wait_for(lambda: program.account("hook.h")["dropped"].get("hook_error") == 6)
        assert hooks(program, "purge", str(ids[1])).returncode == 0
        gone = hooks(program, "retry", str(ids[1]))
        assert (gone.returncode, "0 dead letters" in gone.stdout) == (1, True)
        (line,) = listed(program, "list")["hooks"]
        assert (line["name"], line["state"], line["dead"], line["figures"]["failed"]) == ("h", "running", 4, 6)
        assert "running" in hooks(program, "list").stdout
        assert hooks(program, "purge").returncode == 2
        assert program.stop() == 0

        assert [letter["id"] for letter in listed(program, "failed")] == [ids[0], *ids[2:]]
        assert hooks(program, "failed").returncode == 3
        assert json.loads(hooks(program, "show", str(ids[2]), "--json").stdout)["record"]["_seq"] == 3
        (line,) = listed(program, "list")["hooks"]
        assert (line["name"], line["state"], line["dead"]) == ("h", "stopped", 4)
        refused = hooks(program, "purge", "--all")
        assert (refused.returncode, "no appliance answers" in refused.stderr) == (1, True)


def test_what_waits_is_there_after_a_kill_to_be_looked_at(tmp_path: Path) -> None:
    """And what is in its log is not touched by looking."""
    write_hooks(tmp_path)
    conf = BASE + DOOR + hook("hang", 'timeout = "1h"')
    with open_program(tmp_path, conf) as program:
        with open_writer(program, limit=50) as writer:
            writer.finish()
            wait_for(lambda: program.account("hook.h")["queued"] == 50)
            wait_for(lambda: listed(program, "list")["hooks"][0]["waiting"] == 50)
        assert program.process is not None
        program.process.kill()
        program.process.wait()
        before = {p.name: p.read_bytes() for p in (program.state / "journal").iterdir() if p.name != "journal.db-shm"}
        (line,) = listed(program, "list")["hooks"]
        assert (line["state"], line["waiting"], line["dead"]) == ("stopped", 50, 0)
        assert {name: (program.state / "journal" / name).read_bytes() for name in before} == before
        other = tmp_path / "elsewhere"
        other.mkdir()
        absent = BASE.replace('"state"', '"elsewhere"')
        program.conf.write_text(absent)
        nothing = hooks(program, "list")
        assert (nothing.returncode, "there is no journal" in nothing.stderr) == (1, True)
