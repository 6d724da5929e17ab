"""What the bundled program has of Python's standard library: all that a hook may import, less what nobody runs there.

Used by the specification of the bundle and by its tests; run as a program it prints the names.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

__all__ = ["LEFT_OUT", "standard_library"]

LEFT_OUT = frozenset(
    {
        *("_tkinter", "idlelib", "tkinter", "turtle", "turtledemo"),  # windows, and Tcl's libraries for them
        *("_dbm", "_gdbm", "readline"),  # their libraries have licences that would become the whole bundle's
        *("antigravity", "test"),  # the first opens a browser when it is imported
    }
)
"""Modules and packages of the standard library that the bundle does not have."""
_TESTED = ("_test", "_ctypes_test", "_xx", "xx", "__hello__", "__phello__")
"""How the names of modules begin that are there for Python's own tests."""
_NO_PACKAGES = frozenset({"__pycache__", "site-packages", "dist-packages", "lib-dynload", "test", "tests", "_bundled"})


def standard_library() -> list[str]:
    """Full names of the modules of this interpreter's standard library, in order, without what is left out."""
    extensions = Path(sysconfig.get_config_var("DESTSHARED"))  # of the interpreter, also in a virtual environment
    found = {*sys.builtin_module_names, *_modules(Path(sysconfig.get_path("stdlib")))}
    found |= {path.name.partition(".")[0] for path in extensions.glob("*.so")}
    return sorted(name for name in found if name.partition(".")[0] not in LEFT_OUT and not name.startswith(_TESTED))


def _modules(folder: Path, prefix: str = "") -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            name, suffix = os.path.splitext(entry.name)  # noqa: PTH122 - of a DirEntry
            if entry.is_dir():
                if name not in _NO_PACKAGES and suffix == "" and Path(entry.path, "__init__.py").exists():
                    yield prefix + name
                    yield from _modules(Path(entry.path), f"{prefix}{name}.")
            elif suffix == ".py" and name not in ("__init__", "__main__", "sitecustomize"):
                yield prefix + name


if __name__ == "__main__":
    print("\n".join(standard_library()))
