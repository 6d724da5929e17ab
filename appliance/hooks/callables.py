"""Finding a hook's callable, and what it is called with."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from appliance.model import Item
from appliance.runtime.imports import import_attribute

__all__ = ["Context", "HookCallable", "load_callable"]


class Context:
    """What a hook is told besides the record.

    Attributes:
        item: the typed item that the record came in, e.g. `LogBatch`.
        attempt: 1 for the first call with this record.
        deadline: when the call must have ended, on the clock of `time.monotonic`, in seconds.
        log: a logger that carries the hook's name.
        config: the hook's own table ``[hook.options]``.
        publish_event: sends an event to the cluster, see `EventPublisher.publish_event`.
    """

    __slots__ = ("attempt", "config", "deadline", "item", "log", "publish_event")

    def __init__(
        self,
        *,
        item: Item,
        attempt: int,
        deadline: float,
        log: Any,
        config: Mapping[str, Any],
        publish_event: Callable[..., int],
    ) -> None:
        self.item = item
        self.attempt = attempt
        self.deadline = deadline
        self.log = log
        self.config = config
        self.publish_event = publish_event

    @property
    def remaining_s(self) -> float:
        """Seconds until the deadline, never negative."""
        return max(0.0, self.deadline - time.monotonic())


class HookCallable(msgspec.Struct, frozen=True, kw_only=True):
    """A callable and how to call it."""

    function: Callable[..., Any]
    is_async: bool
    takes_context: bool

    def call(self, record: dict[str, Any] | Sequence[dict[str, Any]], context: Context | None) -> Any:
        """Call it; an async one returns its awaitable. Without `takes_context`, `context` is not looked at.

        Raises:
            TypeError: it is not async and has only begun its work: it returned a coroutine or generator.
        """
        result = self.function(record, context) if self.takes_context else self.function(record)
        if result is not None and not self.is_async and (inspect.isawaitable(result) or inspect.isgenerator(result)):
            if inspect.iscoroutine(result):
                result.close()
            raise TypeError(f"the hook returned a {type(result).__name__} and has done nothing; use 'async def'")
        return result


def load_callable(name: str) -> HookCallable:
    """Import ``package.module:attribute``.

    Raises:
        ValueError: the module or attribute does not exist, fails to import, or cannot be called with one or two
            arguments; the text says which.
    """
    target = import_attribute(name)
    if isinstance(target, type) or not callable(target):
        what = "a class" if isinstance(target, type) else f"of type {type(target).__name__}"
        raise ValueError(f"{name!r} is {what}; a hook is a function, a method or an object with __call__")
    functions = (target, getattr(target, "__call__", None))  # noqa: B004 - an object may have an async __call__
    if any(inspect.isgeneratorfunction(f) or inspect.isasyncgenfunction(f) for f in functions):
        raise ValueError(f"{name!r} is a generator; a hook returns nothing, use no 'yield'")
    is_async = any(map(inspect.iscoroutinefunction, functions))
    return HookCallable(function=target, is_async=is_async, takes_context=_takes_context(target, name))


def _takes_context(function: Callable[..., Any], name: str) -> bool:
    try:
        signature = inspect.signature(function)
    except ValueError:  # some functions written in C do not tell
        return False
    for arguments in ((None, None), (None,)):
        try:
            signature.bind(*arguments)
        except TypeError:
            continue
        return len(arguments) == 2
    raise ValueError(f"{name!r} takes {signature}; a hook is called with the record and, if it has room, the context")
