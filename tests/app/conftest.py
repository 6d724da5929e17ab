"""Configurations read from real files, and a house of fakes that runs them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
import trio

from appliance.assembly import Assembly
from appliance.config import load
from appliance.parts import Prepared, Unit, prepare
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.ledger import Ledger
from appliance.runtime.supervisor import Supervisor
from tests.fakes import FakeConsumer, FakeDoor, FakeParts, is_balanced

HEAD = """
[appliance]
name = "test"
state_dir = "state"
drain_timeout = "10s"
[api]
listen = ["unix:api.sock"]
"""


class Files:
    """The site file of a test."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "site.toml"

    def write(self, text: str, *, head: str = HEAD) -> None:
        self.path.write_text(head + text)

    def read(self, text: str, *, head: str = HEAD) -> Prepared:
        self.write(text, head=head)
        return prepare(load(self.path, environ={}))


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    monkeypatch.chdir(tmp_path)
    return Files(tmp_path)


class House:
    """An assembly of fakes."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.ledger = Ledger()
        self.dispatcher = Dispatcher()
        self.parts = FakeParts(ledger=self.ledger, dispatcher=self.dispatcher)
        self.assembly = Assembly(supervisor=Supervisor(nursery), dispatcher=self.dispatcher, parts=self.parts)

    @property
    def units(self) -> dict[str, Unit]:
        return self.assembly.units

    def consumer(self, key: str) -> FakeConsumer:
        service = self.units[key].service
        assert isinstance(service, FakeConsumer)
        return service

    def door(self, key: str) -> FakeDoor:
        service = self.units[key].service
        assert isinstance(service, FakeDoor)
        return service

    def spoil(self, key: str, change: Callable[[Unit], None]) -> None:
        """From now on, change units of that key before they start."""

        def spoil(unit: Unit) -> None:
            if unit.key == key:
                change(unit)

        self.parts.spoil = spoil

    def break_start(self, key: str) -> None:
        """From now on, units of that key do not start."""

        def change(unit: Unit) -> None:
            unit.service.start_error = OSError(f"{key} is broken")

        self.spoil(key, change)

    def mend(self) -> None:
        self.parts.spoil = lambda _: None

    def is_balanced(self) -> bool:
        return is_balanced(*self.ledger)


@pytest.fixture
def open_house(told: object) -> Callable[[], AbstractAsyncContextManager[House]]:
    @asynccontextmanager
    async def opened() -> AsyncIterator[House]:
        async with trio.open_nursery() as nursery:
            house = House(nursery)
            yield house
            nursery.cancel_scope.cancel()
        assert house.is_balanced()

    return opened
