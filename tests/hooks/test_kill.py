"""A hook's process is killed at random moments, and nothing is missing."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue

import pytest

ROOT = Path(__file__).parents[2]
SIZE = 50


class Victim:
    """One life of the process."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "tests.hooks.victim", str(folder), *arguments]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.told: SimpleQueue[str] = SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        assert self.told.get(timeout=30).startswith("ready")

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.told.put(line.strip())

    def feed(self, batches: list[int]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("".join(f"{first} {SIZE}\n" for first in batches))
        self.process.stdin.flush()

    def accepted(self) -> set[int]:
        """What it has told until now."""
        found = set[int]()
        while True:
            try:
                line = self.told.get_nowait()
            except Empty:
                return found
            if line != "idle":
                found.add(int(line))

    def kill_worker(self) -> bool:
        """Kill a process of the hook, if one runs; returns whether one did."""
        pid = self.process.pid
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            with suppress(OSError):
                if Path(f"/proc/{child}/comm").read_text().startswith("hook:"):
                    os.kill(int(child), signal.SIGKILL)
                    return True
        return False

    def kill(self) -> set[int]:
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return self.accepted()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("durability", "isolation", "kills"), [("batch", "thread", 30), ("always", "thread", 10), ("batch", "process", 20)]
)
def test_nothing_is_missing_after_kills_at_random_moments(
    tmp_path: Path, durability: str, isolation: str, kills: int
) -> None:
    """What the journal has accepted is done; what is done again was in flight, and comes as another attempt."""
    chance = random.Random(7)
    todo = list(range(0, 20_000, SIZE))
    fed_again: set[int] = set()
    share = len(todo) // kills + 1
    workers_killed = 0
    for _ in range(kills):
        victim = Victim(tmp_path, durability, isolation)
        batches, todo = todo[:share], todo[share:]
        victim.feed(batches)
        if isolation == "process":
            wait_for_growth(tmp_path / "seen")  # it has been started, and has its first records
            threading.Event().wait(chance.random() * 0.01)
            workers_killed += chance.random() < 0.5 and victim.kill_worker()
        threading.Event().wait(chance.random() * (0.15 if isolation == "thread" else 0.01))
        accepted = victim.kill()
        unknown = [first for first in batches if first not in accepted]
        fed_again |= {n for first in unknown for n in range(first, first + SIZE)}
        todo = unknown + todo
    assert workers_killed or isolation == "thread"
    victim = Victim(tmp_path, durability, isolation)
    victim.feed(todo)
    accepted = set[int]()
    while accepted < set(todo):
        line = victim.told.get(timeout=60)
        accepted |= {int(line)} if line != "idle" else set()
    while not victim.told.empty() or victim.told.get(timeout=60) != "idle":
        victim.told.get(timeout=60)
    victim.kill()
    check((tmp_path / "seen").read_text(), fed_again, kills)


def wait_for_growth(path: Path) -> None:
    before = path.stat().st_size if path.exists() else 0
    deadline = time.monotonic() + 30
    while not path.exists() or path.stat().st_size == before:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def check(seen: str, fed_again: set[int], kills: int) -> None:
    lines = [line.split() for line in seen.splitlines()]
    calls = Counter((int(number), int(attempt)) for number, attempt in lines)
    done = Counter(int(number) for number, attempt in lines if attempt != "0")
    assert set(range(20_000)) == set(done)
    # Each attempt has its number once, unless the record itself came twice.
    assert not [call for call, count in calls.items() if count > 1 and call[0] not in fed_again]
    again = [n for n, count in done.items() if count > 1 and n not in fed_again]
    assert len(again) <= kills * 256
    interrupted = {number for number, attempt in calls if attempt > 1 and number % 97}
    assert interrupted or kills < 20, "no kill hit a call, the test shows nothing"
