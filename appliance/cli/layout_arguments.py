"""The arguments of ``broappliance layout``. Imports nothing heavy."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["add_layout"]

Command = Callable[..., argparse.ArgumentParser]
_SOURCES = """
SOURCE is cluster-layout.zeek or .bro, zeekctl's node.cfg, zeek.conf of Zeek's systemd generator or the folder of such
files for several hosts, or a TOML file with [cluster]. What cannot be taken over is told on standard error;
docs/cluster.md says more."""


def add_layout(commands: Any, command: Command) -> None:
    """Add the command and what belongs to it."""
    layout = commands.add_parser(
        "layout",
        help="Zeek's cluster layouts from and to our configuration",
        description="Read and write the files that say which nodes a Zeek cluster has; no appliance needs to run.",
    )
    actions = layout.add_subparsers(dest="action", metavar="ACTION", title="actions", required=True)
    import_ = command(
        actions,
        "import",
        "print a layout as [cluster.nodes]",
        f"Print the nodes of a cluster as tables of our configuration.\n{_SOURCES}",
        "layout",
        "call_import",
    )
    _add_source(import_)
    export = command(
        actions,
        "export",
        "write a layout for Zeek",
        "Print a cluster-layout script for a version of Zeek, or write it: the file appears by rename, in place of\n"
        f"one that is there. Names of hosts are looked up.\n{_SOURCES}",
        "layout",
        "call_export",
    )
    _add_source(export)
    export.add_argument(
        "--add",
        action="append",
        default=[],
        metavar="NAME",
        help="only this node (again for more), in addition to a layout that Zeek has: to be loaded from local.zeek",
    )


def _add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, metavar="SOURCE", help="what to read")
    parser.add_argument(
        "--zeek-version", metavar="V", help="what the layout is for (default: zeek_version of the TOML file, or 8.0)"
    )
    parser.add_argument("--output", "-o", type=Path, metavar="FILE", help="write a file instead of printing")
