"""``broappliance status``: ask a running appliance."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import NoReturn

from .client import fetch_status, find_socket

__all__ = ["call"]

INTERVAL_S = 1.0


def call(arguments: argparse.Namespace) -> int:
    """Print the status, once or again and again; 3 if something needs attention."""
    socket = find_socket(arguments.config, arguments.socket)
    if arguments.watch:
        try:
            _watch(socket, as_json=arguments.json)
        except KeyboardInterrupt:  # which is how one ends it
            return 0
    status = fetch_status(socket)
    from .tables import make_console, make_status, needs_attention

    if arguments.json:
        print(json.dumps(status, indent=2))
    else:
        make_console().print(make_status(status))
    return 3 if needs_attention(status) else 0


def _watch(socket: Path, *, as_json: bool) -> NoReturn:
    from .tables import make_console, make_status

    console = make_console()
    if as_json or not console.is_terminal:
        while True:
            status = fetch_status(socket)
            if as_json:
                print(json.dumps(status), flush=True)
            else:
                console.print(make_status(status))
            time.sleep(INTERVAL_S)
    from rich.live import Live

    with Live(make_status(fetch_status(socket)), console=console, screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(INTERVAL_S)
            live.update(make_status(fetch_status(socket)), refresh=True)
