"""The arguments of ``broappliance capture``. Imports nothing heavy."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

__all__ = ["add_capture"]

Command = Callable[..., argparse.ArgumentParser]
AddSocket = Callable[[argparse.ArgumentParser], None]


def add_capture(commands: Any, command: Command, add_socket: AddSocket) -> None:
    """Add the command and what belongs to it."""
    capture = commands.add_parser(
        "capture",
        help="list, start, stop and rotate capture handlers",
        description="Look at the captures of a running appliance and change them. What is started and stopped here\n"
        "survives reloads and restarts.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = capture.add_subparsers(dest="action", metavar="ACTION", title="actions", required=True)

    listing = command(
        actions, "list", "handlers, rates, losses, open files", "List the handlers.", "capture", "call_list"
    )
    listing.add_argument("--json", action="store_true", help="print tables and all figures")
    add_socket(listing)

    _add_start(actions, command, add_socket)
    for name, summary, description in (
        ("stop", "stop handlers and finish their files", "Stop every handler of these names and finish their files."),
        ("rotate", "end files now", "End the open files of every handler of these names; prints the finished ones."),
    ):
        action = command(actions, name, summary, description, "capture", f"call_{name}")
        action.add_argument("name", nargs="+", metavar="NAME", help="a handler, or CAPTURE/HANDLER for exactly one")
        action.add_argument("--json", action="store_true", help="print JSON")
        add_socket(action)


def _add_start(actions: Any, command: Command, add_socket: AddSocket) -> None:
    start = command(
        actions,
        "start",
        "add a handler",
        "Add a handler; one at an address that is captured already shares its socket. Files must go below state_dir\n"
        "or below the folder of a handler that there is.",
        "capture",
        "call_start",
    )
    start.add_argument("name", metavar="NAME", help="the handler's name")
    start.add_argument("conn_type", choices=("udp", "tcp", "ethernet"), metavar="TYPE", help="udp, tcp or ethernet")
    start.add_argument(
        "address",
        metavar="ADDRESS",
        help="udp: to bind, e.g. :8500 or [::1]:8500; tcp: to connect to; ethernet: interface, e.g. eth1",
    )
    start.add_argument("--capture", metavar="NAME", help="the capture it belongs to (default: that of the address)")
    for option, metavar, text in (
        ("--log-dir", "DIR", "folder of its files (default: captures below state_dir)"),
        ("--file-name-pattern", "PATTERN", "strftime (UTC) and {name} {capture} {host} {pid} {seq}"),
        ("--rotate-log-index", "UNIT", "year, month, day, hour, minute or second (default: day)"),
        ("--rotate-size", "SIZE", "no file grows beyond this"),
        ("--format", "FORMAT", "pcap or pcapng"),
        ("--linktype", "TYPE", "auto, user0 or ip"),
        ("--compress", "HOW", "none or zstd"),
        ("--mode", "MODE", "tcp: connect or listen"),
        ("--framing", "HOW", "tcp: none, newline, u16be or u32be"),
        ("--filter", "EXPR", "ethernet: pcap-filter(7)"),
        ("--interface", "NAME", "udp, tcp: the network interface"),
    ):
        start.add_argument(option, metavar=metavar, help=text)
    start.add_argument("--rotate-log-delta", type=int, metavar="N", help="how many units (default: 1)")
    start.add_argument("--rotate-packets", type=int, metavar="N", help="no file has more packets")
    start.add_argument("--no-rotate-log", dest="rotate_log", action="store_false", default=None, help="one file only")
    start.add_argument("--multicast", action="append", metavar="GROUP", help="udp: join GROUP or SOURCE@GROUP")
    start.add_argument("--json", action="store_true", help="print JSON")
    add_socket(start)
