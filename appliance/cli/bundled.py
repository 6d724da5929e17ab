"""What a bundled program is besides the command line: the interpreter of its own worker processes, and of those that a
hook starts by Python's multiprocessing. Imports nothing heavy.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import NoReturn

from appliance.runtime.bundle import WORKERS, is_bundled

__all__ = ["find_work"]

_SPAWNED = "--multiprocessing-fork"
_HELPERS = ("from multiprocessing.resource_tracker import main", "from multiprocessing.forkserver import main",
            "import sys; from multiprocessing.forkserver import main")  # fmt: skip
"""How the code begins that multiprocessing has its helpers run."""


def find_work(argv: Sequence[str]) -> Callable[[], int] | None:
    """What the arguments ask for that is no command; None: nothing, they are a person's.

    Source: CPython, Lib/multiprocessing: `get_command_line` of spawn.py for frozen programs, `ensure_running` of
    resource_tracker.py and forkserver.py, which run ``python OPTIONS -c CODE``.
    """
    if len(argv) == 1 and argv[0] in WORKERS:
        return lambda: int(import_module(WORKERS[argv[0]]).main())
    if not argv or not is_bundled():
        return None
    if argv[0] == _SPAWNED:
        return lambda: _run_spawned(argv[1:])
    if len(argv) > 1 and argv[-2] == "-c" and argv[-1].startswith(_HELPERS):
        return lambda: _run_helper(argv[-1])
    return None


def _run_spawned(arguments: Sequence[str]) -> int:
    """Be a process of multiprocessing's "spawn"; the arguments are numbers of descriptors and of the parent."""
    spawn = import_module("multiprocessing.spawn")
    pairs = (argument.partition("=") for argument in arguments)
    spawn.spawn_main(**{name: None if value == "None" else int(value) for name, _, value in pairs})
    return 0


def _run_helper(code: str) -> NoReturn:
    exec(code, {"__name__": "__main__"})  # noqa: S102 - of the standard library; whoever starts us could start anything
    os._exit(0)  # it has closed standard output, which the bundle would flush at its end
