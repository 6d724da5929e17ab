"""``broappliance pcap``: look into capture files, merge them, cut them. Needs no running appliance."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from appliance.errors import ApplianceError, ConfigError

if TYPE_CHECKING:
    from appliance.pcap.merge import Merge
    from appliance.pcap.reader import Packet
    from appliance.pcap.survey import CaptureInfo

__all__ = ["call_index", "call_info", "call_query", "call_segment"]

T = TypeVar("T")
LONG_BYTES = 64 << 20
"""What takes long enough for a progress bar."""


def _argument(name: str, text: str | None, parse: Callable[[str], T], default: T) -> T:
    """The value of an argument; what cannot be read is a mistake of usage."""
    if text is None:
        return default
    try:
        return parse(text)
    except ValueError as exc:
        raise ConfigError(f"{name}: {exc}") from None


def _files(arguments: argparse.Namespace) -> list[Path]:
    from appliance.pcap.reader import find_captures

    files = find_captures(arguments.file)
    if not files:
        raise ApplianceError("there are no capture files in what was named")
    return files


@contextmanager
def _progress(files: list[Path]) -> Iterator[Callable[[int], object]]:
    """Takes the bytes that were read; shows a bar if there is somebody to see it and reason to wait."""
    total = sum(path.stat().st_size for path in files)
    if total < LONG_BYTES or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda read: bar.advance(task, read)


# ── info ──


def call_info(arguments: argparse.Namespace) -> int:
    """Print what the files hold; 1 if one cannot be read, else 3 if one is torn or damaged."""
    from appliance.pcap.survey import survey
    from appliance.units import Duration

    gap_ns = int(_argument("--gap", arguments.gap, Duration.parse, Duration(10 * 10**9)))
    found: list[CaptureInfo] = []
    failed = False
    files = _files(arguments)
    with _progress(files) as progress:
        for path in files:
            try:
                found.append(survey(path, gap_ns=gap_ns, progress=progress))
            except ApplianceError as exc:
                print(f"broappliance: {exc}", file=sys.stderr)
                failed = True
    if arguments.json:
        print(json.dumps([_document(info) for info in found], indent=2))
    elif found:
        from .captures import print_files

        print_files(found)
    return 1 if failed else 0 if all(info.is_whole for info in found) else 3


def _document(info: CaptureInfo) -> dict[str, Any]:
    """The figures as they are, and times as people read them."""
    import msgspec

    from appliance.pcap.moment import format_time

    document: dict[str, Any] = msgspec.to_builtins(info)
    document["first"] = None if info.first_ns is None else format_time(info.first_ns)
    document["last"] = None if info.last_ns is None else format_time(info.last_ns)
    document["ranges"] = [[format_time(first), format_time(last)] for first, last in info.ranges]
    return document


# ── query ──


def call_query(arguments: argparse.Namespace) -> int:
    """Write the packets of a time, of all files, in order; 3 if a file was torn or damaged."""
    from appliance.pcap.batch import Interface
    from appliance.pcap.merge import Merge
    from appliance.pcap.moment import parse_time
    from appliance.pcap.write import Output, new_file, refuse_existing

    from_ns = _argument("--from", arguments.from_, parse_time, None)
    to_ns = _argument("--to", arguments.to, parse_time, None)
    if from_ns is not None and to_ns is not None and from_ns >= to_ns:
        raise ConfigError("--from is not before --to")
    to_stdout = str(arguments.output) == "-"
    if to_stdout and sys.stdout.isatty():
        raise ConfigError("--output -: packets are not written to a terminal")
    if not to_stdout:
        refuse_existing(arguments.output)
    files = _files(arguments)
    with _progress(files) as progress:
        merge = Merge(files, from_ns=from_ns, to_ns=to_ns, progress=progress)
        _refuse_mixed(merge, arguments.format)
        none = Interface(linktype=min(merge.linktypes, default=1), snaplen=0)

        def pour(output: Output) -> Output:
            for packet in _selected(merge, arguments.bpf):
                output.add(packet)
            output.end(none)
            return output

        if to_stdout:
            from appliance.pcap.write import Stream

            output = pour(Output(Stream(sys.stdout.buffer), arguments.format))
        else:
            with new_file(arguments.output) as file:
                output = pour(Output(file, arguments.format))
    if not to_stdout:
        print(f"{file.path}: {output.packets:,} packets, {output.size:,} bytes")
    return _tell_flaws(merge)


def _refuse_mixed(merge: Merge, kind: str) -> None:
    from appliance.pcap.encode import mixed

    if kind == "pcap" and len(merge.linktypes) > 1:
        raise mixed(merge.linktypes)


def _selected(merge: Merge, text: str) -> Iterator[Packet]:
    """The packets that the filter keeps, compiled for each link type on its first packet."""
    if not text:
        yield from merge.packets()
        return
    from appliance.native.bpf import compile_filter
    from appliance.pcap.filter import Program

    programs: dict[int, Program] = {}
    for packet in merge.packets():
        linktype = packet.interface.linktype
        if linktype not in programs:
            try:
                programs[linktype] = Program(compile_filter(text, linktype=linktype))
            except ValueError as exc:
                raise ConfigError(f"--bpf: {exc}") from None
        if programs[linktype].matches(packet.data, packet.length):
            yield packet


def _tell_flaws(merge: Merge) -> int:
    for flaw in merge.flaws:
        what = flaw.damage or f"the last {flaw.torn} bytes are no whole packet"
        print(f"broappliance: {flaw.path}: {what}; what stands before was taken", file=sys.stderr)
    return 3 if merge.flaws else 0


# ── segment ──


def call_segment(arguments: argparse.Namespace) -> int:
    """Write all packets of the files, in order, into pieces; 3 if a file was torn or damaged."""
    from appliance.pcap.cut import FIELDS, Limits, cut
    from appliance.pcap.merge import Merge
    from appliance.runtime.pattern import PathPattern
    from appliance.units import Duration, Size

    limits = Limits(
        max_bytes=int(_argument("--bytes", arguments.bytes, _size, Size(0))),
        max_packets=arguments.packets,
        every_ns=int(_argument("--every", arguments.every, _seconds, Duration(0))),
    )
    if limits == Limits():
        raise ConfigError("say where to cut: --bytes, --packets or --every")
    name = arguments.name or f"%Y-%m-%d-%H-%M-%S.{arguments.format}"
    folder = PathPattern.escape(str(arguments.directory.absolute()))
    pattern = _argument("--name", f"{folder}/{name}", lambda text: PathPattern(text, fields=FIELDS), None)
    assert pattern is not None
    files = _files(arguments)
    pieces = packets = 0
    with _progress(files) as progress:
        merge = Merge(files, progress=progress)
        _refuse_mixed(merge, arguments.format)
        for piece in cut(merge.packets(), limits, pattern, kind=arguments.format, dry_run=arguments.dry_run):
            pieces += 1
            packets += piece.packets
            print(f"{piece.path}: {piece.packets:,} packets, {piece.size:,} bytes")
    would = "would be " if arguments.dry_run else ""
    print(f"{packets:,} packets {would}written into {pieces:,} files", file=sys.stderr)
    return _tell_flaws(merge)


def _size(text: str) -> Any:
    from appliance.units import Size

    return Size.count(int(text)) if text.isdecimal() and len(text) < 20 else Size.parse(text)


def _seconds(text: str) -> Any:
    from appliance.units import Duration

    return Duration.parse(f"{text}s" if text.replace(".", "", 1).isdecimal() else text)


# ── index ──


def call_index(arguments: argparse.Namespace) -> int:
    """Index the files, or check their indexes; 1 if one cannot be read, else 3 if one is torn or an index is wrong."""
    from appliance.extract.indexing import check_index, index_path, make_index

    codes = {0}
    for path in arguments.file:
        try:
            if arguments.check:
                wrong = check_index(path)
                print(f"{index_path(path)}: {'; '.join(wrong) or 'good'}")
                codes.add(3 if wrong else 0)
                continue
            made = make_index(path)
        except ApplianceError as exc:
            print(f"broappliance: {exc}", file=sys.stderr)
            codes.add(1)
            continue
        share = made.index_bytes / made.pcap_bytes
        print(f"{index_path(path)}: {made.packets:,} packets, {made.flows:,} flows, {share:.1%} of the PCAP")
        if made.torn_bytes:
            print(f"broappliance: {path}: the last {made.torn_bytes:,} bytes are no whole packet", file=sys.stderr)
            codes.add(3)
    return 1 if 1 in codes else max(codes)
