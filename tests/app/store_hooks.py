"""Hooks that use data stores, in each isolation."""

from __future__ import annotations

from typing import Any

from appliance.runtime.stores import StoreError, StoreFailure
from appliance.zeek.values import Count


def work(record: dict[str, Any], ctx: Any) -> None:
    """Do everything once, and write down what came of it."""
    store = ctx.store("out")
    key = record["key"]
    store.put("copy", record["value"])
    assert store.get("copy") == record["value"]
    assert store.put_unique("first", key)
    assert not store.put_unique("first", 5)
    store.increment("n", Count(2))
    assert store.decrement("n", Count(1))
    store.append("text", "ab")
    store.insert_into("set", key)
    store.insert_into("set", "other")
    assert store.remove_from("set", "other")
    store.insert_into("table", "x", 5)
    store.push("vector", "a")
    store.push("vector", "b")
    assert store.pop("vector")
    assert store.lookup("vector", Count(0)) == b"a"
    assert store.lookup("table", "x") == 5
    assert store.lookup("table", "y", "none") == "none"
    assert store.lookup("set", key) is True
    store.put("gone", 1, ttl=3600)
    assert store.exists("gone")
    assert store.erase("gone")
    assert not store.erase("gone")
    assert sorted(store.keys()) == [b"copy", b"first", b"n", b"set", b"table", b"text", b"vector"]
    assert dict(store.items())[b"n"] == Count(1)
    try:
        store.increment("text", Count(1))
    except StoreError as exc:
        if exc.reason is StoreFailure.TYPE_CLASH:
            store.put("told", str(exc))
    try:
        store.keys(limit=1)
    except StoreError as exc:
        if exc.reason is StoreFailure.TOO_LARGE:
            store.put("size", Count(store.size()))
    ctx.store("mine").put("seen", record["change"])


async def work_async(record: dict[str, Any], ctx: Any) -> None:
    """The same in short, awaited."""
    store = ctx.store("out")
    await store.put("copy", record["value"])
    assert await store.get("copy") == record["value"]
    await store.clear()
    assert await store.size() == 0
    assert await store.put_unique("first", record["key"])
    await store.put("told", f"{record['change']} {record['store']} {record['publisher']}")
    await store.put("size", Count(await store.size()))
