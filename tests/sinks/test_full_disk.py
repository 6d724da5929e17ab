"""The jsonl sink on a full disk: it is tried again, and nothing is lost, repeated or torn."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = [sys.executable, "-m", "tests.sinks.full_disk"]


def check(done: subprocess.CompletedProcess[str], rows: list[str], error: str) -> None:
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["restarts"] >= 3
    assert error in told["error"]
    assert told["delivered"] == 4000
    assert sorted(rows) == [f'{{"n":{n:4}}}' for n in range(4000)]


def rows_in(folder: Path) -> list[str]:
    return [row for file in sorted(folder.glob("*.log")) for row in file.read_text().splitlines()]


@pytest.mark.slow
def test_file_that_must_not_grow_is_tried_again(tmp_path: Path) -> None:
    """RLIMIT_FSIZE: a write fails in its middle, is taken back, and succeeds when the limit is lifted."""
    done = subprocess.run([*SCRIPT, "limit", tmp_path], cwd=ROOT, capture_output=True, text=True, timeout=60)
    check(done, rows_in(tmp_path), "File too large")
    assert list(tmp_path.glob("*.part")) == []


@pytest.mark.slow
def test_full_file_system_is_tried_again(tmp_path: Path) -> None:
    """ENOSPC on a file system of 128 KiB that is nearly full; needs the right to mount."""
    disk, copy = tmp_path / "disk", tmp_path / "copy"
    disk.mkdir()
    copy.mkdir()
    mount = f"mount -t tmpfs -o size=128k tmpfs {disk}"
    if subprocess.run(["unshare", "-m", "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("cannot mount here")
    command = f'{mount} && "$@" && cp {disk}/* {copy}'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", command, "sh", *SCRIPT, "tmpfs", disk],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    check(done, rows_in(copy), "No space left on device")
    assert list(copy.glob("*.part")) == []
