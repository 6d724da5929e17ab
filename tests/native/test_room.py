"""The room as a whole: what it has, and when it is imported."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import appliance.native as room


def test_every_name_comes_from_where_type_checkers_find_it() -> None:
    """The list of names, the imports for type checkers, and what is imported when it is asked for agree."""
    assert room.__file__ is not None
    tree = ast.parse(Path(room.__file__).read_text())
    imports = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("appliance.")
        for alias in node.names
    }
    assert set(room.__all__) == set(imports)
    for name, module in imports.items():
        assert getattr(room, name) is getattr(import_module(module), name)


def test_a_name_that_is_not_there() -> None:
    """It is told as any module tells it."""
    with pytest.raises(AttributeError, match="no attribute 'Ringg'"):
        _ = room.Ringg


def test_only_what_is_asked_for_is_imported() -> None:
    """Reading an index needs no ring."""
    code = "import sys\nfrom appliance.native import SegmentIndex\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    loaded = set(done.stdout.split())
    assert "appliance.native.segments" in loaded
    assert not loaded & {"appliance.native.ring", "appliance.native.transcode", "appliance.native.broker"}
