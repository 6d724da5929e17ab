"""`ctx.store` of a ``[[store]]``: one of Broker's data stores, which Zeek and other appliances may share.

Unlike the hooks' own memory it changes at once, and not together with the record's acknowledgement: a call that is
made again does it again.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from appliance.errors import LocalProtocolError
from appliance.runtime.stores import (
    MAX_LISTED,
    TIMEOUT_S,
    Operation,
    StoreError,
    StoreFailure,
    StoreReply,
    StoreRequest,
)
from appliance.zeek.binary import decode, encode
from appliance.zeek.convert import to_value
from appliance.zeek.values import Value

__all__ = ["Asker", "AsyncDataStore", "DataStore"]

Asker = Callable[[str, StoreRequest], Any]
"""From a store's name and a request to the reply, or to an awaitable of it."""
_Convert = Callable[[StoreReply], Any]


class _Operations:
    """Everything that can be asked. Keys and values are Python objects as `publish_event` takes them, see
    `appliance.zeek.convert`; what comes back is typed, like the arguments of events.

    Every method may raise a `StoreError`, whose ``reason`` says why nothing happened, or a ValueError or TypeError for
    what Broker cannot hold. ``ttl`` is the lifetime of the entry from now on, in seconds or as a timedelta; None: as
    the store has it by default, for ever if it has none.

    Args:
        name: of the store.
        ask: carries requests.
        timeout_s: for each of them.
    """

    def __init__(self, name: str, ask: Asker, timeout_s: float = TIMEOUT_S) -> None:
        self.name = name
        self._ask = ask
        self._timeout_s = timeout_s

    def _perform(self, request: StoreRequest, convert: _Convert) -> Any:
        raise NotImplementedError

    # ── reading ──

    def get(self, key: object, default: Any = None) -> Any:
        """The value of a key."""
        return self._run("get", lambda reply: _value(reply, default), key)

    def exists(self, key: object) -> Any:
        """Whether there is such a key."""
        return self._run("exists", _has_effect, key)

    def lookup(self, key: object, index: object, default: Any = None) -> Any:
        """Of a table the value at `index`, of a vector the element, of a set whether `index` is in there."""
        return self._run("index", lambda reply: _value(reply, default), key, index=index)

    def keys(self, limit: int = MAX_LISTED) -> Any:
        """All keys, as a list.

        Raises:
            StoreError: there are more than `limit`.
        """
        return self._run("keys", lambda reply: [decode(entry.key) for entry in self._whole(reply, limit)], limit=limit)

    def items(self, limit: int = MAX_LISTED) -> Any:
        """All keys with their values, as a list of pairs; likewise."""
        return self._run(
            "entries",
            lambda reply: [(decode(entry.key), decode(entry.value)) for entry in self._whole(reply, limit)],
            limit=limit,
        )

    def size(self) -> Any:
        """How many keys there are."""
        return self._run("size", lambda reply: reply.size)

    # ── writing ──

    def put(self, key: object, value: object, *, ttl: float | timedelta | None = None) -> Any:
        """Set a value."""
        return self._run("put", _nothing, key, value, ttl=ttl)

    def put_unique(self, key: object, value: object, *, ttl: float | timedelta | None = None) -> Any:
        """Set a value if there is none; returns whether it was."""
        return self._run("put_unique", _has_effect, key, value, ttl=ttl)

    def erase(self, key: object) -> Any:
        """Take a key out; returns whether it was there, of a clone always True."""
        return self._run("erase", _has_effect, key)

    def clear(self) -> Any:
        """Take everything out."""
        return self._run("clear", _nothing)

    def increment(self, key: object, by: object, *, ttl: float | timedelta | None = None) -> Any:
        """Add a count, integer, real or timespan; a missing value is 0 before."""
        return self._run("increment", _nothing, key, by, ttl=ttl)

    def decrement(self, key: object, by: object, *, ttl: float | timedelta | None = None) -> Any:
        """Take away a count, integer, real or timespan; returns whether there is such a key, of a clone always True."""
        return self._run("decrement", _has_effect, key, by, ttl=ttl)

    def append(self, key: object, text: object, *, ttl: float | timedelta | None = None) -> Any:
        """Append to a string."""
        return self._run("append", _nothing, key, text, ttl=ttl)

    def insert_into(
        self, key: object, index: object, value: object = ..., *, ttl: float | timedelta | None = None
    ) -> Any:
        """Put `index` into a set, or with `value` set it at `index` of a table."""
        if value is ...:
            return self._run("insert", _nothing, key, index, ttl=ttl)
        return self._run("insert", _nothing, key, value, index=index, ttl=ttl)

    def remove_from(self, key: object, index: object, *, ttl: float | timedelta | None = None) -> Any:
        """Take `index` out of a set or table; returns whether there is such a key, of a clone always True."""
        return self._run("remove", _has_effect, key, index, ttl=ttl)

    def push(self, key: object, value: object, *, ttl: float | timedelta | None = None) -> Any:
        """Append an element to a vector. Broker has nothing for its other end."""
        return self._run("push", _nothing, key, value, ttl=ttl)

    def pop(self, key: object, *, ttl: float | timedelta | None = None) -> Any:
        """Take the last element off a vector; returns whether there is such a key, of a clone always True."""
        return self._run("pop", _has_effect, key, ttl=ttl)

    # ── the way ──

    def _run(
        self,
        operation: Operation,
        convert: _Convert,
        key: object = ...,
        value: object = ...,
        *,
        index: object = ...,
        ttl: float | timedelta | None = None,
        limit: int = MAX_LISTED,
    ) -> Any:
        request = StoreRequest(
            operation=operation,
            key=_raw(key),
            value=_raw(value),
            index=_raw(index),
            expiry_ns=_lifetime_ns(ttl),
            limit=limit,
            timeout_s=self._timeout_s,
        )
        return self._perform(request, convert)

    def _whole(self, reply: StoreReply, limit: int) -> Any:
        if reply.size > len(reply.entries):
            text = f"{reply.size:,} keys are more than {min(limit, len(reply.entries)):,}"
            raise StoreError(StoreFailure.TOO_LARGE, self.name, text)
        return reply.entries


class DataStore(_Operations):
    """For synchronous hooks, see `_Operations`: every method waits for its answer."""

    def _perform(self, request: StoreRequest, convert: _Convert) -> Any:
        return convert(self._ask(self.name, request))


class AsyncDataStore(_Operations):
    """For asynchronous hooks, see `_Operations`: every method is awaited."""

    def _perform(self, request: StoreRequest, convert: _Convert) -> Any:
        async def perform() -> Any:
            return convert(await self._ask(self.name, request))

        return perform()


def _raw(thing: object) -> bytes:
    if thing is ...:
        return b""
    try:
        return encode(to_value(thing), is_canonical=True)
    except LocalProtocolError as exc:
        raise ValueError(exc.message) from exc


def _lifetime_ns(ttl: float | timedelta | None) -> int | None:
    if ttl is None:
        return None
    ns = round((ttl.total_seconds() if isinstance(ttl, timedelta) else ttl) * 1e9)
    if not 0 <= ns < 1 << 62:
        raise ValueError(f"{ttl!r} is no lifetime")
    return ns


def _nothing(_: StoreReply) -> None:
    """It has happened, or there is an exception."""


def _has_effect(reply: StoreReply) -> bool:
    return reply.has_effect


def _value(reply: StoreReply, default: Any) -> Value | Any:
    return default if reply.value is None else decode(reply.value)
