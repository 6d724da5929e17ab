"""``broappliance status``: ask a running appliance."""

from __future__ import annotations

import argparse
import contextlib
import json
import time

from .client import Endpoint, fetch_status, find_endpoint

__all__ = ["call"]


def call(arguments: argparse.Namespace) -> int:
    """Print the status, once or again and again; 3 if something needs attention."""
    endpoint = find_endpoint(arguments)
    if arguments.watch:
        with contextlib.suppress(KeyboardInterrupt):  # which is how one ends it
            _watch(endpoint, arguments.interval, as_json=arguments.json)
        return 0
    status = fetch_status(endpoint)
    from .tables import make_console, make_status, needs_attention

    if arguments.json:
        print(json.dumps(status, indent=2))
    else:
        make_console().print(make_status(status), crop=False)
    return 3 if needs_attention(status) else 0


def _watch(endpoint: Endpoint, interval_s: float, *, as_json: bool) -> None:
    """Until it is ended: on a terminal the newest, else one after the other, JSON in one line each."""
    from .tables import make_console, make_status

    console = make_console()
    if console.is_terminal and not as_json:
        from .watch import show

        show(lambda: fetch_status(endpoint), interval_s)
        return
    while True:
        status = fetch_status(endpoint)
        if as_json:
            print(json.dumps(status), flush=True)
        else:
            console.print(make_status(status), crop=False)
        time.sleep(interval_s)
