"""The bundled program: everything that is imported late is in it, and every command and file of ours works."""

from __future__ import annotations

import argparse
import ast
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import files
from pathlib import Path
from typing import Any

import pytest

from appliance.cli.parser import make_parser

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow

IMPORTER = """\
import importlib, json, sys, warnings

def on_record(record):
    pass

found = {"version": list(sys.version_info[:2]), "failed": {}, "library": sorted(sys.stdlib_module_names)}
warnings.simplefilter("ignore")
for name in json.load(open(NAMES)) or sys.stdlib_module_names:
    try:
        importlib.import_module(name)
    except BaseException as exc:
        found["failed"][name] = f"{type(exc).__name__}: {exc}"
json.dump(found, open(NAMES + ".found", "w"))
"""
"""A hook's module that imports what a file names, and writes what it cannot."""


def run(binary: Path, *arguments: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run it with next to nothing in its environment."""
    environment = {"PATH": "/usr/bin:/bin", "COLUMNS": "100", **environ}
    return subprocess.run([binary, *arguments], capture_output=True, text=True, timeout=60, env=environment)


def check(binary: Path, folder: Path, module: str, *paths: Path) -> subprocess.CompletedProcess[str]:
    """Let it import a hook's module from `folder`, which `paths` come behind."""
    (folder / "site_module.py").write_text(module)
    config = folder / "site.toml"
    places = json.dumps([os.fspath(path) for path in (folder, *paths)])
    config.write_text(
        f'[appliance]\npython_path = {places}\n[[hook]]\nname = "h"\non = ["log:x"]\nrun = "site_module:on_record"\n'
    )
    return run(binary, "--config", config, "--check")


def import_all(binary: Path, folder: Path, names: Iterable[str]) -> dict[str, Any]:
    """Let a hook of it import `names`."""
    listing = folder / "names"
    listing.write_text(json.dumps(sorted(names)))
    done = check(binary, folder, f"NAMES = {os.fspath(listing)!r}\n{IMPORTER}")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads((folder / "names.found").read_text())
    return found


def test_version_needs_no_environment(binary: Path) -> None:
    """Not even a PATH."""
    done = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=60, env={})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("broappliance ")


def commands(parser: argparse.ArgumentParser, *before: str) -> Iterator[tuple[str, ...]]:
    """The words of every command."""
    yield before
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                yield from commands(inner, *before, name)


def test_every_command_explains_itself(binary: Path) -> None:
    """All that the sources have are there."""
    for words in commands(make_parser()):
        done = run(binary, *words, "--help")
        assert (done.returncode, done.stderr) == (0, ""), words
        assert done.stdout.startswith(f"usage: {' '.join(('broappliance', *words))} ")


@pytest.mark.parametrize("path", sorted((ROOT / "conf").glob("*.toml")), ids=lambda path: path.name)
def test_every_shipped_file_has_no_mistakes(path: Path, binary: Path, tmp_path: Path) -> None:
    """Hooks, packages and expressions are imported and compiled for that."""
    (tmp_path / "zeek").symlink_to("/bin/true")
    done = run(binary, "--config", path, "--check", PATH=f"{tmp_path}:/usr/bin:/bin")
    assert (done.returncode, done.stdout) == (0, f"{path}: no mistakes\n"), done.stderr


def imported(path: Path) -> Iterator[str]:
    """Full names of the modules that a module may import, at its top or late."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):  # its parent is none, or no package
        return False


def test_whatever_the_sources_import_is_there(binary: Path, tmp_path: Path) -> None:
    """Every module of ours, and all that they import at any time."""
    modules = list((ROOT / "appliance").rglob("*.py"))
    ours = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in modules}
    theirs = {name for path in modules for name in imported(path) if is_module(name)}
    assert {"trio", "zmq", "rich.console", "appliance.cli.run"} <= ours | theirs
    assert import_all(binary, tmp_path, (ours | theirs) - {"appliance.__main__"})["failed"] == {}


def left_out() -> tuple[set[str], list[str]]:
    """What the bundle says that it has not, and what this interpreter's standard library has beside it."""
    listing = subprocess.run(
        [sys.executable, "-c", "import bundled as b, json; print(json.dumps([[*b.LEFT_OUT], b.standard_library()]))"],
        cwd=ROOT / "packaging", capture_output=True, text=True, check=True,
    )  # fmt: skip
    missing, names = json.loads(listing.stdout)
    return set(missing), names


ELSEWHERE = {"_frozen_importlib", "_frozen_importlib_external", "_msi", "_overlapped", "_scproxy", "_winapi", "_wmi",
             "msilib", "msvcrt", "nt", "winreg", "winsound"}  # fmt: skip
"""Modules of the standard library for other systems, and two that go by another name."""


def test_hooks_can_import_the_standard_library(binary: Path, tmp_path: Path) -> None:
    """But for what is left out on purpose; submodules too, where the list of them is to be had."""
    missing, names = left_out()
    found = import_all(binary, tmp_path, [])
    tops = {name for name in found["failed"] if not name.startswith(("_test", "_xx", "xx", "__"))}
    assert tops <= missing | ELSEWHERE | {"_ctypes_test"}
    assert {"sqlite3", "ssl", "multiprocessing", "ctypes", "lib2to3", "asyncio", "unittest"} <= set(
        found["library"]
    ) - tops
    if found["version"] == list(sys.version_info[:2]):
        failed = import_all(binary, tmp_path, [*names, "email.mime.text", "xml.etree.ElementTree"])["failed"]
        # What this interpreter cannot import either: of other systems, or without the library that it needs.
        assert not {name for name in failed if can_import(name)}, failed


def can_import(name: str) -> bool:
    """Of this interpreter's own library: without what is installed beside it."""
    return subprocess.run([sys.executable, "-IS", "-W", "ignore", "-c", f"import {name}"]).returncode == 0


@pytest.mark.parametrize(
    ("distribution", "use"),
    [
        ("dpkt", "import dpkt; assert dpkt.ethernet.Ethernet(bytes(14)).type == 0"),
        ("librt", "import librt.base64; assert librt.base64.b64encode(b'a') == b'YQ=='"),
        ("ast-serialize", "import ast_serialize"),
    ],
    ids=["pure", "of the version", "stable ABI"],
)
def test_hooks_can_import_wheels_from_a_folder(binary: Path, tmp_path: Path, distribution: str, use: str) -> None:
    """As `pip install --target` leaves them; modules in C for the bundled version of Python, or its stable ABI."""
    wheels = tmp_path / "wheels"
    for file in files(distribution) or ():
        if ".." not in file.parts and file.suffix != ".pyc":
            target = wheels / file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(file.locate())
    version = import_all(binary, tmp_path, ["sys"])["version"]
    if version != list(sys.version_info[:2]):
        pytest.skip("the bundle has another version of Python than these wheels")
    done = check(binary, tmp_path, f"{use}\ndef on_record(record): ...\n", wheels)
    assert (done.returncode, done.stderr) == (0, "")


def test_tables_of_expressions_were_made_before(binary: Path, tmp_path: Path) -> None:
    """They are in the bundle, and they are taken: computing them takes 0.3 s of each start."""
    module = """\
import rule_engine
from rule_engine._vendor.ply import yacc
assert all(isinstance(rule, yacc.MiniProduction) for rule in rule_engine.Rule.parser._parser.productions)
def on_record(record): ...
"""
    done = check(binary, tmp_path, module)
    assert (done.returncode, done.stderr) == (0, "")


def test_only_what_is_bundled_has_no_documentation(binary: Path, tmp_path: Path) -> None:
    """A site's modules keep their docstrings and what they assert; of ours the schema is made."""
    module = """\
import trio
def on_record(record):
    "Said."
assert on_record.__doc__ == "Said." and trio.run.__doc__ is None
assert not record_is_missing, "as it should be"
"""
    done = check(binary, tmp_path, f"record_is_missing = True\n{module}")
    assert (done.returncode, done.stdout) == (2, "")
    assert "AssertionError: as it should be" in done.stderr
    assert check(binary, tmp_path, f"record_is_missing = False\n{module}").returncode == 0
    assert run(binary, "schema").stdout == (ROOT / "conf" / "broappliance.schema.json").read_text()


def test_a_library_that_imports_late_does_so(binary: Path, tmp_path: Path) -> None:
    """anyio finds its source and in it what it can leave for later."""
    module = """\
import sys, starlette.routing
assert "anyio" in sys.modules and "anyio.streams.tls" not in sys.modules
def on_record(record): ...
"""
    done = check(binary, tmp_path, module)
    assert (done.returncode, done.stderr) == (0, "")
