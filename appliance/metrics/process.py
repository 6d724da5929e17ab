"""What the kernel tells about our process, under the names that every exporter uses.

Source: proc(5), ``/proc/pid/stat`` and ``/proc/pid/limits``; Prometheus, "Writing client libraries", process metrics.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path

from .exposition import Labels, Metric, Page

__all__ = ["METRICS", "add_process"]

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")

_CPU = Metric("process_cpu_seconds_total", "counter", "Processor time spent, user and system.")
_USER = Metric("process_cpu_user_seconds_total", "counter", "Processor time spent by us.")
_SYSTEM = Metric("process_cpu_system_seconds_total", "counter", "Processor time spent by the kernel for us.")
_RESIDENT = Metric("process_resident_memory_bytes", "gauge", "Memory that is in use.")
_VIRTUAL = Metric("process_virtual_memory_bytes", "gauge", "Addresses that are in use.")
_START = Metric("process_start_time_seconds", "gauge", "When the process was started.")
_FDS = Metric("process_open_fds", "gauge", "File descriptors that are open.")
_MAX_FDS = Metric("process_max_fds", "gauge", "File descriptors that may be open.")
_THREADS = Metric("process_threads", "gauge", "Threads that run.")

METRICS = (_CPU, _USER, _SYSTEM, _RESIDENT, _VIRTUAL, _START, _FDS, _MAX_FDS, _THREADS)


def _boot_s(proc: Path) -> int:
    lines = (proc / "stat").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("btime ")), 0)


def add_process(page: Page, labels: Labels, proc: Path = Path("/proc")) -> None:
    """Add what is known of this process; what the kernel does not tell is left out. A few reads that do not block.

    Args:
        page: takes the samples.
        labels: of each of them.
        proc: where the kernel's files are.
    """
    try:
        text = (proc / "self" / "stat").read_text()
        # The second field is the program's name, in brackets, and may hold anything.
        fields = text[text.rindex(")") + 2 :].split()
        user, system = int(fields[11]) * _TICK_S, int(fields[12]) * _TICK_S
        page.add(_CPU, labels, round(user + system, 2))
        page.add(_USER, labels, round(user, 2))
        page.add(_SYSTEM, labels, round(system, 2))
        page.add(_THREADS, labels, int(fields[17]))
        page.add(_START, labels, round(_boot_s(proc) + int(fields[19]) * _TICK_S, 2))
        page.add(_VIRTUAL, labels, int(fields[20]))
        page.add(_RESIDENT, labels, int(fields[21]) * _PAGE)
        page.add(_FDS, labels, len(list((proc / "self" / "fd").iterdir())) - 1)  # without the one of this look
    except (OSError, ValueError, IndexError):
        pass  # hidepid, or no /proc at all
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit != resource.RLIM_INFINITY:
        page.add(_MAX_FDS, labels, limit)
