"""A wire for each test that asks for one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from appliance.recorder import member, recorder

from .harness import Generator, wire


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done every second is done more often."""
    monkeypatch.setattr(member, "TICK_S", 0.1)
    monkeypatch.setattr(member, "RUN_MS", 50)
    monkeypatch.setattr(recorder, "TICK_S", 0.1)


@pytest.fixture
def generator() -> Iterator[Generator]:
    """Sends to the interface ``near``, which is to be recorded."""
    with wire():
        made = Generator()
        yield made
        made.close()
