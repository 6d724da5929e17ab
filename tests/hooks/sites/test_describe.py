"""What a package holds, and what is said of one that is none: before anything runs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from appliance.hooks.sites.describe import describe_package
from appliance.hooks.sites.messages import Described, Setup
from appliance.runtime.bundle import SITES_WORKER, program_argv

from .harness import write_package


def describe(folder: Path, text: str, *, logs_path: str = "/logs", **files: str) -> Described:
    package = write_package(folder, {"__init__": text, **files})
    return describe_package(Setup(package=str(package), logs_path=logs_path))


def names(described: Described) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    return [(c.name, c.module) for c in described.hooks], [(c.name, c.module) for c in described.exits]


def test_callables_and_their_modules(tmp_path: Path) -> None:
    """A name of its own for each, in the order of the lists."""
    text = """\
        import functools
        from . import other
        def one(name): ...
        class Two:
            def __call__(self, name): ...
        HOOK = [one, other.one, Two(), functools.partial(one), lambda name: None]
        EXIT = (other.end,)
    """
    found = describe(tmp_path, text, other="def one(name): ...\ndef end(): ...\n")
    assert names(found) == (
        [("one", "sites"), ("one-2", "sites.other"), ("Two", "sites"), ("one-3", "sites"), ("lambda", "sites")],
        [("end", "sites.other")],
    )


def test_either_list_is_enough(tmp_path: Path) -> None:
    """A package may only have something to do at the end."""
    assert names(describe(tmp_path, "EXIT = [lambda: None]\n")) == ([], [("lambda", "sites")])
    assert names(describe(tmp_path, "HOOK = []\n")) == ([], [])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import nonexistent_x\nHOOK = []\n", r"No module named 'nonexistent_x' \(.*__init__.py:1\)"),
        ("\n\nHOOK = [1 / 0]\n", r"ZeroDivisionError: division by zero \(.*/sites/__init__.py:3\)"),
        ("HOOK = [\n", r"SyntaxError: .* \(.*/sites/__init__.py:1\)"),
        ("from . import deep\n", r"cannot import .*__init__.py: ValueError: no \(.*/sites/deep.py:2\)"),
        ("import sys\nsys.exit(3)\n", r"SystemExit: 3 \(.*/sites/__init__.py:2\)"),
        ("import os\nos._exit(3)\n", "exited with 3"),
        ("import os\nos.abort()\n", r"killed by SIGABRT \(.*/sites/__init__.py:2\)"),
        ("X = 1\n", "defines neither HOOK nor EXIT"),
        ("HOOK = print\n", "HOOK in .* is of type builtin_function_or_method; it is a list of functions"),
        ("HOOK = ['x']\n", "HOOK holds 'x', which cannot be called"),
        ("def h(): ...\nHOOK = [h]\n", r"HOOK holds h \(.*__init__.py:1\), which takes \(\); it is called with"),
        ("def h(a, b, c): ...\nHOOK = [h]\n", r"which takes \(a, b, c\)"),
        ("async def h(a): ...\nHOOK = [h]\n", "which is no ordinary function"),
        ("def e(a): ...\nEXIT = [e]\n", r"EXIT holds e \(.*\), which takes \(a\); it is called without arguments"),
    ],
)  # fmt: skip
def test_mistake_is_told_with_the_place_of_its_cause(tmp_path: Path, text: str, told: str) -> None:
    """A missing dependency does not switch hooks off: it is a mistake, and a loud one."""
    with pytest.raises(ValueError, match=told):
        describe(tmp_path, text, deep="def f():\n    raise ValueError('no')\nf()\n")


def test_missing_logs_path_is_told_to_who_wants_it(tmp_path: Path) -> None:
    """And to nobody else."""
    with pytest.raises(ValueError, match=r"no LOGS_PATH, because the hook has no logs_path \(.*__init__.py:1\)"):
        describe(tmp_path, "from const import LOGS_PATH\nHOOK = []\n", logs_path="")
    describe(tmp_path, "from const import CPU_CNT\nfrom utils import is_nan\nHOOK = []\n", logs_path="")


def test_folder_must_be_a_package(tmp_path: Path) -> None:
    """What is missing is said."""
    with pytest.raises(ValueError, match="no folder"):
        describe_package(Setup(package=f"{tmp_path}/x", logs_path=""))
    with pytest.raises(ValueError, match=r"no __init__\.py"):
        describe_package(Setup(package=str(tmp_path), logs_path=""))


def test_bundled_program_is_its_own_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It starts itself with an argument that nobody else uses."""
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert program_argv(SITES_WORKER) == [sys.executable, "--sites-worker"]
    program = Path(sys.executable).parent / "broappliance"
    monkeypatch.setattr(sys, "executable", str(program))
    assert names(describe(tmp_path, "EXIT = [print]\n")) == ([], [("print", "builtins")])
