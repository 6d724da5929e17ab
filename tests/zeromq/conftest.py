"""What the tests of this room share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .logger_bench import Node


@pytest.fixture
def nodes() -> Iterator[list[Node]]:
    opened: list[Node] = []
    yield opened
    for node in opened:
        node.close(linger=0)
