"""Finding a hook's callable, and what it is called with."""

from __future__ import annotations

import importlib
import inspect
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from appliance.model import Item

__all__ = ["Context", "HookCallable", "extend_path", "load_callable"]


class Context:
    """What a hook is told besides the record.

    Attributes:
        item: the typed item that the record came in, e.g. `LogBatch`.
        attempt: 1 for the first call with this record.
        deadline: when the call must have ended, on the clock of `time.monotonic`, in seconds.
        log: a logger that carries the hook's name.
        config: the hook's own table ``[hook.options]``.
    """

    __slots__ = ("attempt", "config", "deadline", "item", "log")

    def __init__(self, *, item: Item, attempt: int, deadline: float, log: Any, config: Mapping[str, Any]) -> None:
        self.item = item
        self.attempt = attempt
        self.deadline = deadline
        self.log = log
        self.config = config

    @property
    def remaining_s(self) -> float:
        """Seconds until the deadline, never negative."""
        return max(0.0, self.deadline - time.monotonic())


class HookCallable(msgspec.Struct, frozen=True, kw_only=True):
    """A callable and how to call it."""

    function: Callable[..., Any]
    is_async: bool
    takes_context: bool

    def call(self, record: dict[str, Any], context: Context) -> Any:
        """Call it; an async one returns its awaitable."""
        return self.function(record, context) if self.takes_context else self.function(record)


def extend_path(folders: Iterable[str]) -> None:
    """Put `folders` at the front of the import path, in their order; one that is there already stays where it is."""
    for folder in reversed([f for f in folders if f not in sys.path]):
        sys.path.insert(0, folder)


def _takes_context(function: Callable[..., Any], name: str) -> bool:
    signature = inspect.signature(function)
    for arguments in ((None, None), (None,)):
        try:
            signature.bind(*arguments)
        except TypeError:
            continue
        return len(arguments) == 2
    raise ValueError(f"{name!r} takes {signature}; a hook is called with the record and, if it has room, the context")


def load_callable(name: str) -> HookCallable:
    """Import ``package.module:attribute``.

    Raises:
        ValueError: the module or attribute does not exist, fails to import, or cannot be called with one or two
            arguments; the text says which.
    """
    module_name, _, attribute = name.partition(":")
    try:
        target: Any = importlib.import_module(module_name)
    except Exception as exc:
        raise ValueError(f"cannot import {module_name!r}: {type(exc).__name__}: {exc}") from exc
    for part in attribute.split("."):
        try:
            target = getattr(target, part)
        except AttributeError:
            raise ValueError(f"module {module_name!r} has no {attribute!r}") from None
    if not callable(target):
        raise ValueError(f"{name!r} is a {type(target).__name__}, which cannot be called")
    is_async = inspect.iscoroutinefunction(target) or inspect.iscoroutinefunction(getattr(target, "__call__", None))  # noqa: B004 - an object with an async __call__
    return HookCallable(function=target, is_async=is_async, takes_context=_takes_context(target, name))
