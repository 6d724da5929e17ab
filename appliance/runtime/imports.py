"""Finding what a file names as ``package.module:attribute``, and saying why it is not there."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Iterable
from typing import Any

__all__ = ["extend_path", "import_attribute"]


def extend_path(folders: Iterable[str]) -> None:
    """Put `folders` at the front of the import path, in their order; one that is there already stays where it is."""
    for folder in reversed([f for f in folders if f not in sys.path]):
        sys.path.insert(0, folder)


def import_attribute(name: str) -> Any:
    """Import ``package.module:attribute``; it may have dots on both sides.

    Raises:
        ValueError: the module or attribute does not exist, or fails to import; the text says which.
    """
    module_name, _, attribute = name.partition(":")
    try:
        target: Any = importlib.import_module(module_name)
    except (Exception, SystemExit) as exc:
        raise ValueError(_explain(module_name, exc)) from exc
    for part in attribute.split("."):
        try:
            target = getattr(target, part)
        except AttributeError:
            raise ValueError(f"module {module_name!r} has no {attribute!r}") from None
    return target


def _explain(module: str, exc: BaseException) -> str:
    if isinstance(exc, ModuleNotFoundError) and exc.name and f"{module}.".startswith(f"{exc.name}."):
        return f"there is no module {exc.name!r} in python_path or among the installed ones"
    # The last frame is where it happened. A SyntaxError happens in the importer and names the place itself.
    frame = traceback.extract_tb(exc.__traceback__)[-1]
    place = "" if "importlib" in frame.filename else f" ({frame.filename}:{frame.lineno})"
    return f"cannot import {module!r}: {type(exc).__name__}: {exc}{place}"
