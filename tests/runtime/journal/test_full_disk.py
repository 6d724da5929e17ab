"""The journal's disk is full for a while."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
SCRIPT = "mount -t tmpfs -o size=40m none {0} && exec {1} -m tests.runtime.journal.full_disk {2} {0}"


def run(folder: Path, policy: str) -> dict[str, Any]:
    script = SCRIPT.format(folder, sys.executable, policy)
    try:
        done = subprocess.run(
            ["unshare", "--map-root-user", "--mount", "sh", "-c", script],
            cwd=ROOT, capture_output=True, text=True, timeout=90,
        )  # fmt: skip
    except FileNotFoundError:
        pytest.skip("no unshare")
    if "unshare:" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no namespaces: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


@pytest.mark.slow
def test_records_wait_for_the_disk(tmp_path: Path) -> None:
    """With `block` nothing is lost, and it goes on by itself."""
    told = run(tmp_path, "block")
    assert told == {"lost": 0, "seen": 4100, "distinct": 4100, "last": 4099, "failing": True}


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["drop_newest", "drop_oldest"])
def test_records_that_the_disk_does_not_take_are_counted(tmp_path: Path, policy: str) -> None:
    """With `drop_newest` and `drop_oldest` every one, and the others are there."""
    told = run(tmp_path, policy)
    assert told["lost"] > 0
    assert told["seen"] == told["distinct"] == 4100 - told["lost"]
    assert (told["last"], told["failing"]) == (4099, True)
