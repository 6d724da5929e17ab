"""``broappliance demo``: see it work, with traffic of its own."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from appliance.errors import ConfigError

__all__ = ["call"]

DEMO_FILE = Path(__file__).parents[2] / "conf" / "demo.toml"


def call(arguments: argparse.Namespace) -> int:
    """Run the demonstration; 0 if everything that was sent is in the files."""
    config = arguments.config or DEMO_FILE
    if not config.exists():
        raise ConfigError("no such file", file=str(config), hint="name the demo's file with --config")
    if arguments.rate < 1:
        raise ConfigError(f"--rate {arguments.rate}: must be at least 1")

    import trio

    from appliance.demo.show import Demo

    from .client import fetch_status, find_socket
    from .tables import make_console, make_status

    console = make_console()
    endpoint = find_socket(config, None)

    def show(status: dict[str, Any]) -> None:
        console.print(make_status(status))

    demo = Demo(
        config=_short(config),
        rate=arguments.rate,
        once=arguments.once,
        fetch=lambda: fetch_status(endpoint),
        say=lambda line: console.print(line, soft_wrap=True),
        show=show,
    )
    return trio.run(demo.run)


def _short(path: Path) -> Path:
    """The path as a person would type it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
