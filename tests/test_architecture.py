"""The house's rule: who may import whom. Imports point downwards only."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.metrics.names import TABLES

from .structs import figures

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "appliance"

DOORS_AND_CONSUMERS = {
    "broker",
    "zeromq",
    "websocket",
    "tail",
    "watch",
    "capture",
    "recorder",
    "evidence",
    "hooks",
    "sinks",
    "api",
    "demo",
    "metrics",
}
BASE = {"errors", "units", "model"}
LOWER = BASE | {"zeek", "wire", "config", "runtime", "native", "logfile"}
# Room → rooms of ours that it may import, besides itself.
MAY_IMPORT = {
    "errors": set(),
    "units": set(),
    "model": set(),
    "native": {"errors"},
    "zeek": BASE,
    "wire": BASE | {"zeek"},
    "config": {"errors", "units", "zeek"},
    "runtime": {"errors", "units", "model", "config", "native"},
    "logfile": BASE | {"zeek", "native"},
    "cluster": BASE | {"zeek", "wire", "config", "runtime"},
    "pcap": {"errors", "units", "native", "runtime"},
    "extract": {"errors", "units", "model", "native", "pcap", "runtime"},
    "ait": LOWER | {"api", "capture"},
    "ui": LOWER | {"api"},
    **dict.fromkeys(DOORS_AND_CONSUMERS, LOWER),
    "broker": LOWER | {"cluster"},
    "zeromq": LOWER | {"cluster"},
    "api": LOWER | {"extract"},
    "recorder": LOWER | {"extract"},
    "evidence": LOWER | {"extract"},
    "attention": {"runtime"},
    "status": {"attention", "runtime"},
    "metrics": LOWER | {"status"},
    "hook_parts": LOWER | {"hooks"},
    "preparation": LOWER | {"hook_parts"} | DOORS_AND_CONSUMERS - {"demo"},
    "cluster_parts": LOWER | {"zeromq"},
    "evidence_parts": LOWER | {"evidence", "preparation"},
    "metric_parts": LOWER | {"metrics", "status"},
    "sink_parts": LOWER | {"sinks", "zeromq"},
    "store_parts": LOWER | {"api", "broker"},
    "parts": LOWER
    | {"preparation", "status"}
    | {f"{each}_parts" for each in ("api", "cluster", "evidence", "hook", "metric", "sink", "store")}
    | DOORS_AND_CONSUMERS - {"demo"},
    "api_parts": LOWER | {"ait", "api", "metric_parts", "preparation", "status", "store_parts", "ui"},
    "assembly": LOWER | {"cluster_parts", "parts"},
    "errands": LOWER | {"parts", "hook_parts"},
    "sites": LOWER | {"hooks", "hook_parts", "preparation", "parts", "assembly"},
    "app": LOWER | {"attention", "hook_parts", "parts", "assembly", "errands", "status"},
    "cli": LOWER | {"api", "app", "hooks", "parts", "demo", "pcap", "ait", "evidence", "extract"},
    "__main__": {"cli"},
    "__init__": set(),
}
# Room → what it must not import from outside, anywhere in it.
PURE = {"trio", "socket", "time", "logging", "structlog", "zmq", "rule_engine"}
MUST_NOT = {
    "errors": PURE | {"msgspec"},
    "units": PURE | {"msgspec"},
    "model": PURE,
    "zeek": PURE,
    "wire": PURE,
    "config": {"trio", "zmq", "structlog", "rule_engine", "logging", "time"},
    "native": {"trio", "zmq", "structlog"},
    "pcap": PURE,
    "cluster": {"zmq", "socket", "time"},
    "runtime": {"zmq", "h11", "rule_engine", "rich"},
}
HEAVY = {"trio", "zmq", "msgspec", "structlog", "rich", "rule_engine", "yaml"}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def imports(path: Path, *, top_level_only: bool = False) -> Iterator[str]:
    """Absolute names of everything that a module imports."""
    tree = ast.parse(path.read_text())
    package = ("appliance", *path.relative_to(PACKAGE).with_suffix("").parts[:-1])
    nodes = tree.body if top_level_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            prefix = ".".join(filter(None, (base, node.module)))
            yield prefix
            yield from (f"{prefix}.{alias.name}" for alias in node.names)


def rooms_used(path: Path) -> set[str]:
    """Rooms of ours that a module imports from."""
    used = set()
    for name in imports(path):
        first, _, rest = name.partition(".")
        room = rest.partition(".")[0]
        if first == "appliance" and room and (PACKAGE / room).is_dir() | (PACKAGE / f"{room}.py").is_file():
            used.add(room)
    return used


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module_imports_only_from_rooms_below_it(path: Path) -> None:
    """No module imports from a room beside or above its own."""
    room = room_of(path)
    assert room in MAY_IMPORT, f"{room} is a new room: say here what it may import"
    assert rooms_used(path) - {room} <= MAY_IMPORT[room]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module_keeps_out_what_does_not_belong_in_its_room(path: Path) -> None:
    """Pure rooms know no loop, socket, clock or log; the runtime knows no door's libraries."""
    outside = {name.partition(".")[0] for name in imports(path)}
    assert not outside & MUST_NOT.get(room_of(path), set())


@pytest.mark.parametrize("path", sorted((PACKAGE / "cli").glob("*.py")), ids=lambda path: path.name)
def test_command_line_imports_nothing_heavy_before_it_knows_the_command(path: Path) -> None:
    """What --help and --version load imports no heavy package at its top."""
    if path.name in (
        "__init__.py",
        "parser.py",
        "run.py",
        "status.py",
        "client.py",
        "demo.py",
        "publish.py",
        "subscribe.py",
        "pcap.py",
        "pcap_arguments.py",
        "import_.py",
        "capture.py",
        "capture_arguments.py",
        "hooks.py",
        "hooks_arguments.py",
        "evidence.py",
        "evidence_arguments.py",
        "layout.py",
        "layout_arguments.py",
        "extract.py",
        "extract_arguments.py",
        "extract_remote.py",
        "token.py",
        "token_arguments.py",
    ):
        assert not {name.partition(".")[0] for name in imports(path, top_level_only=True)} & HEAVY


def test_compiled_module_has_one_importer() -> None:
    """Only the room appliance/native imports the compiled module."""
    importers = {
        room_of(path) for path in modules() if any(name.startswith("appliance._native") for name in imports(path))
    }
    assert importers == {"native"}


def test_every_import_is_known() -> None:
    """The package imports the standard library, itself, and its declared dependencies."""
    declared = {"trio", "zmq", "msgspec", "tomli_w", "structlog", "rule_engine", "h11", "rich", "zstandard", "yaml"}
    declared |= {"hypercorn", "starlette"}
    used = {name.partition(".")[0] for path in modules() for name in imports(path)}
    assert used - set(sys.stdlib_module_names) - {"__future__"} <= declared | {"appliance"}


@pytest.mark.parametrize("suffix", ["py", "c"])
def test_no_file_is_too_large_to_be_one_idea(suffix: str) -> None:
    """A module ends at 450 lines, a C file at 500."""
    limit = {"py": 450, "c": 500}[suffix]
    folder = {"py": PACKAGE, "c": ROOT / "native"}[suffix]
    sizes = {path.name: len(path.read_text().splitlines()) for path in folder.rglob(f"*.{suffix}")}
    assert {name: size for name, size in sizes.items() if size > limit} == {}


@pytest.mark.parametrize(("name", "fields"), figures().items(), ids=list(figures()))
def test_every_figure_has_its_metric(name: str, fields: list[str]) -> None:
    """Whoever adds a figure says in a table of appliance/metrics what it is: a counter, a gauge, why it is left out.
    Then packaging/make_metrics.py writes it into the documentation.
    """
    assert name in TABLES, f"{name} has no table"
    assert set(fields) == set(TABLES[name].fields)
