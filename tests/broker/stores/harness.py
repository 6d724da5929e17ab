"""Houses with stores."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from appliance.broker.stores.backend import Backend, MemoryBackend
from appliance.broker.stores.clone import CloneService
from appliance.broker.stores.master import MasterService
from appliance.wire.stores.commands import NOBODY, Add, Erase, Put, PutUnique
from appliance.wire.stores.outputs import StoreChange
from appliance.zeek.binary import decode, encode
from appliance.zeek.values import Value
from tests.broker.harness import House

Service = MasterService | CloneService


def house(folder: Path, **keys: Any) -> House:
    """An endpoint that subscribes to nothing that stores use."""
    return House(folder, **{"subscribe": ("x/",), **keys})


class Told:
    """Takes changes."""

    def __init__(self) -> None:
        self.changes: list[StoreChange] = []

    async def __call__(self, changes: Sequence[StoreChange]) -> None:
        self.changes += changes

    @property
    def kinds(self) -> list[str]:
        return [str(change.kind) for change in self.changes]


def master(house: House, backend: Backend | None = None, name: str = "test", **keys: Any) -> MasterService:
    return MasterService(name, backend or MemoryBackend(), hub=house.stores, **keys)


def clone(house: House, name: str = "test", **keys: Any) -> CloneService:
    return CloneService(name, hub=house.stores, **keys)


def key_of(key: Value) -> bytes:
    return encode(key, is_canonical=True)


async def put(store: Service, key: Value, value: Value, expiry_ns: int | None = None) -> bool:
    return await store.write(Put(key_of(key), encode(value), expiry_ns, NOBODY))


async def put_unique(store: Service, key: Value, value: Value) -> bool:
    return await store.write(PutUnique(key_of(key), encode(value), None, NOBODY, 0, NOBODY))


async def increment(store: Service, key: Value, value: Value, init_type: int) -> bool:
    return await store.write(Add(key_of(key), encode(value), init_type, None, NOBODY))


async def erase(store: Service, key: Value) -> bool:
    return await store.write(Erase(key_of(key), NOBODY))


async def plain(store: Service) -> dict[Value, Value]:
    """The content as Python values."""
    return {decode(key): decode(value) for key, value in (await store.content()).pairs()}


@asynccontextmanager
async def run_stores(*services: Service) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        for service in services:
            await nursery.start(lambda task_status, service=service: service.run(task_status=task_status))
        yield
        for service in services:
            service.stop()


async def has(store: Service, content: dict[Value, Value]) -> None:
    """Wait until a store has exactly this content."""
    with trio.fail_after(20):
        while await plain(store) != content:  # noqa: ASYNC110 - what is looked at is a plain dict
            await trio.sleep(0.01)


def sqlite(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "test.sqlite"
