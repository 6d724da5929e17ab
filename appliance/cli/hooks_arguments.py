"""Arguments of ``broappliance hooks``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

__all__ = ["add_hooks"]

TEXT = """\
A record at which a hook failed as often as its 'attempts' say is a dead letter. It is kept with its error, traceback
and attempts, and can be tried again.

While the appliance runs, its socket is asked. When it does not, 'list', 'failed' and 'show' read its journal, which
--config FILE tells; nothing is changed.
"""


def add_hooks(commands: Any, command: Callable[..., argparse.ArgumentParser], add_socket: Callable[..., None]) -> None:
    """Add the command."""
    hooks = commands.add_parser(
        "hooks",
        help="what waits for hooks, what failed, and another try",
        description=TEXT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = hooks.add_subparsers(dest="what", metavar="WHAT", title="what to do", required=True)

    def verb(name: str, summary: str, text: str) -> argparse.ArgumentParser:
        parser = command(verbs, name, summary, text, "hooks", f"call_{name}")
        add_socket(parser)
        return parser

    list_ = verb("list", "every hook and its queue", "Show what waits for each hook, what it does, and how it went.")
    list_.add_argument("--json", action="store_true", help="print the document, with histograms of how long calls took")
    failed = verb("failed", "dead letters", "List dead letters, the oldest first. Exit code 3 if there are any.")
    failed.add_argument("--hook", metavar="NAME", help="of this hook only")
    failed.add_argument("--after", type=int, default=0, metavar="ID", help="only those with higher ids")
    failed.add_argument("--limit", type=int, default=100, metavar="N", help="so many at most (default: %(default)s)")
    failed.add_argument("--json", action="store_true", help="print JSON")
    show = verb("show", "one dead letter", "Show a dead letter with its record, traceback and attempts.")
    show.add_argument("id", type=int, metavar="ID", help="as 'failed' lists it")
    show.add_argument("--json", action="store_true", help="print JSON")
    retry = verb("retry", "try dead letters again", "Give dead letters as many attempts as a new record has.")
    purge = verb("purge", "delete dead letters", "Delete dead letters, or what waits for a hook that nobody runs.")
    for parser in (retry, purge):
        parser.add_argument("id", type=int, nargs="*", metavar="ID", default=(), help="as 'failed' lists them")
        parser.add_argument("--hook", metavar="NAME", help="those of this hook")
        parser.add_argument("--all", action="store_true", help="all of them")
        parser.add_argument("--json", action="store_true", help="print JSON")
    purge.add_argument("--waiting", action="store_true", help="with --hook: what waits for it, if nobody runs it")
