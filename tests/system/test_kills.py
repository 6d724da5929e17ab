"""The whole program is killed again and again: at random moments, inside an fsync, and its worker processes too."""

from __future__ import annotations

import os
import platform
import random
import signal
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from appliance.tail.position import load_positions

from .harness import BASE, Program, hook, wait_for, write_conf

pytestmark = pytest.mark.slow

TOTAL, KILLS = 20_000, 30
FSYNC = {"x86_64": {74, 75}, "aarch64": {82, 83}}.get(platform.machine(), set())
"""System call numbers of fsync and fdatasync."""
HOOK = """\
import os

out = os.open({noted!r}, os.O_CREAT | os.O_WRONLY | os.O_APPEND)

def note(record, ctx):
    os.write(out, b"%d %d\\n" % (record["n"], ctx.attempt))
"""
CONF = (
    BASE
    + '[journal]\ndurability = "{durability}"\n[[tail]]\nname = "in"\npaths = ["{serial}"]\npoll = "50ms"\n'
    + hook("note", "concurrency = 2", 'backoff = "10ms"', 'backoff_max = "50ms"', "attempts = 1000")
)


def is_in_fsync(pid: int) -> bool:
    """Whether one of its threads is."""
    for file in Path(f"/proc/{pid}/task").glob("*/syscall"):
        with suppress(OSError, ValueError):
            if int(file.read_text().split()[0]) in FSYNC:
                return True
    return False


def kill_worker(pid: int) -> bool:
    """Kill one of its worker processes, if there is one."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with suppress(OSError):
            if Path(f"/proc/{child}/comm").read_text().startswith("hook:"):
                os.kill(int(child), signal.SIGKILL)
                return True
    return False


class Driver:
    """Feeds numbered records, and kills."""

    def __init__(self, folder: Path) -> None:
        self.serial = folder / "serial.log"
        self.serial.touch()
        self.noted = folder / "noted"
        (folder / "hooks_under_test.py").write_text(HOOK.format(noted=os.fspath(self.noted)))
        self.program = Program(folder)
        self.fed = 0
        self.workers_killed = self.in_fsync = 0
        self.read_again = set[int]()
        """Records that the door had handed on and not yet noted as such at a kill."""
        self._chance = random.Random(11)

    def feed(self, count: int) -> None:
        with self.serial.open("a") as file:
            file.writelines(f'{{"n":{n}}}\n' for n in range(self.fed, self.fed + count))
        self.fed += count

    def live(self, durability: str) -> None:
        """Start it, and wait until it is at work."""
        write_conf(self.program, CONF.format(durability=durability, serial=self.serial))
        size = self.noted.stat().st_size if self.noted.exists() else 0
        self.program.start()
        self.program.wait_ready()
        self.feed(TOTAL // (KILLS + 1))
        wait_for(lambda: self.noted.exists() and self.noted.stat().st_size > size)

    def kill(self, *, aims_at_fsync: bool) -> None:
        """Records go on coming, workers die, and then everything does."""
        assert self.program.process is not None
        pid = self.program.process.pid
        time.sleep(self._chance.random() * 0.05)
        if self._chance.random() < 0.5:
            self.workers_killed += kill_worker(pid)
        if aims_at_fsync:
            deadline = time.monotonic() + 0.5
            while not (found := is_in_fsync(pid)) and time.monotonic() < deadline:
                pass
            self.in_fsync += found
        else:
            time.sleep(self._chance.random() * 0.05)
        self.program.process.kill()
        self.program.process.wait()
        state = self.program.state / "tail-in.json"
        positions = load_positions(state) or ()
        self.read_again |= set(range(min((each.rows for each in positions), default=0), self.fed))


def test_nothing_is_missing_after_kills(tmp_path: Path) -> None:
    """A record that is done twice was in flight at a kill, and comes as another attempt; or its door read it again."""
    driver = Driver(tmp_path)
    program = driver.program
    try:
        for life in range(KILLS):
            driver.live("always" if life % 3 == 0 else "batch")
            driver.kill(aims_at_fsync=life % 3 == 0)
        driver.live("batch")
        driver.feed(TOTAL - driver.fed)
        wait_for(lambda: done(driver.noted) >= TOTAL and not program.account("hook.h")["queued"], timeout_s=60)
        assert program.stop() == 0
        assert program.final("hook.h")["dropped"] == {}
    finally:
        program.close()
    calls = Counter(tuple(map(int, line.split())) for line in driver.noted.read_text().splitlines())
    assert {number for number, _ in calls} == set(range(TOTAL))
    twice = {number for (number, _), count in calls.items() if count > 1}
    assert twice <= driver.read_again
    assert {attempt for _, attempt in calls} > {1}, "no kill hit a call, the test shows nothing"
    assert driver.workers_killed


def done(noted: Path) -> int:
    return len({line.partition(" ")[0] for line in noted.read_text().splitlines()})
