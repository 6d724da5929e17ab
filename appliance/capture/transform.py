"""Chains of transforms: what a site does to each packet before it is written.

A transform is a callable, bytes → bytes or None (leave the packet out), sync or async; each is fed the result of the
one before. Sync ones run in a worker thread by the batch, so that they never hold up the loop.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import trio

from appliance.native.pcap import SNAPLEN_MAX
from appliance.runtime.imports import import_attribute

__all__ = ["Chain", "Transform", "load_chain"]


class Transform(msgspec.Struct, frozen=True, kw_only=True):
    """One link of a chain."""

    name: str
    """As in the file."""
    function: Callable[[bytes], Any]
    is_async: bool


def load_chain(names: Sequence[str]) -> Chain:
    """Import the transforms of a handler.

    Raises:
        ValueError: one does not exist, fails to import, or cannot be called with one argument; the text says which.
    """
    return Chain([_load(name) for name in names])


def _load(name: str) -> Transform:
    function = import_attribute(name)
    if isinstance(function, type) or not callable(function):
        what = "a class" if isinstance(function, type) else f"of type {type(function).__name__}"
        raise ValueError(f"{name!r} is {what}; a transform is a function, a method or an object with __call__")
    forms = (function, getattr(function, "__call__", None))  # noqa: B004 - an object may have an async __call__
    if any(inspect.isgeneratorfunction(f) or inspect.isasyncgenfunction(f) for f in forms):
        raise ValueError(f"{name!r} is a generator; a transform returns bytes or None, use no 'yield'")
    try:
        inspect.signature(function).bind(b"")
    except TypeError:
        raise ValueError(f"{name!r} takes {inspect.signature(function)}; a transform is called with bytes") from None
    except ValueError:
        pass  # some functions written in C do not tell
    return Transform(name=name, function=function, is_async=any(map(inspect.iscoroutinefunction, forms)))


class Chain:
    """See the module."""

    def __init__(self, links: Sequence[Transform]) -> None:
        self._links = tuple(links)
        self._limiter = trio.CapacityLimiter(1)

    def __len__(self) -> int:
        return len(self._links)

    async def run(self, payloads: Sequence[bytes]) -> list[bytes | Exception | None]:
        """What became of each payload: its new bytes, None if a transform left it out, or why it failed.

        Cancellation: at once; a sync transform that is running goes on in its thread, and nobody looks at its result.
        """
        results: list[bytes | Exception | None] = list(payloads)
        for link in self._links:
            if link.is_async:
                await _run_async(link, results)
            else:
                await trio.to_thread.run_sync(_run_sync, link, results, limiter=self._limiter, abandon_on_cancel=True)
        return results


def _run_sync(link: Transform, results: list[bytes | Exception | None]) -> None:
    for n, data in enumerate(results):
        if isinstance(data, bytes):
            try:
                results[n] = _checked(link, link.function(data))
            except Exception as exc:  # noqa: BLE001 - whatever a transform raises is the outcome of its packet
                results[n] = exc


async def _run_async(link: Transform, results: list[bytes | Exception | None]) -> None:
    for n, data in enumerate(results):
        if isinstance(data, bytes):
            try:
                call: Awaitable[object] = link.function(data)
                results[n] = _checked(link, await call)
            except Exception as exc:  # noqa: BLE001 - the same
                results[n] = exc
            await trio.lowlevel.checkpoint()


def _checked(link: Transform, result: object) -> bytes | None:
    if result is None or isinstance(result, bytes):
        data = result
    elif isinstance(result, bytearray | memoryview):
        data = bytes(result)
    else:
        if inspect.iscoroutine(result):
            result.close()
        raise TypeError(f"{link.name} returned {type(result).__name__}, not bytes or None")
    if data is not None and len(data) > SNAPLEN_MAX:
        raise ValueError(f"{link.name} returned {len(data)} bytes, at most {SNAPLEN_MAX} go into a packet")
    return data
