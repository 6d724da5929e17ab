"""The arguments of ``broappliance pcap``. Imports nothing heavy."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["add_pcap"]

Command = Callable[..., argparse.ArgumentParser]
_FILES = """
FILE is PCAP or pcapng, also compressed (gzip, zstd), or a folder of such files. A torn end is passed over and reported
with exit code 3."""


def add_pcap(commands: Any, command: Command) -> None:
    """Add the command and what belongs to it."""
    pcap = commands.add_parser(
        "pcap",
        help="look into capture files, merge and cut them",
        description="Work on finished capture files; no appliance needs to run.",
    )
    actions = pcap.add_subparsers(dest="action", metavar="ACTION", title="actions", required=True)
    _add_info(actions, command)
    _add_query(actions, command)
    _add_segment(actions, command)
    _add_index(actions, command)


def _number(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def _add_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, nargs="+", metavar="FILE", help="capture file, or folder of such")


def _add_format(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--format",
        choices=("pcap", "pcapng"),
        default="pcap",
        help="pcap: nanosecond PCAP, one link type; pcapng: any number of interfaces (default: %(default)s)",
    )


def _add_info(actions: Any, command: Command) -> None:
    info = command(
        actions,
        "info",
        "what the files hold, and which times they cover",
        f"Show format, link type, packets, bytes, first and last time, gaps, and damage of each file.{_FILES}",
        "pcap",
        "call_info",
    )
    _add_files(info)
    info.add_argument("--gap", metavar="DURATION", help="a longer pause between packets is a gap (default: 10s)")
    info.add_argument("--json", action="store_true", help="print all figures, with the ranges of time covered")


def _add_query(actions: Any, command: Command) -> None:
    query = command(
        actions,
        "query",
        "merge files by time into one, or take a range of time out of them",
        "Write the packets of all files, in the order of time, into one new file. A time is 2026-11-21T09:55:31.5Z\n"
        f"(UTC without a zone) or seconds since the epoch.{_FILES}",
        "pcap",
        "call_query",
    )
    _add_files(query)
    query.add_argument(
        "--output", "-o", type=Path, required=True, metavar="FILE", help="the new file; - for standard output"
    )
    query.add_argument("--from", dest="from_", metavar="TIME", help="leave out what is earlier")
    query.add_argument("--to", metavar="TIME", help="leave out this time and what is later")
    query.add_argument("--bpf", metavar="EXPR", default="", help="only packets that match, see pcap-filter(7)")
    _add_format(query)


def _add_segment(actions: Any, command: Command) -> None:
    segment = command(
        actions,
        "segment",
        "cut files into pieces by bytes, packets, time",
        "Write the packets of all files, in the order of time, into pieces. The packet that crosses a limit begins\n"
        f"the next piece. Files that exist are never touched: a number goes into the new name.{_FILES}",
        "pcap",
        "call_segment",
    )
    _add_files(segment)
    segment.add_argument("--bytes", "-b", metavar="SIZE", help="no piece is larger, e.g. 100MiB")
    segment.add_argument("--packets", "-p", type=_number, default=0, metavar="N", help="no piece has more packets")
    segment.add_argument(
        "--every", "--seconds", "-s", metavar="TIME", help="pieces begin at multiples of this, in seconds or e.g. 15m"
    )
    segment.add_argument("--directory", "-d", type=Path, default=Path(), metavar="DIR", help="where the pieces go")
    segment.add_argument(
        "--name",
        metavar="PATTERN",
        help="strftime (UTC) and {seq}; with --every the time is rounded down (default: %%Y-%%m-%%d-%%H-%%M-%%S.pcap)",
    )
    segment.add_argument("--dry-run", "-n", action="store_true", help="only print what would be written")
    _add_format(segment)


def _add_index(actions: Any, command: Command) -> None:
    index = command(
        actions,
        "index",
        "make the index by which packets are found in a file, or check it",
        "Write FILE.idx beside each FILE, as a recorder does: flows, their times and counts, and where in the file\n"
        "their packets are. FILE is PCAP, also compressed with zstd (x.pcap.zst has x.pcap.idx). Exit code 3 if a\n"
        "file is torn, or a check finds an index that does not fit.",
        "pcap",
        "call_index",
    )
    index.add_argument("file", type=Path, nargs="+", metavar="FILE", help="PCAP file")
    index.add_argument("--check", action="store_true", help="write nothing; compare the index with the file")
