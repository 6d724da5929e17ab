"""``broappliance extract``: recorded packets as a PCAP, from the running appliance or from the recorders' files."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from appliance.errors import ApplianceError, ConfigError

from .extract_arguments import CONDITIONS

if TYPE_CHECKING:
    from appliance.config import Config
    from appliance.extract.extraction import Extraction
    from appliance.extract.query import Query
    from appliance.runtime.packets import Gap, Source

__all__ = ["Sink", "call"]

NICENESS = 10
"""Whoever records on this machine comes first."""


class Sink(Protocol):
    """Takes the blocks of a PCAP."""

    def write(self, block: bytes, /) -> object: ...


def call(arguments: argparse.Namespace) -> int:
    """Extract; 3 if something is missing."""
    values = {key: getattr(arguments, key) for key in CONDITIONS if hasattr(arguments, key)}
    max_bytes = _max_bytes(arguments.max_size)
    if arguments.out is not None and str(arguments.out) == "-":
        if sys.stdout.isatty():
            raise ConfigError("--out -: packets are not written to a terminal")
        if arguments.json:
            raise ConfigError("--json: standard output is for the packets")
    elif arguments.out is not None:
        from appliance.pcap.write import refuse_existing

        refuse_existing(arguments.out)
    try:
        document = _extract(arguments, values, max_bytes)
    except ConfigError as exc:
        raise ConfigError(f"--{exc.key}: {exc.message}" if exc.key else exc.message, hint=exc.hint) from None
    if arguments.json:
        print(json.dumps(document, indent=2))
    return _tell(document, arguments)


def _max_bytes(text: str | None) -> int | None:
    from appliance.units import Size

    if text is None:
        return None
    try:
        return int(Size.parse(text))
    except ValueError as exc:
        raise ConfigError(f"--max-size: {exc}") from None


def _extract(arguments: argparse.Namespace, values: dict[str, list[str]], max_bytes: int | None) -> dict[str, Any]:
    """Do it where it can be done; returns the report."""
    config: Config | None = None
    if arguments.directory is None:
        from .extract_remote import download, find_appliance

        given = getattr(arguments, "config", None)
        place = find_appliance(arguments)
        if place is not None:
            with _output(arguments) as out:
                return download(place, values, arguments.recorder, max_bytes, out)
        if given is None:
            raise ApplianceError("no appliance answers", hint="give its --config, or the --directory of the segments")
        config = _load(given)
    os.nice(NICENESS)
    query = _query(values, config)
    sources, gaps = _look(arguments, config, query)
    from appliance.extract.extraction import Extraction

    with _progress() as progress:
        extraction = Extraction(query, sources, gaps, max_bytes=max_bytes, progress=progress)
        _pour(extraction, arguments)
    return extraction.report.document()


def _load(path: Path) -> Config:
    from appliance.config import load

    return load(path).config


def _query(values: dict[str, list[str]], config: Config | None) -> Query:
    from appliance.extract.query import parse_query
    from appliance.extract.uids import apply_uid, find_uid

    uid = values.pop("uid", None)
    query = parse_query(values, now_ns=time.time_ns())
    if uid is None:
        return query
    if config is None:
        raise ConfigError("needs the --config of the appliance, which has the map of uids", key="uid")
    return apply_uid(query, find_uid(Path(config.appliance.state_dir), uid[0]), uid[0])


def _look(arguments: argparse.Namespace, config: Config | None, query: Query) -> tuple[list[Source], list[Gap]]:
    """The segments in the directories that are meant, and what is missing there."""
    from appliance.extract.gaps import read_gaps
    from appliance.extract.sources import find_sources

    places = [(arguments.directory, arguments.recorder)] if config is None else _recorders(config, arguments.recorder)
    sources: list[Source] = []
    gaps: list[Gap] = []
    for directory, recorder in places:
        try:
            sources += find_sources(directory, recorder, from_ns=query.from_ns, to_ns=query.to_ns)
            gaps += read_gaps(directory, recorder, from_ns=query.from_ns, to_ns=query.to_ns, now_ns=time.time_ns())
        except OSError as exc:
            raise ApplianceError(f"{exc.filename or directory}: cannot be read: {exc.strerror}") from exc
    return sources, gaps


def _recorders(config: Config, name: str | None) -> list[tuple[Path, str | None]]:
    found = [(Path(each.directory), each.name) for each in config.recorder if name in (None, each.name)]
    if not config.recorder:
        raise ConfigError("the file has no [[recorder]]: nothing was recorded")
    if not found:
        told = ", ".join(each.name for each in config.recorder) or "none"
        raise ConfigError(f"--recorder: there is no such recorder in the file; there are: {told}")
    return [(directory, recorder) for directory, recorder in found]


# ── output ──


@contextmanager
def _output(arguments: argparse.Namespace) -> Iterator[Sink]:
    """Where blocks go; a file appears at the end."""
    if arguments.count:
        yield _Nowhere()
    elif str(arguments.out) == "-":
        yield sys.stdout.buffer
    else:
        from appliance.pcap.write import new_file

        with new_file(arguments.out) as file:
            yield _File(file)


class _Nowhere:
    def write(self, block: bytes) -> None:
        del block


class _File:
    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, block: bytes) -> None:
        self._file.write([block])


def _pour(extraction: Extraction, arguments: argparse.Namespace) -> None:
    with _output(arguments) as out:
        for block in extraction:
            out.write(block)


@contextmanager
def _progress() -> Iterator[Any]:
    """Takes how many sources, of how many, are done; shows a bar if there is somebody to see it."""
    if not sys.stderr.isatty():
        with nullcontext():
            yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("segments"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _tell(document: dict[str, Any], arguments: argparse.Namespace) -> int:
    """Say what there is, and what is missing."""
    if not arguments.json:
        where = "" if arguments.count else f" in {arguments.out}" if str(arguments.out) != "-" else ""
        span = f", {document['first']} to {document['last']}" if document["packets"] else ""
        print(f"{document['packets']:,} packets, {document['bytes']:,} bytes{where}{span}", file=_stream(arguments))
    for line in document["missing"]:
        print(f"broappliance: missing: {line}", file=sys.stderr)
    if document["cutoff_packets"]:
        told = f"{document['cutoff_packets']:,} packets past the cutoff of their connections were left out"
        print(f"broappliance: {told} in that time", file=sys.stderr)
    for flaw in document["flaws"]:
        print(f"broappliance: {flaw['source']}: {flaw['what']}", file=sys.stderr)
    if document["is_capped"]:
        print("broappliance: there are more packets than --max-size allows", file=sys.stderr)
    return 0 if document["is_complete"] else 3


def _stream(arguments: argparse.Namespace) -> Any:
    return sys.stderr if not arguments.count and str(arguments.out) == "-" else sys.stdout
