"""``broappliance layout``: the files that describe a Zeek cluster, into each other."""

from __future__ import annotations

import argparse
import os
import socket
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appliance.errors import ApplianceError, ConfigError

if TYPE_CHECKING:
    from appliance.zeek.layout import ClusterLayout, ParsedLayout, Remark
    from appliance.zeek.version import Version

__all__ = ["call_export", "call_import"]

_DEFAULT_VERSION = "8.0"


def call_import(arguments: argparse.Namespace) -> int:
    """Print or write TOML; the remarks go to standard error."""
    import tomli_w

    from appliance.zeek.layout_table import layout_to_table

    version, parsed = _read(arguments)
    table = {"zeek_version": f"{version.major}.{version.minor}", **layout_to_table(parsed.layout)}
    text = f"# Made from {_shown(arguments.source)} by broappliance layout import.\n{tomli_w.dumps({'cluster': table})}"
    _tell(parsed, version)
    _put(arguments.output, text)
    return 0


def call_export(arguments: argparse.Namespace) -> int:
    """Print or write a Zeek script; the remarks go to standard error."""
    from msgspec.structs import replace

    from appliance.zeek.layout import LayoutError
    from appliance.zeek.layout_write import render_addition, render_layout

    version, parsed = _read(arguments)
    layout = parsed.layout
    if arguments.add:
        missing = [name for name in arguments.add if layout.node(name) is None]
        if missing:
            raise LayoutError(f"there is no node {missing[0]!r}", file=str(arguments.source))
        layout = replace(layout, nodes=tuple(node for node in layout.nodes if node.name in arguments.add))
    layout = _look_up(layout)
    source = str(arguments.source)
    if arguments.add:
        text = render_addition(layout.nodes, version, source=source)
    else:
        text = render_layout(layout, version, source=source)
    _tell(parsed, version)
    _put(arguments.output, text)
    return 0


# ── reading ──


def _read(arguments: argparse.Namespace) -> tuple[Version, ParsedLayout]:
    from appliance.zeek.version import parse_version

    path: Path = arguments.source
    told: str | None = arguments.zeek_version
    table: dict[str, Any] = {}
    if path.suffix == ".toml":
        table = _read_table(path)
        told = told or table.get("zeek_version")
    try:
        version = parse_version(told or _DEFAULT_VERSION)
    except (TypeError, ValueError) as exc:
        raise ConfigError(str(exc), file=str(path)) from None
    return version, _parse(path, table, version)


def _read_table(path: Path) -> dict[str, Any]:
    from appliance.config.layout_file import load_file

    try:
        document = tomllib.loads(load_file(path).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ConfigError(f"not TOML: {exc}", file=str(path)) from None
    table = document.get("cluster")
    if not isinstance(table, dict):
        raise ConfigError("there is no table [cluster]", file=str(path))
    return table


def _parse(path: Path, table: dict[str, Any], version: Version) -> ParsedLayout:
    from appliance.config.layout_file import read_layout
    from appliance.zeek.layout import ParsedLayout
    from appliance.zeek.layout_table import layout_from_table

    if path.suffix == ".toml" and not path.is_dir():
        return ParsedLayout(layout_from_table(table, str(path)))
    return read_layout(path, version, os.environ)


def _look_up(layout: ClusterLayout) -> ClusterLayout:
    """The layout with an address for each name of a host, IPv4 before IPv6 as zeekctl does."""
    from msgspec.structs import replace

    from appliance.zeek.address import Address

    found: dict[str, str] = {"": ""}
    for host in {node.ip for node in layout.nodes} - {""}:
        try:
            found[host] = str(Address.parse(host))
        except ValueError:
            found[host] = _first_address(host)
    return replace(layout, nodes=tuple(replace(node, ip=found[node.ip]) for node in layout.nodes))


def _first_address(host: str) -> str:
    try:
        answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise ApplianceError(f"cannot look up {host!r}: {getattr(exc, 'strerror', exc)}") from exc
    answers.sort(key=lambda answer: answer[0] != socket.AF_INET)
    return str(answers[0][4][0])


# ── writing ──


def _shown(path: Path) -> str:
    return str(path).encode("unicode_escape").decode()


def _tell(parsed: ParsedLayout, version: Version) -> None:
    from appliance.zeek.layout_check import check_layout

    remarks: Iterable[Remark] = (*parsed.remarks, *check_layout(parsed.layout, version))
    for remark in remarks:
        print(str(remark).encode("utf-8", "backslashreplace").decode(), file=sys.stderr)


def _put(path: Path | None, text: str) -> None:
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise ApplianceError("a name in the layout is not UTF-8") from None
    if path is None:
        print(text, end="")
        return
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        _write_durably(part, data, mode=path.stat().st_mode & 0o777 if path.exists() else 0o644)
        part.replace(path)
    except OSError as exc:
        part.unlink(missing_ok=True)
        raise ApplianceError(f"cannot write {path}: {exc.strerror}") from exc


def _write_durably(path: Path, data: bytes, *, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
