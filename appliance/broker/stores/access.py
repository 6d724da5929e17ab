"""What can be asked of a store, in terms of what masters and clones can do."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from itertools import islice
from typing import Protocol

import trio

from appliance.errors import LocalProtocolError, RemoteProtocolError
from appliance.runtime.stores import CHANGES, StoreEntry, StoreError, StoreFailure, StoreReply, StoreRequest
from appliance.wire.stores.commands import NOBODY, Action, Add, Clear, Erase, Put, PutUnique, Subtract
from appliance.wire.stores.content import Content
from appliance.wire.stores.operations import INIT_TYPES
from appliance.zeek.binary import decode, encode
from appliance.zeek.values import Count, Set, Table, Value, Vector, is_same, type_name

__all__ = ["Kept", "StoreAccess"]

_LONGEST_S = 600.0
_MANY = 10_000
"""Keys that are brought into an order in the loop, in some milliseconds; more of them in a thread."""
_NUMBERS = INIT_TYPES.keys() - {bytes, Set, Table, Vector}


class Kept(Protocol):
    """A master or clone."""

    name: str

    @property
    def has_deadlines(self) -> bool:
        """Whether it knows when its entries are over."""
        ...

    async def content(self) -> Content: ...

    async def write(self, action: Action) -> bool: ...


class StoreAccess:
    """See the module; a `DataStore`.

    Args:
        store: what is asked.
    """

    def __init__(self, store: Kept) -> None:
        self._store = store

    async def perform(self, request: StoreRequest) -> StoreReply:
        """See `DataStore.perform`."""
        name = self._store.name
        timeout_s = min(max(request.timeout_s, 0.0), _LONGEST_S)
        with trio.move_on_after(timeout_s):
            try:
                action = _action(request)
                if action is not None:
                    return StoreReply(has_effect=await self._store.write(action))
                content = await self._store.content()
                if request.operation in ("keys", "entries"):
                    return await self._list(content, request)
                return self._read(content, request)
            except _ClashError as exc:
                raise StoreError(StoreFailure.TYPE_CLASH, name, str(exc)) from exc
            except (RemoteProtocolError, LocalProtocolError) as exc:
                raise StoreError(StoreFailure.BAD_VALUE, name, exc.message) from exc
        raise StoreError(StoreFailure.TIMEOUT, name, f"no answer within {timeout_s:g} s")

    def _read(self, content: Content, request: StoreRequest) -> StoreReply:
        if request.operation == "size":
            return StoreReply(size=len(content))
        key = _canonical(request.key)
        value = content.get(key)
        if request.operation == "exists" or value is None:
            return StoreReply(has_effect=value is not None)
        if request.operation == "get":
            return StoreReply(value=value, expiry_ns=self._expiry(content, key))
        found_value = _element(decode(value), decode(request.index))
        return StoreReply(value=None if found_value is None else encode(found_value[0]))

    def _expiry(self, content: Content, key: bytes) -> int | None:
        return content.expiry_ns(key) if self._store.has_deadlines else None

    async def _list(self, content: Content, request: StoreRequest) -> StoreReply:
        limit, next_after = max(0, request.limit), None
        if request.after is None:
            keys = list(islice(content, limit))
        else:
            every = list(content)
            if len(every) > _MANY:
                keys = await trio.to_thread.run_sync(_first, every, request.after, limit + 1)
            else:
                keys = _first(every, request.after, limit + 1)
            if len(keys) > limit > 0:
                next_after = keys[limit - 1]
            keys = [key for key in keys[:limit] if key in content]  # it may have changed meanwhile
        if request.operation == "keys":
            entries = tuple([StoreEntry(key) for key in keys])
        else:
            entries = tuple([StoreEntry(key, content.get(key) or b"", self._expiry(content, key)) for key in keys])
        return StoreReply(size=len(content), entries=entries, next_after=next_after)


def _first(keys: Iterable[bytes], after: bytes, count: int) -> list[bytes]:
    """The first keys behind one, in their order."""
    return heapq.nsmallest(count, (key for key in keys if key > after))


class _ClashError(ValueError):
    """A value of a type with which that cannot be done."""


def _canonical(key: bytes) -> bytes:
    return encode(decode(key), is_canonical=True)


def _action(request: StoreRequest) -> Action | None:
    """What changes the content; None if nothing does."""
    operation = request.operation
    if operation not in CHANGES:
        return None
    if operation == "clear":
        return Clear(NOBODY)
    key = _canonical(request.key)
    if operation == "erase":
        return Erase(key, NOBODY)
    if operation == "pop":
        return Subtract(key, key, request.expiry_ns, NOBODY)
    value = decode(request.value)
    raw = encode(value, is_canonical=True)
    if operation == "put":
        return Put(key, raw, request.expiry_ns, NOBODY)
    if operation == "put_unique":
        return PutUnique(key, raw, request.expiry_ns, NOBODY, 0, NOBODY)
    if operation == "decrement":
        _number(value)
    if operation in ("decrement", "remove"):
        return Subtract(key, raw, request.expiry_ns, NOBODY)
    if operation == "insert" and request.index:
        raw = encode(Vector((decode(request.index), value)), is_canonical=True)
    return Add(key, raw, _initial(request, value), request.expiry_ns, NOBODY)


def _initial(request: StoreRequest, value: Value) -> int:
    """Number of the type that a missing value gets before something is added to it."""
    match request.operation:
        case "increment":
            return INIT_TYPES[_number(value)]
        case "append":
            if not isinstance(value, bytes):
                raise _ClashError("only a string can be appended")
            return INIT_TYPES[bytes]
        case "push":
            return INIT_TYPES[Vector]
    return INIT_TYPES[Table if request.index else Set]


def _number(value: Value) -> type:
    if type(value) not in _NUMBERS:
        raise _ClashError("only counts, integers, reals and timespans can be added and subtracted")
    return type(value)


def _element(value: Value, index: Value) -> tuple[Value] | None:
    """Of a table the value, of a vector the element, of a set whether it is in there; None: there is none.

    Source: Broker, ``detail/abstract_backend.cc``.
    """
    if isinstance(value, Set):
        return (any(is_same(item, index) for item in value),)
    if isinstance(value, Table):
        return next(((found,) for key, found in value.pairs() if is_same(key, index)), None)
    if isinstance(value, Vector):
        if not isinstance(index, Count):
            raise _ClashError("the index of a vector is a count")
        return (value[index.value],) if index.value < len(value) else None
    raise _ClashError(f"a {type_name(value)} has no elements")
