"""What is told about files, against capinfos and a slow way to find ranges."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.pcap import survey as survey_module
from appliance.pcap.survey import Coverage, survey

from .build import enhanced, header, interface, record, section, simple, udp_frame

S = 10**9
T0 = 1_795_254_931 * S


def slow_ranges(times: list[int], gap: int) -> list[tuple[int, int]]:
    ranges: list[tuple[int, int]] = []
    for time in sorted(times):
        if ranges and time - ranges[-1][1] <= gap:
            ranges[-1] = (ranges[-1][0], time)
        else:
            ranges.append((time, time))
    return ranges


@given(st.lists(st.lists(st.integers(0, 200), min_size=1, max_size=8), max_size=8), st.integers(0, 20))
def test_ranges_are_those_of_all_times_together(batches: list[list[int]], gap: int) -> None:
    """In whatever order and portions the times come."""
    coverage = Coverage(gap)
    for times in batches:
        coverage.add(times)
    assert coverage.ranges == slow_ranges([time for times in batches for time in times], gap)


def test_ranges_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit they grow, and still cover every packet."""
    monkeypatch.setattr(survey_module, "MAX_RANGES", 5)
    coverage = Coverage(0)
    times = [7 * i % 101 * 10 for i in range(100)]
    for time in times:
        coverage.add([time])
    assert len(coverage.ranges) == 5
    assert all(any(first <= time <= last for first, last in coverage.ranges) for time in times)


@pytest.mark.parametrize("kind", ["pcap", "pcapng"])
def test_the_figures_are_those_of_capinfos(tmp_path: Path, kind: str) -> None:
    """Packets, bytes, times."""
    path = tmp_path / f"x.{kind}"
    frames = [udp_frame(53 + i, bytes(i)) for i in range(50)]
    if kind == "pcap":
        data = header() + b"".join(record(T0 + i * S // 7, f, length=len(f) + i) for i, f in enumerate(frames))
    else:
        data = section() + interface()
        data += b"".join(enhanced(T0 // 1000 + i * 142857, f, length=len(f) + i) for i, f in enumerate(frames))
    path.write_bytes(data)
    told = subprocess.run(
        ["capinfos", "-T", "-M", "-r", "-c", "-d", "-S", "-a", "-e", path], capture_output=True, check=True
    )
    _, packets, size, first, last = told.stdout.decode().strip().split("\t")
    info = survey(path, gap_ns=S)
    assert (info.packets, info.wire_bytes) == (int(packets), int(size))
    seconds = [f"{ns // S}.{ns % S:09}" for ns in (info.first_ns or 0, info.last_ns or 0)]
    assert [text[: len(shown)] for text, shown in zip(seconds, (first, last), strict=True)] == [first, last]
    assert info.truncated == 49
    assert info.captured_bytes == sum(map(len, frames))
    assert info.is_whole


def test_gaps_and_disorder_are_found(tmp_path: Path) -> None:
    """A pause that is longer than the gap ends a range."""
    path = tmp_path / "x"
    times = [0, 1, 2, 13, 12, 14, 22]
    path.write_bytes(header() + b"".join(record(T0 + t * S, b"x") for t in times))
    info = survey(path, gap_ns=9 * S)
    assert [(a - T0, b - T0) for a, b in info.ranges] == [(0, 2 * S), (12 * S, 22 * S)]
    assert info.disordered == 1


def test_packets_without_time_are_counted(tmp_path: Path) -> None:
    """They belong to no range."""
    path = tmp_path / "x"
    path.write_bytes(section() + interface() + simple(b"a") + simple(b"b"))
    info = survey(path, gap_ns=S)
    assert (info.packets, info.untimed, info.first_ns, info.ranges) == (2, 2, None, ())


def test_an_empty_file_is_told_as_such(tmp_path: Path) -> None:
    """It is not an error."""
    path = tmp_path / "x"
    path.write_bytes(b"")
    info = survey(path, gap_ns=S)
    assert (info.format, info.packets, info.is_whole) == ("empty", 0, True)


@pytest.mark.parametrize("tail", [b"torn", header(), b"\xff" * 40])
def test_flaws_are_told(tmp_path: Path, tail: bytes) -> None:
    """A torn end, a second header, garbage."""
    path = tmp_path / "x"
    path.write_bytes(header() + record(T0, b"a") + tail)
    info = survey(path, gap_ns=S)
    assert info.packets == 1
    assert not info.is_whole


def test_packets_are_counted_for_each_interface(tmp_path: Path) -> None:
    """Link types may differ between them."""
    path = tmp_path / "x"
    path.write_bytes(section() + interface() + interface(linktype=101) + enhanced(1, b"a", number=1) * 3)
    info = survey(path, gap_ns=S)
    assert [each.linktype for each in info.interfaces] == [1, 101]
    assert info.interface_packets == (0, 3)
    assert json.dumps(info.ranges)
