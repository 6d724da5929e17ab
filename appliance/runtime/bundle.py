"""The program as one bundle that is its own interpreter, and how it starts itself once more in either form."""

from __future__ import annotations

import os
import sys

from .environment import child_environment

__all__ = ["HOOK_WORKER", "SITES_WORKER", "WORKERS", "is_bundled", "program_argv", "worker_environment"]

HOOK_WORKER, SITES_WORKER = "appliance.hooks.worker", "appliance.hooks.sites.worker"
"""The modules that are programs: the worker process of a hook, and of a package of them."""
WORKERS = {"--hook-worker": HOOK_WORKER, "--sites-worker": SITES_WORKER}
"""The argument that makes a bundle one of them; nobody else gives it."""
_TO_FIND_ITSELF = ("_PYI_", "_MEIPASS2", "LD_LIBRARY_PATH", "LD_PRELOAD")


def is_bundled() -> bool:
    """Whether there is no interpreter but this program."""
    return bool(getattr(sys, "frozen", False))


def program_argv(module: str = "appliance") -> list[str]:
    """What starts the appliance, which takes further arguments, or one of `WORKERS`, which does not."""
    if is_bundled():
        return [sys.executable, *(argument for argument, worker in WORKERS.items() if worker == module)]
    return [sys.executable, "-P", "-m", module]


def worker_environment() -> dict[str, str]:
    """All variables for a worker: `child_environment`, and what a bundle finds itself by; the worker takes that out."""
    cleaned = child_environment()
    if is_bundled():
        cleaned |= {name: value for name, value in os.environ.items() if name.startswith(_TO_FIND_ITSELF)}
    return cleaned
