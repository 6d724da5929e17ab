"""A writer at full speed beside the tail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import trio

from .harness import logs_in, open_bench, wait_until

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "seconds", "every_s"), [("tsv", 4, 0.5), ("json", 4, 0.5), ("tsv", 3, 0.05)])
async def test_each_record_arrives_once_and_in_order(tmp_path: Path, kind: str, seconds: int, every_s: float) -> None:
    """Whatever is rotated under way, nothing is lost, repeated, or out of order, and the ledger agrees."""
    command = [sys.executable, "-m", "tests.tail.writer", str(tmp_path), str(seconds), str(every_s), kind, "100"]
    async with open_bench(tmp_path, logs_in(tmp_path, "*.log")) as bench:
        bench.consumer.keeps = False
        writer = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        text = await trio.to_thread.run_sync(lambda: writer.communicate()[0])
        written = int(text)
        await wait_until(lambda: bench.consumer.account.delivered >= written, timeout_s=60)
        assert bench.figures.received == bench.figures.delivered == written
        assert bench.consumer.next_number == written


@pytest.mark.slow
async def test_rotated_files_may_leave_our_sight(tmp_path: Path) -> None:
    """As above, with globs that name only the current file."""
    command = [sys.executable, "-m", "tests.tail.writer", str(tmp_path), "3", "0.3", "tsv", "100"]
    async with open_bench(tmp_path, logs_in(tmp_path, "conn.log")) as bench:
        bench.consumer.keeps = False
        writer = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        text = await trio.to_thread.run_sync(lambda: writer.communicate()[0])
        written = int(text)
        await wait_until(lambda: bench.consumer.account.delivered >= written, timeout_s=60)
        assert bench.consumer.next_number == written
