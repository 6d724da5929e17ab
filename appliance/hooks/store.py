"""`ctx.store`: a hook's own memory, kept in the journal. What a call changes is written together with the record's
acknowledgement, if the call ends well, and not at all otherwise.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import msgspec

from appliance.runtime.journal.store import Change, apply

from .effects import Effects

__all__ = ["AsyncStore", "Pairs", "Reader", "Store", "checked_change", "checked_space", "space_of"]

MAX_KEY = 1024
MAX_VALUE = 1 << 20
PAGE = 256
"""Values that are read at a time."""

Pairs = list[tuple[bytes, bytes]]


class Reader(msgspec.Struct, frozen=True):
    """How values are read: in a thread or process by waiting, in a task by awaiting."""

    value: Callable[[str, bytes], Any]
    """From space and key to the value, None if there is none; or an awaitable of that."""
    some: Callable[[str, bytes | None, int], Any]
    """From space, key and number to so many keys and values behind it, and the last key, None at the end; likewise."""


def space_of(name: str) -> str:
    """The journal's name for a store.

    Raises:
        ValueError: no name.
    """
    if not (isinstance(name, str) and 0 < len(name) <= 64 and name.isprintable()):
        raise ValueError(f"{name!r} is no name of a store: 1 to 64 printable characters")
    return f"store.{name}"


def checked_space(space: str) -> str:
    """A space that a worker process named.

    Raises:
        ValueError: not one of a store.
    """
    if not space.startswith("store."):
        raise ValueError(f"{space!r} is no store's")
    return space_of(space.removeprefix("store."))


def checked_change(how: str, value: bytes, by: float) -> Change:
    """A change that a worker process has made.

    Raises:
        ValueError: it is none.
    """
    if how == "put":
        if len(value) > MAX_VALUE:
            raise ValueError(f"a value of {len(value)} bytes")
        msgspec.msgpack.decode(value)
        return Change("put", value)
    if how == "add":
        return Change("add", by=by)
    if how != "delete":
        raise ValueError(f"{how!r} is no change")
    return Change("delete")


class _Common:
    """What both kinds have: changes need not wait for anything.

    Args:
        name: of the store; all hooks share those of one name.
        effects: of the call.
        reader: reads what earlier calls have written.
    """

    def __init__(self, name: str, effects: Effects, reader: Reader) -> None:
        self._space = space_of(name)
        self._effects = effects
        self._reader = reader

    def _key(self, key: str) -> bytes:
        raw = key.encode("utf-8", "surrogateescape")
        if not 0 < len(raw) <= MAX_KEY:
            raise ValueError(f"a key has 1 to {MAX_KEY} bytes, not {len(raw)}")
        return raw

    def _put(self, key: str, value: Any) -> None:
        encoded = msgspec.msgpack.encode(value)
        if len(encoded) > MAX_VALUE:
            raise ValueError(f"the value of {key!r} has {len(encoded)} bytes, more than {MAX_VALUE}")
        self._effects.change(self._space, self._key(key), Change("put", encoded))

    def _delete(self, key: str) -> None:
        self._effects.change(self._space, self._key(key), Change("delete"))

    def _own(self, key: bytes, written: bytes | None) -> bytes | None:
        """With what this call has changed."""
        return apply(self._effects.changes.get((self._space, key)), written)

    def _needs_no_read(self, key: bytes) -> bool:
        change = self._effects.changes.get((self._space, key))
        return change is not None and change.how != "add"

    def _sum(self, key: str, written: bytes | None, by: float) -> Any:
        raw = self._key(key)
        before = _decode(self._own(raw, written), 0)
        if isinstance(before, bool) or not isinstance(before, int | float):
            raise TypeError(f"{key!r} is a {type(before).__name__}, no number")
        self._effects.change(self._space, raw, Change("add", by=by))
        return _decode(self._own(raw, written), 0)

    def _merged(self, pairs: Pairs, after: bytes | None, end: bytes | None, prefix: bytes) -> list[tuple[str, Any]]:
        """A page with what this call has changed between its bounds."""
        found: dict[bytes, bytes | None] = dict(pairs)
        for (space, key), change in self._effects.changes.items():
            if space == self._space and (after is None or key > after) and (end is None or key <= end):
                found[key] = apply(change, found.get(key))
        return [
            (key.decode("utf-8", "surrogateescape"), _decode(value, None))
            for key, value in sorted(found.items())
            if value is not None and key.startswith(prefix)
        ]


def _decode(value: bytes | None, default: Any) -> Any:
    return default if value is None else msgspec.msgpack.decode(value)


def _begin(prefix: bytes) -> bytes | None:
    """The greatest key that surely lies before all with that prefix."""
    if not prefix:
        return None
    return prefix[:-1] + bytes([prefix[-1] - 1]) + b"\xff" * MAX_KEY if prefix[-1] else prefix[:-1] or None


def _is_beyond(key: bytes, prefix: bytes) -> bool:
    return key > prefix and not key.startswith(prefix)


class Store(_Common):
    """For synchronous hooks. Keys are texts; values what MessagePack has: texts, numbers, bytes, lists, mappings."""

    def get(self, key: str, default: Any = None) -> Any:
        """The value of `key`, with what this call has changed."""
        raw = self._key(key)
        written = None if self._needs_no_read(raw) else self._reader.value(self._space, raw)
        return _decode(self._own(raw, written), default)

    def put(self, key: str, value: Any) -> None:
        """Set a value.

        Raises:
            TypeError: MessagePack has no such value.
            ValueError: too large.
        """
        self._put(key, value)

    def delete(self, key: str) -> None:
        """Take a value out, if there is one."""
        self._delete(key)

    def increment(self, key: str, by: float = 1) -> Any:
        """Add to a number, which is 0 if there is none; returns the sum. Calls that are made at the same time do not
        lose each other's additions, but do not see them, either.

        Raises:
            TypeError: the value is no number.
        """
        raw = self._key(key)
        written = None if self._needs_no_read(raw) else self._reader.value(self._space, raw)
        return self._sum(key, written, by)

    def items(self, prefix: str = "") -> Iterator[tuple[str, Any]]:
        """Keys that begin with `prefix`, in their order, with their values."""
        raw = prefix.encode("utf-8", "surrogateescape")
        after = _begin(raw)
        while True:
            pairs, end = self._reader.some(self._space, after, PAGE)
            yield from self._merged(pairs, after, end, raw)
            if end is None or _is_beyond(end, raw):
                return
            after = end


class AsyncStore(_Common):
    """For asynchronous hooks: as `Store`, but what reads is awaited."""

    async def get(self, key: str, default: Any = None) -> Any:
        raw = self._key(key)
        written = None if self._needs_no_read(raw) else await self._read(raw)
        return _decode(self._own(raw, written), default)

    async def put(self, key: str, value: Any) -> None:
        self._put(key, value)

    async def delete(self, key: str) -> None:
        self._delete(key)

    async def increment(self, key: str, by: float = 1) -> Any:
        raw = self._key(key)
        written = None if self._needs_no_read(raw) else await self._read(raw)
        return self._sum(key, written, by)

    async def items(self, prefix: str = "") -> AsyncIterator[tuple[str, Any]]:
        raw = prefix.encode("utf-8", "surrogateescape")
        after = _begin(raw)
        while True:
            pairs, end = await self._reader.some(self._space, after, PAGE)
            for pair in self._merged(pairs, after, end, raw):
                yield pair
            if end is None or _is_beyond(end, raw):
                return
            after = end

    async def _read(self, key: bytes) -> bytes | None:
        found: Awaitable[bytes | None] = self._reader.value(self._space, key)
        return await found
