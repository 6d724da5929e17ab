"""What capture files hold, as tables for people."""

from __future__ import annotations

from rich.text import Text

from appliance.pcap.moment import format_duration, format_time
from appliance.pcap.survey import CaptureInfo

from .tables import make_console, make_table

__all__ = ["print_files"]

MAX_GAPS = 20
"""Gaps listed for each file; --json has all of them."""
_LINKTYPES = {
    0: "null", 1: "Ethernet", 101: "raw IP", 105: "802.11", 113: "Linux cooked", 127: "radiotap", 147: "user 0",
    228: "IPv4", 229: "IPv6", 276: "Linux cooked v2",
}  # fmt: skip


def print_files(found: list[CaptureInfo]) -> None:
    """Print a line for each file, then the gaps."""
    table = make_table(
        "capture files", "file", "format!", "link type", "packets>", "bytes>", "first!", "last!", "duration>", "notes"
    )
    gaps = make_table("gaps", "file", "from!", "to!", "duration>")
    for info in found:
        first, last = info.first_ns, info.last_ns
        table.add_row(
            info.file, _format(info), _linktypes(info), f"{info.packets:,}", f"{info.captured_bytes:,}",
            "" if first is None else format_time(first), "" if last is None else format_time(last),
            "" if first is None or last is None else format_duration(last - first),
            Text(", ".join(_notes(info)), style="" if info.is_whole else "bold red"),
        )  # fmt: skip
        pauses = [(end, start) for (_, end), (start, _) in zip(info.ranges, info.ranges[1:], strict=False)]
        for end, start in pauses[:MAX_GAPS]:
            gaps.add_row(info.file, format_time(end), format_time(start), format_duration(start - end))
        if len(pauses) > MAX_GAPS:
            gaps.add_row(info.file, f"and {len(pauses) - MAX_GAPS:,} more", "", "")
    console = make_console()
    console.print(table)
    if gaps.row_count:
        console.print()
        console.print(gaps)


def _format(info: CaptureInfo) -> str:
    words = [info.format, info.precision, "" if info.compression == "none" else info.compression]
    return " ".join(filter(None, words))


def _linktypes(info: CaptureInfo) -> str:
    found = dict.fromkeys(each.linktype for each in info.interfaces)
    return ", ".join(f"{_LINKTYPES[number]} ({number})" if number in _LINKTYPES else str(number) for number in found)


def _notes(info: CaptureInfo) -> list[str]:
    words = []
    if len(info.interfaces) > 1:
        words.append(f"{len(info.interfaces)} interfaces")
    if info.wire_bytes != info.captured_bytes:
        words.append(f"{info.wire_bytes:,} bytes on the wire")
    words += [
        f"{count:,} {what}"
        for count, what in (
            (info.truncated, "truncated"),
            (info.untimed, "without time"),
            (info.disordered, "out of order"),
            (info.drops, "dropped"),
        )
        if count
    ]
    if info.headers > 1:
        words.append(f"{info.headers} sections" if info.format == "pcapng" else f"{info.headers} file headers")
    if info.torn_bytes:
        words.append(f"torn, {info.torn_bytes:,} bytes of no whole packet at its end")
    if info.damage:
        words.append(f"damaged: {info.damage}")
    return words
