from __future__ import annotations
from .writers import f
def test_x() -> None:
    assert f() == 1
