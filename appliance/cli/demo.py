"""``broappliance demo``: see it work, with traffic of its own."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

from appliance.errors import ApplianceError, ConfigError
from appliance.runtime.bundle import is_bundled

__all__ = ["call"]

DEMO_FILE = Path(__file__).parents[2] / "conf" / "demo.toml"


def call(arguments: argparse.Namespace) -> int:
    """Run the demonstration; 0 if everything that was sent is in the files."""
    config = arguments.config or _own_file()
    if not config.exists():
        raise ConfigError("no such file", file=str(config), hint="name the demo's file with --config")
    if arguments.rate < 1:
        raise ConfigError(f"--rate {arguments.rate}: must be at least 1")

    import trio

    from appliance.demo.show import Demo

    from .client import fetch_status, find_endpoint
    from .tables import make_console, make_status

    console = make_console()
    endpoint = find_endpoint(argparse.Namespace(config=config))

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


def _own_file() -> Path:
    """The demo's file. It has what it writes beside it, so a bundle, which may be everybody's, copies it to here."""
    if not is_bundled():
        return DEMO_FILE
    folder = Path.cwd() / "broappliance-demo" / "conf"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("demo.toml", "broappliance.schema.json"):
            shutil.copyfile(DEMO_FILE.with_name(name), folder / name)
    except OSError as exc:
        raise ApplianceError(f"cannot write {exc.filename}: {exc.strerror}; run it in a folder of your own") from exc
    return folder / "demo.toml"


def _short(path: Path) -> Path:
    """The path as a person would type it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
