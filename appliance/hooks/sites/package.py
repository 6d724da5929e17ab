"""Loading a package, and finding out what it wants to be called with; in its own process only."""

from __future__ import annotations

import functools
import importlib.util
import inspect
import os
import re
import sys
import traceback
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .messages import Callee, Described

__all__ = ["Package", "load_package"]

_NAME = "sites"
_ODD = re.compile(r"[^A-Za-z0-9._-]+")


class Package:
    """A loaded package.

    Args:
        hooks: its ``HOOK``.
        exits: its ``EXIT``.

    Raises:
        ValueError: one of them cannot be called as it would be.
    """

    def __init__(self, hooks: Sequence[Any], exits: Sequence[Any]) -> None:
        self._hooks = [(each, _shape_of(each)) for each in hooks]
        self._exits = list(exits)
        for each in exits:
            _check_exit(each)

    def describe(self) -> Described:
        return Described(hooks=_callees([hook for hook, _ in self._hooks]), exits=_callees(self._exits))

    def call_hook(self, number: int, name: str, path: str) -> None:
        """Call a hook for a folder; what it returns is nobody's business."""
        function, make_arguments = self._hooks[number]
        function(*make_arguments(name, path))

    def call_exit(self, number: int) -> None:
        self._exits[number]()


def load_package(folder: str) -> Package:
    """Import the package in `folder` under the name that its modules know it by, ``sites``.

    Raises:
        ValueError: it cannot be imported, or is no package of this kind; the text has file and line of the cause.
    """
    init = os.path.join(folder, "__init__.py")  # noqa: PTH118 - as the import system writes it
    spec = importlib.util.spec_from_file_location(_NAME, init, submodule_search_locations=[folder])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[_NAME] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as exc:
        raise ValueError(_explain(init, exc)) from exc
    lists = [getattr(module, name, ()) for name in ("HOOK", "EXIT")]
    if not any(hasattr(module, name) for name in ("HOOK", "EXIT")):
        raise ValueError(f"{init} defines neither HOOK nor EXIT")
    for name, found in zip(("HOOK", "EXIT"), lists, strict=True):
        if not isinstance(found, list | tuple):
            raise ValueError(f"{name} in {init} is of type {type(found).__name__}; it is a list of functions")
    return Package(*lists)


def _explain(init: str, exc: BaseException) -> str:
    """What was raised, and the last place in the package, or below it, that it came from."""
    if isinstance(exc, SyntaxError) and exc.filename:
        return f"cannot import {init}: {type(exc).__name__}: {exc.msg} ({exc.filename}:{exc.lineno})"
    frames = [f for f in traceback.extract_tb(exc.__traceback__) if not f.filename.startswith("<frozen")]
    own = [f for f in frames if f.filename.startswith(os.path.dirname(init) + os.sep)]  # noqa: PTH120
    place = f" ({own[-1].filename}:{own[-1].lineno})" if own else ""
    return f"cannot import {init}: {type(exc).__name__}: {exc}{place}"


def _describe(function: Any) -> str:
    code = getattr(function, "__code__", None)
    place = f" ({code.co_filename}:{code.co_firstlineno})" if code is not None else ""
    return f"{getattr(function, '__name__', repr(function))}{place}"


def _signature(function: Any, kind: str) -> inspect.Signature | None:
    if not callable(function):
        raise ValueError(f"{kind} holds {function!r}, which cannot be called")
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise ValueError(f"{kind} holds {_describe(function)}, which is no ordinary function")
    try:
        return inspect.signature(function)
    except ValueError:  # some functions written in C do not tell
        return None


def _shape_of(function: Any) -> Callable[[str, str], tuple[Any, ...]]:
    """From the folder's name and path to a hook's arguments."""
    signature = _signature(function, "HOOK")
    if signature is None:
        return _by_name
    positional = [
        p for p in signature.parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]  # fmt: skip
    hints = _hints(function)
    second = len(positional) > 1 and (
        positional[1].default is inspect.Parameter.empty or _is_path(positional[1], hints)
    )
    count = 2 if second else 1
    try:
        signature.bind(*("",) * count)
    except TypeError:
        raise ValueError(
            f"HOOK holds {_describe(function)}, which takes {signature}; it is called with the name of a folder and, "
            "if it wants one, its path"
        ) from None
    if count == 2:
        as_text = positional[1].annotation in (str, "str")
        return lambda name, path: (name, path if as_text else Path(path))
    if positional and _is_path(positional[0], hints):
        return _by_path
    return _by_name


def _by_name(name: str, _: str) -> tuple[str]:
    return (name,)


def _by_path(_: str, path: str) -> tuple[Path]:
    return (Path(path),)


def _hints(function: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except Exception:  # noqa: BLE001 - whatever is written there need not exist at run time
        return {}


def _is_path(parameter: inspect.Parameter, hints: dict[str, Any]) -> bool:
    found = hints.get(parameter.name, parameter.annotation)
    return isinstance(found, type) and issubclass(Path, found) and found is not object


def _check_exit(function: Any) -> None:
    signature = _signature(function, "EXIT")
    try:
        if signature is not None:
            signature.bind()
    except TypeError:
        raise ValueError(
            f"EXIT holds {_describe(function)}, which takes {signature}; it is called without arguments"
        ) from None


def _unwrap(function: Any) -> Any:
    """What has a name and a module."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _callees(functions: Sequence[Any]) -> tuple[Callee, ...]:
    found: dict[str, Callee] = {}
    for function in functions:
        inner = _unwrap(function)
        raw = getattr(inner, "__name__", type(inner).__name__)
        base = _ODD.sub("-", raw).strip("-.")[:40] or "hook"
        name, number = base, 1
        while name in found:
            number += 1
            name = f"{base}-{number}"
        found[name] = Callee(name=name, module=str(getattr(inner, "__module__", None) or _NAME))
    return tuple(found.values())
