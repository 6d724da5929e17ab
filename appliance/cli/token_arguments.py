"""The arguments of ``broappliance token``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["add_token"]


def add_token(commands: Any, command: Callable[..., Any]) -> None:
    """Add it to the commands that there are."""
    about = "Make and list bearer tokens, which the API asks for on TCP: [api] token_file."
    token = commands.add_parser("token", help="make tokens for the API on TCP", description=about)
    kinds = token.add_subparsers(dest="what", metavar="COMMAND", title="commands", required=True)
    told = (
        "Make a token. It is printed on standard output, once: only its hash is kept. The line for the file goes into\n"
        "--file, or to standard error. A running appliance reads the file again at a reload.\n\n"
        "  broappliance token new grafana --file /etc/broappliance/api.tokens > grafana.token"
    )
    new = command(kinds, "new", "make a token", told, "token", "call_new")
    new.add_argument("name", metavar="NAME", help="whose it is; stands in the log")
    new.add_argument("--role", choices=("read", "operate"), default="read", help="what one may do with it (read)")
    new.add_argument("--file", type=Path, metavar="FILE", help="[api] token_file")
    shown = command(kinds, "list", "list names and roles", "List whose tokens there are.", "token", "call_list")
    shown.add_argument("--file", type=Path, metavar="FILE", required=True, help="[api] token_file")
