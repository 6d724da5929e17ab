"""Sharing a disk: nobody gets more than he asked for, nobody less than the others, and never more than there is."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.runtime.shares import RESERVE, DiskShares, DiskSpace, divide, measure


@pytest.mark.parametrize(
    ("available", "wanted", "granted"),
    [
        (100, {"a": 10, "b": 20}, {"a": 10, "b": 20}),
        (100, {"a": 10, "b": 200}, {"a": 10, "b": 90}),
        (100, {"a": 100, "b": 200}, {"a": 50, "b": 50}),
        (90, {"a": 10, "b": 200, "c": 300}, {"a": 10, "b": 40, "c": 40}),
        (-5, {"a": 10}, {"a": 0}),
    ],
)
def test_small_wants_are_met_first(available: int, wanted: dict[object, int], granted: dict[object, int]) -> None:
    """What the modest leave is shared by the others in equal parts."""
    assert divide(available, wanted) == granted


@given(st.integers(-10, 10**13), st.dictionaries(st.integers(), st.integers(0, 10**12), min_size=1, max_size=20))
def test_division_is_fair(available: int, wanted: dict[object, int]) -> None:
    """Never more than there is or was asked for; who got less than he wanted has no less than anybody else."""
    shares = divide(available, wanted)
    assert sum(shares.values()) <= max(0, available)
    assert all(shares[name] <= wanted[name] for name in wanted)
    short = [shares[name] for name in wanted if shares[name] < wanted[name]]
    if short:
        assert sum(shares.values()) > available - len(wanted) or available <= 0
        assert max(shares.values()) <= max(short)
        assert min(short) >= max(shares.values()) - len(wanted)


class Disk:
    """One disk of 1000 bytes and another one, with something of others on the first."""

    def __init__(self) -> None:
        self.free = 1000

    def __call__(self, path: str) -> DiskSpace:
        return DiskSpace(1, self.free, 1000) if path.startswith("/one") else DiskSpace(2, 10**6, 10**6)


def test_budgets_hold_as_long_as_there_is_room() -> None:
    """Whoever asks is told what is his now; what he already uses counts as free for him."""
    disk = Disk()
    shares = DiskShares(disk)
    reserve = int(1000 * RESERVE)
    assert shares.grant("a", "/one/a", 5000, 0) == 1000 - reserve
    disk.free = 400
    assert shares.grant("a", "/one/a", 5000, 600) == 1000 - reserve
    assert shares.grant("b", "/one/b", 100, 0) == 100
    assert shares.grant("a", "/one/a", 5000, 600) == 900 - reserve
    disk.free = 0
    assert shares.grant("b", "/one/b", 5000, 100) == (700 - reserve) // 2
    assert shares.grant("c", "/two", 5000, 0) == 5000
    shares.forget("b")
    assert shares.grant("a", "/one/a", 5000, 600) == 600 - reserve


def test_disk_of_a_directory_that_is_not_there_yet(tmp_path: Path) -> None:
    """Is that of the nearest one that is."""
    assert measure(str(tmp_path / "a/b/c")).device == tmp_path.stat().st_dev
    assert 0 < measure(str(tmp_path)).free <= measure(str(tmp_path)).total
