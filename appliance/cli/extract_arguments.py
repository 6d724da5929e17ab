"""The arguments of ``broappliance extract``. Imports nothing heavy."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

__all__ = ["CONDITIONS", "add_extract", "join_times"]

CONDITIONS = ("from", "to", "host", "port", "proto", "conn", "community-id", "uid", "bpf")
"""Of the packets, as they are named here and by the endpoint."""
_AGO = re.compile(r"-[0-9]")
_TEXT = """\
Write the packets that a recorder has kept of a time, a host, a connection into one PCAP, in the order of time. All
conditions must hold. A running appliance is asked, because it alone has what is in its memory; if none answers, the
segments in the directories of the recorders are read.

A time is 2026-11-21T09:55:31.5Z (UTC without a zone), seconds since the epoch, -10m (ago), or now. The exit code says
whether that is everything: 0 nothing is missing, 3 something was dropped or deleted in that time, a segment is damaged,
or --max-size was reached. What is missing, and why, is told on standard error.
"""


def join_times(argv: Sequence[str]) -> list[str]:
    """``--from -10m`` as ``--from=-10m``: argparse takes what begins with a dash for an option."""
    joined: list[str] = []
    for word in argv:
        if joined and joined[-1] in ("--from", "--to", "--at") and _AGO.match(word):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def add_extract(
    commands: Any, command: Callable[..., argparse.ArgumentParser], add_socket: Callable[..., None]
) -> None:
    """Add the command."""
    parser = command(commands, "extract", "get recorded packets: of a connection, a host, a time", _TEXT, "extract")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", "-o", type=Path, metavar="FILE", help="the new PCAP; - for standard output")
    what.add_argument("--count", action="store_true", help="only count the packets")
    _add_conditions(parser)
    parser.add_argument("--recorder", metavar="NAME", help="only of this recorder (default: of all)")
    parser.add_argument("--max-size", metavar="SIZE", help="stop before the PCAP is larger, e.g. 100MiB")
    parser.add_argument("--json", action="store_true", help="print a report with all figures to standard output")
    parser.add_argument("--directory", type=Path, metavar="DIR", help="read the segments here; ask no appliance")
    add_socket(parser)


def _add_conditions(parser: argparse.ArgumentParser) -> None:
    conditions = parser.add_argument_group("which packets")

    def add(name: str, metavar: str, text: str) -> None:
        conditions.add_argument(
            f"--{name}", dest=name, metavar=metavar, action="append", default=argparse.SUPPRESS, help=text
        )

    add("from", "TIME", "leave out what is earlier")
    add("to", "TIME", "leave out this time and what is later")
    add("host", "ADDRESS", "one end of the connection; twice: both")
    add("port", "N", "one port of TCP, UDP or SCTP; twice: both")
    add("proto", "NAME", "tcp, udp, icmp, ..., or a number")
    add("conn", "A:P-B:P/tcp", "a connection, either direction; IPv6 addresses in brackets")
    add("community-id", "ID", "a connection by its Community ID, 1:...")
    add("uid", "UID", "a connection by its uid in Zeek's logs; the time is then that of the connection")
    add("bpf", "EXPR", "only packets that match, see pcap-filter(7)")
