"""Arguments of the commands that ask a running appliance about itself: status, reload, config."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

__all__ = ["add_operation"]

STATUS = """\
Show what a running appliance does: services and their states, queues, and for every door and consumer
received = delivered + dropped + queued. Exit code 3 if a service is not running, records were lost, or the
last reload was refused.
"""
RELOAD = """\
Let a running appliance read its configuration again. What differs is applied, all of it or nothing.

With --wait the command ends when the reload has, and prints what became of every service. The exit code tells: 0 it was
applied, 2 it was refused for mistakes in the file, printed with file and line, 1 it failed otherwise. Whatever
the reason, the old configuration goes on then.
"""
CONFIG = """\
Print the configuration that a running appliance uses: every key, defaults included, paths made absolute. Secrets are
masked. What a file says that nobody runs: broappliance --config FILE --print-config.
"""


def add_operation(
    commands: Any, command: Callable[..., argparse.ArgumentParser], add_socket: Callable[..., None]
) -> None:
    """Add the commands."""
    status = command(commands, "status", "services, rates, queues, and the ledger by reason", STATUS, "status")
    add_socket(status)
    status.add_argument("--json", action="store_true", help="print the whole status document")
    status.add_argument("--watch", action="store_true", help="show it again and again, until q or Ctrl-C")
    status.add_argument(
        "--interval", type=_seconds, default=1.0, metavar="SECONDS", help="with --watch: between two (default: 1)"
    )

    reload = command(commands, "reload", "apply what has changed in the configuration", RELOAD, "reload")
    add_socket(reload)
    reload.add_argument("--wait", action="store_true", help="wait for its end, and tell what has changed")
    reload.add_argument(
        "--timeout", type=_seconds, default=90.0, metavar="SECONDS", help="with --wait: no longer (default: 90)"
    )
    reload.add_argument("--json", action="store_true", help="print JSON")

    config = command(commands, "config", "the configuration that is in force", CONFIG, "config")
    add_socket(config)
    config.add_argument("--json", action="store_true", help="print JSON")


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < 86_400:
        raise argparse.ArgumentTypeError("must be a number of seconds above 0")
    return seconds
