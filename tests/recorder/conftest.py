"""A wire for each test that asks for one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .harness import Generator, wire


@pytest.fixture
def generator() -> Iterator[Generator]:
    """Sends to the interface ``near``, which is to be recorded."""
    with wire():
        made = Generator()
        yield made
        made.close()
