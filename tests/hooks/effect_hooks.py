"""Hooks that remember, emit and fail; run in every isolation."""

from __future__ import annotations

from typing import Any

import trio

from appliance.hooks import ExtractError


def count(record: dict[str, Any], ctx: Any) -> None:
    """Count records and emit each; those that are marked fail after that."""
    store = ctx.store("counts")
    before = store.get("n", 0)
    after = store.increment("n")
    assert after == before + 1 == store.get("n")
    store.put(f"seen/{record['n']:03d}", {"attempt": ctx.attempt})
    store.put("gone", 1)
    store.delete("gone")
    keys = [key for key, _ in store.items("seen/")]
    assert keys[-1] <= f"seen/{record['n']:03d}" or ctx.attempt > 1
    ctx.emit("derived", {"n": record["n"], "sum": after})
    if record["n"] % 3 == 0 and ctx.attempt == 1:
        raise ValueError("not yet")


def remember(record: dict[str, Any], ctx: Any) -> None:
    """Remember and emit each record."""
    ctx.store("seen").put(f"{record['n']:03d}", record["n"])
    ctx.store("seen").increment("n")
    ctx.emit("derived", record)


async def count_async(record: dict[str, Any], ctx: Any) -> None:
    """The same, awaited."""
    store = ctx.store("counts")
    before = await store.get("n", 0)
    after = await store.increment("n")
    assert after == before + 1 == await store.get("n")
    await store.put(f"seen/{record['n']:03d}", {"attempt": ctx.attempt})
    await store.put("gone", 1)
    await store.delete("gone")
    assert [key async for key, _ in store.items("seen/")]
    ctx.emit("derived", {"n": record["n"], "sum": after})
    if record["n"] % 3 == 0 and ctx.attempt == 1:
        raise ValueError("not yet")


def first_logs(record: dict[str, Any], ctx: Any) -> None:
    """Remember how many records each log of a folder has."""
    for path in ("http", "files", "nothing"):
        ctx.store("logs").put(path, sum(1 for _ in ctx.logs(path)))


def extract(record: dict[str, Any], ctx: Any) -> None:
    """Remember what packets the record's connection has, and where they are."""
    passing = ctx.extract()
    kept = ctx.extract(host=("10.0.0.1", "10.0.0.2"), path=f"by-host/{record['uid']}.pcap", before="20s")
    with open(passing.path, "rb") as file:  # noqa: PTH123 - as hooks do
        size = len(file.read())
    ctx.store("packets").put("found", [passing.packets, passing.size, size, passing.path, kept.packets, kept.path])
    try:
        ctx.extract(uid="Cunknown")
    except ExtractError as exc:
        ctx.store("packets").put("error", str(exc))


async def extract_async(record: dict[str, Any], ctx: Any) -> None:
    """The same, awaited."""
    passing = await ctx.extract(record)
    kept = await ctx.extract(host=("10.0.0.1", "10.0.0.2"), path=f"by-host/{record['uid']}.pcap", before="20s")
    size = (await trio.Path(passing.path).stat()).st_size
    found = [passing.packets, passing.size, size, passing.path, kept.packets, kept.path]
    await ctx.store("packets").put("found", found)
    try:
        await ctx.extract(uid="Cunknown")
    except ExtractError as exc:
        await ctx.store("packets").put("error", str(exc))
