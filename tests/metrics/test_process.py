"""What the kernel tells of this process."""

from __future__ import annotations

import os
import resource
import threading
import time
from pathlib import Path

from appliance.metrics.exposition import Page
from appliance.metrics.process import METRICS, add_process

from .readers import read_text


def values(page: Page) -> dict[str, float]:
    return {sample.name: sample.value for family in read_text(page.render().decode()) for sample in family.samples}


def test_figures_of_this_process_are_plausible() -> None:
    """As other ways to ask the kernel tell them."""
    page = Page({"node": "n"})
    add_process(page, page.labels)
    found = values(page)
    assert set(found) == {metric.name for metric in METRICS}
    usage = resource.getrusage(resource.RUSAGE_SELF)
    assert 0 < found["process_cpu_seconds_total"] <= usage.ru_utime + usage.ru_stime + 0.1
    assert 0 < found["process_resident_memory_bytes"] <= usage.ru_maxrss * 1024
    assert found["process_virtual_memory_bytes"] > found["process_resident_memory_bytes"]
    assert time.time() - 86_400 * 30 < found["process_start_time_seconds"] <= time.time() + 1
    assert found["process_open_fds"] == len(os.listdir("/proc/self/fd")) - 1  # noqa: PTH208
    assert found["process_threads"] >= threading.active_count() > 0
    assert found["process_max_fds"] == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def test_a_program_may_have_any_name(tmp_path: Path) -> None:
    """Brackets and spaces in it do not move the fields."""
    (tmp_path / "self" / "fd").mkdir(parents=True)
    fields = ["S", *map(str, range(4, 53))]
    (tmp_path / "self" / "stat").write_text(f"42 (a) 9 (b c) {' '.join(fields)}\n")
    (tmp_path / "stat").write_text("cpu 1 2\nbtime 1000000\n")
    page = Page({"node": "n"})
    add_process(page, page.labels, tmp_path)
    found = values(page)
    tick = 1 / os.sysconf("SC_CLK_TCK")
    assert found["process_cpu_user_seconds_total"] == 14 * tick
    assert found["process_cpu_system_seconds_total"] == 15 * tick
    assert found["process_threads"] == 20
    assert found["process_start_time_seconds"] == 1_000_000 + 22 * tick
    assert found["process_virtual_memory_bytes"] == 23
    assert found["process_resident_memory_bytes"] == 24 * os.sysconf("SC_PAGE_SIZE")


def test_what_the_kernel_hides_is_left_out(tmp_path: Path) -> None:
    """Without a /proc the page is none the worse."""
    page = Page({"node": "n"})
    add_process(page, page.labels, tmp_path)
    assert set(values(page)) <= {"process_max_fds"}
