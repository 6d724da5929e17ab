"""Lists of what is in a store, whole and by the page."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest

from appliance.broker.stores import access
from appliance.broker.stores.access import StoreAccess
from appliance.runtime.stores import StoreEntry, StoreRequest
from appliance.wire.stores.content import Content


def make(count: int) -> tuple[list[bytes], Content, StoreAccess]:
    """Keys in their order, and a store that got them in another one."""
    keys = [b"%09d" % number for number in range(count)]
    mixed = random.Random(1).sample(keys, count)
    content = Content((key, b"v" + key, None) for key in mixed)

    async def give() -> Content:
        return content

    store: Any = SimpleNamespace(name="s", has_deadlines=False, content=give)
    return keys, content, StoreAccess(store)


async def read_pages(store: StoreAccess, operation: Any, limit: int) -> list[StoreEntry]:
    """All pages of at most so many, one behind the other."""
    found: list[StoreEntry] = []
    after: bytes | None = b""
    while after is not None:
        reply = await store.perform(StoreRequest(operation=operation, limit=limit, after=after))
        assert len(reply.entries) <= limit
        found += reply.entries
        after = reply.next_after
    return found


@pytest.mark.parametrize("limit", [1, 7, 99, 100, 101])
async def test_pages_are_in_order_and_complete(limit: int) -> None:
    """Wherever their borders are; without a wish for an order there is none, and no next page."""
    keys, _, store = make(100)
    assert await read_pages(store, "keys", limit) == [StoreEntry(key) for key in keys]
    assert await read_pages(store, "entries", limit) == [StoreEntry(key, b"v" + key) for key in keys]
    reply = await store.perform(StoreRequest(operation="keys", limit=limit))
    assert (reply.size, len(reply.entries), reply.next_after) == (100, min(limit, 100), None)


async def test_a_hundred_thousand_keys() -> None:
    """Come completely, in ten pages."""
    keys, _, store = make(100_000)
    assert [entry.key for entry in await read_pages(store, "keys", 10_000)] == keys


async def test_nothing_is_told_that_has_gone_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large store changes while its keys are brought into their order; the next page begins where it should."""
    keys, content, store = make(20)
    first = access._first

    def steal(*arguments: Any) -> list[bytes]:
        found = first(*arguments)
        content.erase(keys[1])
        return found

    monkeypatch.setattr(access, "_MANY", 10)
    monkeypatch.setattr(access, "_first", steal)
    reply = await store.perform(StoreRequest(operation="entries", limit=3, after=b""))
    assert ([entry.key for entry in reply.entries], reply.size) == ([keys[0], keys[2]], 19)
    reply = await store.perform(StoreRequest(operation="entries", limit=3, after=reply.next_after))
    assert [entry.key for entry in reply.entries] == keys[3:6]


async def test_an_empty_page() -> None:
    """Nothing was asked for, or there is nothing: no next page either way."""
    for count, limit in ((5, 0), (0, 5)):
        _, _, store = make(count)
        reply = await store.perform(StoreRequest(operation="keys", limit=limit, after=b""))
        assert (reply.size, reply.entries, reply.next_after) == (count, (), None)
