"""Arguments of ``broappliance evidence``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

__all__ = ["add_evidence"]

_TEXT = """\
Evidence are packets that a recorder keeps for an alarm: a PCAP with a note beside it. A running appliance is asked.
"""
_REQUEST = """\
Ask for packets as an alarm does: from a time before --at to one after it, the future included, which is waited for.
What is there already can be had at once with 'broappliance extract'. With --wait the path of the PCAP is printed;
the exit code is 3 if packets are missing, and standard error says why.
"""


def add_evidence(
    commands: Any, command: Callable[..., argparse.ArgumentParser], add_socket: Callable[..., None]
) -> None:
    """Add the command."""
    evidence = commands.add_parser("evidence", help="packets for alarms, and for whoever asks", description=_TEXT)
    verbs = evidence.add_subparsers(dest="what", metavar="WHAT", title="what to do", required=True)
    list_ = command(verbs, "list", "what is pending, and the newest files", _TEXT, "evidence", "call_list")
    list_.add_argument(
        "--limit", type=int, default=20, metavar="N", help="so many files of each table (default: %(default)s)"
    )
    request = command(verbs, "request", "ask for packets", _REQUEST, "evidence", "call_request")
    request.add_argument("name", nargs="?", metavar="NAME", help="of the table, if there are several")
    which = request.add_mutually_exclusive_group(required=True)
    which.add_argument("--conn", metavar="A:P-B:P/tcp", help="of a connection, either direction")
    which.add_argument("--host", metavar="ADDRESS", action="append", help="of a host; twice: between the two")
    which.add_argument("--uid", metavar="UID", help="of a connection, by Zeek's name for it")
    which.add_argument("--community-id", metavar="ID", help="of a connection, by its Community ID")
    which.add_argument("--all", action="store_true", help="every packet")
    request.add_argument("--at", default="now", metavar="TIME", help="when it happened (default: now)")
    request.add_argument("--before", metavar="TIME", help="from so long before, e.g. 5m (default: as the table says)")
    request.add_argument("--after", metavar="TIME", help="to so long after (default: as the table says)")
    request.add_argument("--reason", default="", metavar="TEXT", help="for the note")
    request.add_argument("--wait", action="store_true", help="until the PCAP is there")
    for parser in (list_, request):
        parser.add_argument("--json", action="store_true", help="print JSON")
        add_socket(parser)
