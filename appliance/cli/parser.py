"""The arguments of every command. Imports nothing heavy: ``--help`` and ``--version`` answer at once."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from appliance import __version__

from .capture_arguments import add_capture
from .pcap_arguments import add_pcap

__all__ = ["make_parser"]

DESCRIPTION = """\
One process for a Bro/Zeek site: takes in logs and packets, runs the site's hooks, writes files, and accounts for every
record and packet.

Without a command it runs the appliance described by --config until SIGTERM or Ctrl-C. SIGHUP makes it read the file
again and apply what changed.
"""
EPILOG = """\
examples:
  broappliance demo                                  see it work, with traffic of its own
  broappliance --config site.toml --check            is the file right?
  broappliance --config site.toml                    run
  broappliance status --config site.toml --watch     what it does now
  kill -HUP $(pidof broappliance)                    read the file again

exit codes: 0 success, 1 failure while running, 2 mistake in the configuration or the arguments,
3 (status) something needs attention, (pcap) a file is torn or damaged
"""

# A command's own default would overwrite what stands before the command: ``--config FILE status``.
_CONFIG: dict[str, Any] = {"type": Path, "metavar": "FILE", "default": argparse.SUPPRESS}


def _later(module: str, function: str = "call") -> Callable[[argparse.Namespace], int]:
    def call(arguments: argparse.Namespace) -> int:
        return int(getattr(import_module(f"appliance.cli.{module}"), function)(arguments))

    return call


def _add_socket(parser: argparse.ArgumentParser) -> None:
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--config", **_CONFIG, help="take the socket from this file's [api] listen")
    place.add_argument("--socket", type=Path, metavar="PATH", help="the socket (default: /run/broappliance/api.sock)")


def _command(
    commands: Any, name: str, summary: str, description: str, module: str, function: str = "call"
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.set_defaults(call=_later(module, function))
    return parser


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="broappliance",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(call=_later("run"))
    parser.add_argument("--version", action="version", version=f"broappliance {__version__}")
    parser.add_argument("--config", type=Path, metavar="FILE", help="the TOML file to run")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="check the file, hooks and expressions included, and exit")
    what.add_argument("--print-config", action="store_true", help="print the effective configuration and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    status = _command(
        commands,
        "status",
        "services, rates, queues, and the ledger by reason",
        "Show what a running appliance does: services and their states, queues, and for every door and consumer\n"
        "received = delivered + dropped + queued. Exit code 3 if a service is not running, records were lost, or the\n"
        "last reload was refused.",
        "status",
    )
    _add_socket(status)
    status.add_argument("--json", action="store_true", help="print the whole status document")
    status.add_argument("--watch", action="store_true", help="show it again every second until Ctrl-C")

    _command(
        commands,
        "schema",
        "print the JSON Schema of the TOML file",
        "Print the JSON Schema (2020-12) of the TOML file, for editors: put '#:schema FILE' into its first line.",
        "schema",
    )

    add_capture(commands, _command, _add_socket)
    add_pcap(commands, _command)

    import_ = _command(
        commands,
        "import",
        "make a configuration from AIT's bsc.yaml",
        "Print a configuration that captures what AIT-Core's binary stream capturer does with this file. What means\n"
        "something else here is told on standard error, line by line; docs/ait.md says more.",
        "import_",
    )
    import_.add_argument("file", type=Path, metavar="FILE", help="bsc.yaml")
    import_.add_argument("--output", "-o", type=Path, metavar="FILE", help="write a new file instead of printing")

    demo = _command(
        commands,
        "demo",
        "run with traffic of its own and show what happens",
        "Start an appliance with conf/demo.toml, connect to it as Zeek's ZeroMQ log writer does, replay recorded Zeek\n"
        "records, send telemetry datagrams, and show what arrives. Ctrl-C drains and prints the final ledger.",
        "demo",
    )
    demo.add_argument("--config", **_CONFIG, help="another file than the demo's own")
    demo.add_argument("--once", action="store_true", help="replay once, check that everything arrived, and exit")
    demo.add_argument("--rate", type=int, default=200, metavar="N", help="records per second (default: %(default)s)")
    return parser
