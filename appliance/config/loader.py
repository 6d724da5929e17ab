"""Read a configuration: the main file, what it includes, the environment; all mistakes at once.

The only module of this room that reads files.
"""

from __future__ import annotations

import glob
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from appliance.config import checks, environment, paths, planned
from appliance.config.cluster_checks import remark_on_types
from appliance.config.lines import Key, index_lines
from appliance.config.report import Place, Places, Report, describe, find_place, parse_key, quote, show_key
from appliance.config.shape import EACH, HOLE, build, select, toml_fields
from appliance.config.table_parts import NAME_PATTERN
from appliance.config.tables import Capture, Config, Websocket, Zmq
from appliance.errors import ConfigError

__all__ = ["Loaded", "load"]

_DEEPEST = 8  # levels of include; more is a mistake, not a structure


@dataclass(frozen=True)
class Loaded:
    """A valid configuration and where it came from."""

    config: Config
    files: tuple[Path, ...]
    """The main file and the included ones, in the order they were read."""
    places: Places
    """Key path → file and line, for every key that is written."""
    remarks: tuple[str, ...] = ()
    """What is odd about the cluster's layout."""
    taken: Mapping[Key, Mapping[str, str]] = field(default_factory=dict)
    """Key path of each string with ``${NAME}`` → those names and what they stand for."""

    def error(self, key: str, message: str, *, hint: str = "") -> ConfigError:
        """Make an error for a mistake that only a later stage can see.

        Args:
            key: the key path, ``hook[2].where``; a key that is not written is placed at its table.
            message: what is wrong, lower case, no full stop.
            hint: what to do.
        """
        file, line = find_place(self.places, parse_key(key), str(self.files[0]))
        return ConfigError(message, file=file, line=line, key=key, hint=hint)

    def is_set(self, key: str) -> bool:
        """Whether a key is written in one of the files, rather than left to its default."""
        return parse_key(key) in self.places

    def key_of(self, service: str) -> str:
        """The key path of a service: ``hook.enrich`` → ``hook[2]``, ``api`` → ``api``.

        Raises:
            KeyError: there is no such service.
        """
        table, dot, name = service.partition(".")
        if not dot:
            return table
        for key, other in select(self.config, table, EACH, "name"):
            if other == name:
                return show_key((table, *key[1:-1]))
        raise KeyError(service)


def load(path: Path, *, environ: Mapping[str, str] | None = None) -> Loaded:
    """Read and check a configuration.

    Args:
        path: the main file; messages name it as given here.
        environ: for ``${NAME}``, CLUSTER_NODE and what Zeek says of Broker there; default the process's own.

    Raises:
        ExceptionGroup: of `ConfigError`, every mistake of every file in the order of files and lines.
    """
    environ = os.environ if environ is None else environ
    report = Report(str(path))
    reader = _Reader(report, environ)
    reader.read(path, ())
    data = environment.expand(reader.data, (), environ, report)
    node = environ.get("CLUSTER_NODE")
    config: Config = build(data, Config, (), report)
    if node and re.fullmatch(NAME_PATTERN, node) is None:
        told = f"CLUSTER_NODE={quote(node)} in the environment is not the name of a node"
        report.add(("appliance", "name"), told, place=Place(str(path), 0))
    elif node and config.appliance is not HOLE:
        config = replace(config, appliance=replace(config.appliance, name=node))
        if config.cluster is not HOLE and config.cluster.node:
            config = replace(config, cluster=replace(config.cluster, node=node))
    if config.broker is not HOLE:
        config = replace(config, broker=environment.override_broker(config.broker, environ, report))
    folder = str(path.absolute().parent)
    config, remarks = _with_layout(config, folder, environ, report)
    if config.cluster is not HOLE and environment.has_retry(environ):
        config = replace(config, cluster=replace(config.cluster, retry_interval=None))
    state_dir = next((value for _, value in select(config, "appliance", "state_dir")), "")
    checks.check(
        config,
        report,
        state_dir=paths.absolute(state_dir, folder),
        complete=reader.complete and _knows_doors(config, data),
    )
    if mistakes := report.errors():
        count = len(mistakes)
        raise ExceptionGroup(f"{path}: {count} mistake{'s' if count > 1 else ''} in the configuration", mistakes)
    source = report.places.get(("appliance", "python_path"))
    python_folder = str(Path(source.file).absolute().parent) if source else folder
    config = paths.make_absolute(config, folder=folder, python_folder=python_folder)
    remarks += remark_on_types(config.cluster, report.places)
    return Loaded(config, tuple(Path(file) for file in report.files), report.places, remarks, report.taken)


def _with_layout(
    config: Config, folder: str, environ: Mapping[str, str], report: Report
) -> tuple[Config, tuple[str, ...]]:
    """The nodes of the layout put beside those of the tables; what is odd about it."""
    cluster = config.cluster
    if cluster is HOLE or not cluster.layout or HOLE in (cluster.layout, cluster.zeek_version, cluster.nodes):
        return config, ()
    # Late: nobody else needs to know what a layout is.
    from appliance.config.layout_file import read_layout
    from appliance.config.membership import merge_layout
    from appliance.zeek.layout_check import check_layout
    from appliance.zeek.version import parse_version

    version = parse_version(cluster.zeek_version)
    try:
        parsed = read_layout(Path(paths.absolute(cluster.layout, folder)), version, environ)
    except ConfigError as exc:
        report.add(("cluster", "layout"), str(exc))
        return replace(config, cluster=replace(cluster, nodes=HOLE)), ()
    remarks = (*parsed.remarks, *check_layout(parsed.layout, version))
    return replace(config, cluster=merge_layout(cluster, parsed.layout)), tuple(str(each) for each in remarks)


def _knows_doors(config: Config, data: dict[str, Any]) -> bool:
    """Whether the names of all doors are known; a mistyped table may hold some."""
    if data.keys() - toml_fields(Config).keys() - planned.TABLES.keys():
        return False
    if HOLE in (config.zmq, config.capture, config.broker, config.websocket):
        return False
    doors: tuple[Zmq | Websocket | Capture, ...] = (*config.zmq, *config.websocket, *config.capture)
    return all(door is not HOLE and door.name is not HOLE for door in doors)


class _Reader:
    """Reads files into one document, `data`, and notes in the report where each key came from."""

    def __init__(self, report: Report, environ: Mapping[str, str]) -> None:
        self.data: dict[str, Any] = {}
        self.complete = True
        self._report = report
        self._environ = environ
        self._seen: dict[Path, Place] = {}

    def read(self, path: Path, trail: tuple[Path, ...]) -> None:
        """Read a file and what it includes; `trail` are the files that led here, resolved."""
        here = path.resolve()
        file = str(path)
        self._seen.setdefault(here, Place(file, 0))
        parsed = self._parse(path, file)
        if parsed is None:
            self.complete = False
            return
        data, lines = parsed
        includes = self._includes(data.pop("include", []), lines, file)
        self._merge(self.data, data, (), lines, file)
        for key, pattern, place in includes:
            self._include(key, pattern, place, path.parent, (*trail, here))

    def _parse(self, path: Path, file: str) -> tuple[dict[str, Any], dict[Key, int]] | None:
        def refuse(message: str, line: int = 0) -> None:
            self._report.add((), message, place=Place(file, line))

        try:
            raw = path.read_bytes()
            text = raw.decode().replace("\r\n", "\n")
            return tomllib.loads(text), index_lines(text)
        except OSError as exc:
            refuse(f"cannot be read: {exc.strerror}")
        except UnicodeDecodeError as exc:
            refuse("is not UTF-8", raw.count(b"\n", 0, exc.start) + 1)
        except RecursionError:
            refuse("is nested too deeply")
        except ValueError as exc:  # TOMLDecodeError, or a number with thousands of digits
            refuse(*_explain(str(exc), text))
        return None

    def _includes(self, value: Any, lines: dict[Key, int], file: str) -> list[tuple[Key, str, Place]]:
        """The patterns of one file that are usable."""
        if not isinstance(value, list):
            place = Place(file, lines.get(("include",), 0))
            hint = f"write [{quote(value)}]" if isinstance(value, str) else ""
            self._report.add(("include",), f"expected an array, got {describe(value)}", hint, place=place)
            return []
        usable: list[tuple[Key, str, Place]] = []
        for number, written in enumerate(value):
            key: Key = ("include", number)
            place = self._report.places[key] = Place(file, lines.get(key, 0))
            pattern = environment.expand(written, key, self._environ, self._report)
            if isinstance(pattern, str):
                usable.append((key, pattern, place))
            elif pattern is not HOLE:
                self._report.add(key, f"expected a string, got {describe(pattern)}")
        self.complete = self.complete and len(usable) == len(value)
        return usable

    def _include(self, key: Key, pattern: str, place: Place, folder: Path, trail: tuple[Path, ...]) -> None:
        # Not Path.glob: the pattern may be absolute. What is special in the folder's own name is not a pattern.
        found = sorted(glob.glob(os.path.join(glob.escape(str(folder)), pattern), recursive=True))  # noqa: PTH118, PTH207
        if not found and not any(mark in pattern for mark in "*?["):
            self.complete = False
            self._report.add(key, f"there is no file {quote(pattern)}", place=place)
        for path in map(Path, found):
            name = str(path)
            resolved = path.resolve()
            if resolved in trail:
                self._report.add(key, f"{name} includes itself", place=place)
            elif len(trail) > _DEEPEST:
                self._report.add(key, f"more than {_DEEPEST} files include each other", place=place)
            elif resolved in self._seen:
                first = self._seen[resolved]
                self._report.add(key, f"{name} is included twice, first at {first.file}:{first.line}", place=place)
            else:
                self._seen[resolved] = place
                self._report.files.append(name)
                self.read(path, trail)

    def _merge(self, into: dict[str, Any], new: dict[str, Any], key: Key, lines: dict[Key, int], file: str) -> None:
        """Add tables and elements of arrays of tables; any other key may be set once."""
        for name, value in new.items():
            here = (*key, name)
            old = into.setdefault(name, value)
            if here not in self._report.places:
                self._adopt(value, here, here, lines, file)
            elif isinstance(old, dict) and isinstance(value, dict):
                self._merge(old, value, here, lines, file)
            elif _are_tables(old) and _are_tables(value):
                for number, table in enumerate(value):
                    self._adopt(table, (*here, number), (*here, len(old)), lines, file)
                    old.append(table)
            else:
                first = self._report.places[here]
                place = Place(file, lines.get(here, 0))
                self._report.add(here, f"is set twice, first at {first.file}:{first.line}", place=place)

    def _adopt(self, value: Any, key: Key, merged: Key, lines: dict[Key, int], file: str) -> None:
        """Note the places of a value and of everything in it; `merged` is its key in the whole document."""
        self._report.places[merged] = Place(file, lines.get(key, 0))
        if isinstance(value, dict):
            for name, each in value.items():
                self._adopt(each, (*key, name), (*merged, name), lines, file)
        elif isinstance(value, list):
            for number, each in enumerate(value):
                self._adopt(each, (*key, number), (*merged, number), lines, file)


def _are_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, dict) for each in value)


def _explain(message: str, text: str) -> tuple[str, int]:
    """Split tomllib's message into what and where."""
    found = re.fullmatch(r"(.*) \(at (?:line ([0-9]+), column ([0-9]+)|end of document)\)", message, re.DOTALL)
    if found is None:
        return message[:1].lower() + message[1:], 0
    what = found[1][:1].lower() + found[1][1:]
    if found[2] is None:
        return f"{what} at the end of the file", text.rstrip().count("\n") + 1
    return f"{what} at column {found[3]}", int(found[2])
