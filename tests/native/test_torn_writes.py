"""Failed writes: what is in the file, what waits, and how both come together again at a record's boundary."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.native import PcapBlock, PcapFormat, scan_pcap

T0_NS = 1_700_000_000_123_456_789


@contextlib.contextmanager
def file_limit(size: int) -> Iterator[None]:
    """No file may become longer; SIGXFSZ is ignored by Python."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def good_bytes(path: Path) -> int:
    with path.open("rb") as file:
        return scan_pcap(file.fileno()).good_bytes


def fill(block: PcapBlock, sizes: list[int]) -> bytes:
    block.header(65535, 147)
    for i, size in enumerate(sizes):
        block.append(T0_NS + i, bytes([i]) * size)
    return block.peek()


@pytest.mark.parametrize("kind", list(PcapFormat))
@given(sizes=st.lists(st.integers(0, 40), min_size=1, max_size=6), steps=st.lists(st.integers(0, 60), max_size=6))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_disk_that_fills_again_and_again(
    tmp_path: Path, kind: PcapFormat, sizes: list[int], steps: list[int]
) -> None:
    """However often a write stops, the torn bytes are known, and in the end the file is whole."""
    block = PcapBlock(1 << 12, format=kind)
    whole = fill(block, sizes)
    path = tmp_path / "a.pcap"
    limit = 0
    with path.open("wb") as file:
        for step in steps:
            limit += step
            with file_limit(limit), contextlib.suppress(OSError):
                block.flush(file.fileno())
            assert path.stat().st_size - block.torn == good_bytes(path)
            assert path.read_bytes() + block.peek() == whole
        block.flush(file.fileno())
        assert block.torn == 0
    assert path.read_bytes() == whole


@pytest.mark.parametrize("kind", list(PcapFormat))
@pytest.mark.parametrize("limit", range(0, 240, 3))
def test_a_torn_record_goes_whole_into_another_file(tmp_path: Path, kind: PcapFormat, limit: int) -> None:
    """Cut off by `torn`, the first file ends at a boundary; rewound, the block begins with the whole record."""
    block = PcapBlock(1 << 12, format=kind)
    whole = fill(block, [5, 0, 33, 8])
    first = tmp_path / "first.pcap"
    with first.open("wb") as file:
        with file_limit(limit), contextlib.suppress(OSError):
            block.flush(file.fileno())
        cut = block.rewind()
        file.truncate(min(limit, len(whole)) - cut)
        assert good_bytes(first) == first.stat().st_size
        assert block.torn == 0
    assert first.read_bytes() + block.peek() == whole
